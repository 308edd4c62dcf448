"""Writes what the studio says of an error in Chinese from the Chinese troubleshooting guide.

    python docs/make_remedies.py

The guide is where a person writes; the studio carries its rows, so that an installed kefu has them
too. Knows the guide's tables; knows nothing of the errors.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "docs" / "guides" / "troubleshooting.zh-TW.md"
FILE = ROOT / "src" / "kefu" / "studio" / "data" / "remedies.json"


def text() -> str:
    """For each kind of error: a piece of its message (`…` for what is filled in), and the remedy.

    A message without words of its own (in italics there) has the empty piece.
    """
    made: dict[str, dict[str, str]] = {}
    for part in re.split(r"^## ", GUIDE.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^\| (.+?) \| (.+) \|$", part, re.MULTILINE)[2:]
        told = made[part.split("\n")[0].lower()] = {}
        for cell, remedy in rows:
            plain = re.sub(r"\[(.+?)\]\(.+?\)", r"\1", remedy)
            for piece in cell.split(" · "):
                told["" if piece[0] == "*" else piece] = plain
    return json.dumps(made, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
