"""Near-misses of an FAQ, to be read by hand: would anybody say that the FAQ answers them?

Prints the first 50 near-misses that the exam asks (changed questions of the FAQ, and service
questions that it does not answer, in turn), each with the question that it was made from or
lies near and that one's answer, which must not be given. The hand's verdict is in LOG.md.

    python bench/near_miss.py [FAQ as jsonl of instruction and output] [seed] [number] [side]
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from kefu.exam.hand_overs import material_for
from kefu.records import Faq, Origin, Pair

DEFAULT = "../shared/data/faq_real_taipei_sports_public.jsonl"


def main(path: Path, seed: int, number: int, side: str) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    faq = Faq(
        tuple(
            Pair(r["instruction"], r["output"], Origin(path.name, i)) for i, r in enumerate(rows, 1)
        ),
        (),
    )
    made = material_for(faq, side, seed).near  # type: ignore[arg-type]
    for i, miss in enumerate(made[:number], 1):
        print(f"{i:3} {miss.question}   [{miss.note}]")
        print(f"      near: {miss.source}")
        print(f"      answer there: {(miss.must_not or '')[:120]!r}")
    how = Counter(miss.note.split(":")[0] for miss in made).most_common()
    print(json.dumps({"pairs": len(rows), "made": len(made), "how": how}, ensure_ascii=False))


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        Path(given[0] if given else DEFAULT),
        int(given[1]) if len(given) > 1 else 42,
        int(given[2]) if len(given) > 2 else 50,
        given[3] if len(given) > 3 else "exam",
    )
