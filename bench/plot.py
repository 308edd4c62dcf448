"""Draws the lines of bench/speed.py as bars: examples a second, one bar a variant.

    python bench/plot.py bench/recorded/speed.jsonl docs/speed.svg

A line with a `title` (and a `source`) may come first; lines without examples a second are passed
over, and of several lines of one variant the last counts. The picture is readable on light and
dark ground, and its words are text.
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from typing import Any

NAMES = {
    "tutorial": "the tutorial's recipe (TRL, 1 × 4, NF4)",
    "trl-nf4": "TRL, NF4",
    "trl-bf16": "TRL, bf16",
    "unsloth-nf4": "Unsloth, NF4",
    "unsloth-bf16": "Unsloth, bf16",
    "eager-nf4": "kefu, not recorded, NF4",
    "eager-bf16": "kefu, not recorded, bf16",
    "graphs-nf4": "kefu, NF4",
    "graphs-unpacked": "kefu, NF4 unpacked once",
    "graphs-bf16": "kefu, bf16",
    "graphs-bf16-64": "kefu, bf16, 64 a step",
    "graphs-bf16-all-linear": "kefu, bf16, all linear layers",
}
LEFT, BAR, GAP, ROOM, SIDE = 285, 20, 10, 400, 110
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600 }
.note { font-size: 11px; fill: #57606a }
.kefu { fill: #c2410c } .other { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #9198a1 } .kefu { fill: #f0883e } .other { fill: #6e7681 }
}
"""


def picture(lines: list[dict[str, Any]]) -> str:
    """The lines as one SVG."""
    said: dict[str, str] = next((x for x in lines if "title" in x), {})
    latest = {x["variant"]: x for x in lines if x.get("examples_a_second")}
    bars = sorted(latest.values(), key=lambda x: float(x["examples_a_second"]))
    most = max(float(x["examples_a_second"]) for x in bars)
    width = LEFT + ROOM + SIDE
    title = said.get("title", "Examples a second")
    parts = [f'<text class="head" x="12" y="22">{escape(title)}</text>']
    y = 40
    for bar in bars:
        rate = float(bar["examples_a_second"])
        name = str(bar["variant"])
        kind = "kefu" if NAMES.get(name, name).startswith("kefu") else "other"
        long = max(1.0, ROOM * rate / most)
        middle = y + BAR / 2 + 4.5
        busy = bar.get("gpu_busy_ms")
        note = f", GPU busy {100 * busy / bar['ms_a_step']:.0f} %" if busy else ""
        parts.append(
            f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">'
            f"{escape(NAMES.get(name, name))}</text>"
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{long:.1f}" height="{BAR}" rx="2">'
            f"<title>{bar['ms_a_step']} ms a step{note}</title></rect>"
            f'<text x="{LEFT + long + 6:.1f}" y="{middle}">{rate:.3g}</text>'
        )
        y += BAR + GAP
    if "source" in said:
        parts.append(f'<text class="note" x="12" y="{y + 12}">{escape(said["source"])}</text>')
        y += 24
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" '
        f'height="{y}" role="img" aria-label="{escape(title, quote=True)}">\n'
        f"<style>{STYLE}</style>\n"
    )
    return head + "\n".join(parts) + "\n</svg>\n"


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    Path(sys.argv[2]).write_text(picture(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
