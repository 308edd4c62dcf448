"""How often marking by rule agrees with marking by hand, on src/kefu/score/data/marked.jsonl.

    python bench/marking.py            agreement by class, and every row on which they differ
    python bench/marking.py --fit      the thresholds that fit the first half best

The set is divided by question (the number of its area and question, odd or even), so that no
answer stands on both sides: the threshold is fitted on one half and the other half is reported.
The rules themselves were made with the rows of both halves in sight. Five later batches (`batch`
1 to 5) were each written when the rules stood, and marked once before anything was changed: those
figures at first sight are the honest ones, and stand in LOG.md. Here the batches are reported as
they are marked now, after what the first ones taught.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from importlib.resources import files
from typing import Any

from kefu.records import ExamQuestion, Faq, Mark, Origin, Pair, Reply
from kefu.score import Marker, marking

Row = dict[str, Any]
HALVES = ("fit", "test", "batch 1", "batch 2", "batch 3", "batch 4", "batch 5")


def rows() -> list[Row]:
    """The hand-marked answers, each with its `half`."""
    text = (files("kefu.score") / "data" / "marked.jsonl").read_text(encoding="utf-8")
    found = [json.loads(line) for line in text.splitlines()]
    order = {q: i for i, q in enumerate(dict.fromkeys((r["area"], r["question"]) for r in found))}
    for row in found:
        number = order[(row["area"], row["question"])]
        later = f"batch {row['batch']}" if "batch" in row else ""
        row["half"] = later or ("test" if number % 2 else "fit")
    return found


def marked(found: list[Row]) -> list[tuple[Row, Mark]]:
    """Each row with the mark that its area's FAQ gives."""
    pairs: dict[str, dict[str, str]] = defaultdict(dict)
    for row in found:
        pairs[row["area"]][row["question"]] = row["answer"]
    origin = Origin("marked.jsonl", 1)
    markers = {
        area: Marker(Faq(tuple(Pair(q, a, origin) for q, a in one.items()), ()))
        for area, one in pairs.items()
    }
    return [
        (
            row,
            markers[row["area"]].mark(
                ExamQuestion(row["question"], "known", row["answer"]),
                Reply(row["reply"], handed_over=row.get("handed_over", False)),
            ),
        )
        for row in found
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fit", action="store_true")
    fit = parser.parse_args().fit
    done = marked(rows())
    if fit:
        text = "says what the FAQ does not", "leaves out what the FAQ says", ""
        open_ones = [
            (m.agreement, r["right"])
            for r, m in done
            if r["half"] == "fit" and not m.handed_over and m.because in text
        ]
        cuts = [i / 100 for i in range(101)]
        hits = [sum((a >= cut) == right for a, right in open_ones) for cut in cuts]
        best = [cut for cut, hit in zip(cuts, hits, strict=True) if hit == max(hits)]
        print(f"{max(hits)} of {len(open_ones)} that the text decides, at {best[0]} to {best[-1]}")
        return
    print(f"{'class':12} {'rows':>5} {'agree':>6}")
    for half in HALVES:
        part = [(r, m) for r, m in done if r["half"] == half]
        print(f"-- {half}: {_share(part)}")
        for name in sorted({r["class"] for r, _ in part}):
            of = [(r, m) for r, m in part if r["class"] == name]
            print(f"{name:12} {len(of):5} {sum(r['right'] == m.right for r, m in of):6}")
    for row, mark in done:
        if row["right"] != mark.right:
            hand = "right" if row["right"] else "wrong"
            print(f"\nby hand {hand} ({row['half']}, {row['class']}): {row['reply']}")
            print(f"  the FAQ: {row['answer']}")
            print(f"  by rule: {mark.because or 'right'}, agreement {mark.agreement:.2f}")
            print(f"  {mark.facts_missing} {mark.facts_invented} {mark.facts_misplaced}")
    print(
        json.dumps(
            {
                "bench": "marking",
                "threshold": marking.THRESHOLD,
                **{h: _share([x for x in done if x[0]["half"] == h]) for h in HALVES},
            }
        )
    )


def _share(part: list[tuple[Row, Mark]]) -> str:
    hits = sum(r["right"] == m.right for r, m in part)
    return f"{hits} of {len(part)}" + (f" ({hits / len(part):.1%})" if part else "")


if __name__ == "__main__":
    main()
