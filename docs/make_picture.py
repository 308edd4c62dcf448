"""Turns the captured text of a run (docs/demo.txt) into a picture of a terminal (docs/demo.svg).

    (echo '$ make demo'; make demo) | tee docs/demo.txt
    python docs/make_picture.py [TEXT] [SVG]

The first line that was typed (it begins with `$ `) is the window's title. Long lines are cut and
long parts are thinned, each with a mark that says so; no word is changed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

from rich.cells import cell_len, set_cell_size

HERE = Path(__file__).parent
WIDTH = 108
MOST = 8
"""Lines of one kind (steps, numbers of the plan) that are shown in a row."""
STEP = re.compile(r"^step \d+/\d+ ")
CHOICE = re.compile(r"^  \S.{22,}? {2,}\S")
CELL, LINE, EDGE, TOP = 8.4, 20, 16, 52
"""Pixels: width of a column, height of a line, margin, and where the first line stands."""
COLOURS = (
    (re.compile(r"^\$ .*"), "#ffffff"),
    (re.compile(r"^\d\. .*"), "#89dceb"),
    (re.compile(r"^問 .*"), "#f9e2af"),
    (re.compile(r"^答 .*"), "#a6e3a1"),
    (re.compile(r"^(stop|warn|note) .*"), "#fab387"),
    (re.compile(r"^(run|loss|trainable) .*"), "#f5c2e7"),
)


def picture(text: str) -> str:
    """An SVG of the text as a terminal shows it.

    Drawn here and not by rich's `export_svg`, which presses Chinese into half of its width. Each
    run of wide or of narrow characters is given its columns, whatever font the reader has.
    """
    lines = [_cut(line) for line in thinned(text.splitlines())]
    typed = [line[2:] for line in lines if line.startswith("$ ")]
    width, height = WIDTH * CELL + 2 * EDGE, len(lines) * LINE + TOP + EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">',
        f"<title>{escape(typed[0] if typed else 'kefu')}</title>",
        '<rect width="100%" height="100%" rx="8" fill="#1e1e2e"/>',
        *(
            f'<circle cx="{EDGE + 6 + 20 * i}" cy="18" r="6" fill="{colour}"/>'
            for i, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
        ),
    ]
    for row, line in enumerate(lines):
        parts += _drawn(line, TOP + row * LINE)
    return "\n".join([*parts, "</svg>", ""])


def _drawn(line: str, y: float) -> Iterator[str]:
    colour = next((colour for pattern, colour in COLOURS if pattern.match(line)), "#cdd6f4")
    column = 0
    for _, characters in groupby(line, key=_kind):
        run = "".join(characters)
        size = cell_len(run)
        if run.strip():
            yield (
                f'<text x="{EDGE + column * CELL:.1f}" y="{y:.0f}" fill="{colour}" '
                f'textLength="{size * CELL:.1f}">{escape(run)}</text>'
            )
        column += size


def _kind(character: str) -> str:
    if character == " ":
        return "blank"
    return "wide" if cell_len(character) == 2 else "narrow"


def thinned(lines: list[str]) -> list[str]:
    """The lines, with long series of one kind shortened to their beginning and end."""
    shown: list[str] = []
    at = 0
    while at < len(lines):
        kind = next((k for k in (STEP, CHOICE) if k.match(lines[at])), None)
        end = at + 1
        while kind is not None and end < len(lines) and kind.match(lines[end]):
            end += 1
        series = lines[at:end]
        if len(series) > MOST:
            left_out = len(series) - MOST
            series = [*series[: MOST // 2], f"  … {left_out} more lines …", *series[-MOST // 2 :]]
        shown += series
        at = end
    return shown


def _cut(line: str) -> str:
    line = line.expandtabs(4)
    return line if cell_len(line) <= WIDTH else set_cell_size(line, WIDTH - 1).rstrip() + "…"


def main() -> None:
    """Reads the text, writes the picture."""
    given = [Path(a) for a in sys.argv[1:]]
    source = given[0] if given else HERE / "demo.txt"
    to = given[1] if len(given) > 1 else HERE / "demo.svg"
    to.write_text(picture(source.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
