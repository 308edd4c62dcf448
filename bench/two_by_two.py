"""The tutorial's recipe against kefu's default: the loss of each, and what its answers are worth.

    python bench/two_by_two.py [--work FOLDER]

Trains both on the sample FAQ with the embedded base (the tutorial's in NF4, as it is told), with
the commands that a user types, then puts the same exam to both: the default's, with all controls,
timed. A run that is finished in FOLDER already is not trained again. About twelve minutes on two
cores. Prints one JSON line a recipe, then the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RECIPES = ("tutorial", "default")


def kefu(work: Path, *said: str) -> float:
    """Seconds that a command took."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-m", "kefu", *said], cwd=work, check=True, stdout=sys.stderr)
    return time.monotonic() - begun


def shares(candidate: dict[str, Any]) -> dict[str, str]:
    """Right of asked, kind by kind, and the answers that should have been hand-overs."""
    tallies = candidate["tallies"]
    found = {t["kind"]: f"{t['right']}/{t['asked']}" for t in tallies}
    away = [t for t in tallies if t["kind"] in ("near-miss", "out-of-scope", "hostile")]
    false = sum(t["false_answers"] for t in away)
    invented = candidate["overall"]["invented"]
    return {
        **found,
        "false answers": f"{false}/{sum(t['asked'] for t in away)}",
        "invented facts": str(invented),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("bench-two-by-two"))
    work: Path = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "kefu.toml").exists():
        kefu(work, "init", ".")
    exam = str((work / "runs" / "default" / "exam.jsonl").resolve())
    rows: dict[str, dict[str, Any]] = {}
    for recipe in reversed(RECIPES):
        folder = work / "runs" / recipe
        if not (folder / "adapter" / "adapter_model.safetensors").exists():
            kefu(work, "train", "--recipe", recipe, "--name", recipe)
        steps = [json.loads(s) for s in (folder / "steps.jsonl").read_text("utf-8").splitlines()]
        controls = "--controls" if recipe == "default" else "--no-controls"
        took = kefu(work, "eval", recipe, "--exam", exam, controls)
        report = json.loads((folder / "report.json").read_text("utf-8"))
        for candidate in report["candidates"]:
            own = candidate["name"].startswith(recipe)
            line: dict[str, Any] = {"who": candidate["name"], **shares(candidate)}
            if own:
                line |= {
                    "first loss": round(steps[0]["loss"], 3),
                    "last loss": round(steps[-1]["loss"], 3),
                    "steps": len(steps),
                    "train_seconds": round(steps[-1]["seconds"]),
                    "eval_seconds": round(took),
                    "controls": controls == "--controls",
                }
            rows[line["who"]] = line
            print(json.dumps(line, ensure_ascii=False), flush=True)
    print(f"{'':36}{'last loss':>10}{'known':>8}{'reworded':>10}{'false answers':>15}")
    for who, line in rows.items():
        print(
            f"{who:36}{line.get('last loss', '-'):>10}{line.get('known', '-'):>8}"
            f"{line.get('reworded', '-'):>10}{line['false answers']:>15}"
        )


if __name__ == "__main__":
    main()
