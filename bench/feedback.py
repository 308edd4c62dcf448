"""How well open questions are grouped and led to their row: `python bench/feedback.py [FAQ]`.

Takes an FAQ whose rows have several wordings, holds every second wording back as if customers had
asked it, and prints for several thresholds how pure the groups are and how many proposed rows are
right. Lexical likeness only.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import kefu.jobs.feedback as feedback
from kefu.asked import Open
from kefu.faq import read
from kefu.records import Faq


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("faq", nargs="?", type=Path)
    given = asked.parse_args()
    faq = read(given.faq or Path(str(files("kefu").joinpath("templates/faq.csv"))))
    owner = {w: i for i, p in enumerate(faq.pairs) for w in p.wordings[::2]}
    known = Faq(tuple(replace(p, wordings=p.wordings[1::2]) for p in faq.pairs), ())
    opened = [Open(str(i), w, "", True, False, None) for i, w in enumerate(owner)]
    for near in (0.2, 0.3, 0.4, 0.5):
        feedback.NEAR = near
        made = feedback.groups(opened, known)
        led = [(owner[t], g.row.question) for g in made if g.row for t in g.texts]
        right = sum(known.pairs[i].question == row for i, row in led)
        pure = sum(max(map([owner[t] for t in g.texts].count, range(len(faq.pairs)))) for g in made)
        print(
            f"near {near}: {len(made)} groups of {len(owner)} questions about {len(faq.pairs)} "
            f"rows; {pure / len(owner):.1%} are with the group's row; {len(led)} were led to a "
            f"row, {right / max(1, len(led)):.1%} of them to their own"
        )


if __name__ == "__main__":
    main()
