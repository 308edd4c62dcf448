"""An exam of rows that nothing was ever trained on: bench/intents/aside, for bench/distil.py.

    python bench/aside.py OUT.json

What a reader has learned of the corpus says little, and the exams of ../shared/data are small. So
some topics of the corpus lie aside. Each row shows its first two wordings and its answer; asked
are its other wordings and what it covers (`reworded`, among the rows of its topic), and what lies
beside it (`near-miss`, of this row alone: a sibling may answer it).
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from intents import ASIDE, intents

SHOWN = 2
"""Wordings of a row that are not asked."""


def exam() -> dict[str, Any]:
    """As a file of `bench/cross_encoder.py candidates` is."""
    every = [i for i in intents(ASIDE) if i.answer]
    topics: dict[str, list[int]] = defaultdict(list)
    for n, intent in enumerate(every):
        topics[intent.topic].append(n)
    questions = []
    for n, intent in enumerate(every):
        rows = [n, *(other for other in topics[intent.topic] if other != n)]
        for text in (*intent.wordings[SHOWN:], *intent.covered):
            questions.append({"question": text, "kind": "reworded", "truth": n, "rows": rows})
        for text in (*intent.near, *intent.beside):
            questions.append({"question": text, "kind": "near-miss", "truth": -1, "rows": [n]})
    shown = [{"wordings": list(i.wordings[:SHOWN]), "answer": i.answer} for i in every]
    return {"rows": shown, "questions": questions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    said = parser.parse_args()
    made = exam()
    said.out.write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")
    print(f"{len(made['rows'])} rows, {len(made['questions'])} questions")


if __name__ == "__main__":
    main()
