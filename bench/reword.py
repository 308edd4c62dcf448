"""Whether filled-up wordings read like a person's, whether they help to find rows, and speed.

    python bench/reword.py [--data ../shared/data] [--seed 1] [--read 100]

`--read N` prints N random (question -> wording) of the Taipei files and the shop for reading
by hand, and nothing else. Without it: first-hit accuracy of the lexical retriever on the shop
exam's reworded questions with one question a row, with the rules' wordings, with the owner's,
with both, and with 請問 before each question as a control; how many wordings each row gets; and the
time for 1,000 rows, beside one search of the index for each of them in the same run.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kefu.recall import Index
from kefu.records import Faq, Origin, Pair
from kefu.reword import Rewording, filled, reword


def shop(folder: Path) -> Faq:
    path = folder / "shop_faq.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [
            Pair(r["question"], r["answer"], Origin(path.name, i), tuple(r["wordings"].split("|")))
            for i, r in enumerate(csv.DictReader(file), 2)
        ]
    return Faq(tuple(rows), ())


def bare(faq: Faq) -> Faq:
    return replace(faq, pairs=tuple(replace(p, wordings=()) for p in faq.pairs))


def taipei(folder: Path) -> list[Faq]:
    return [
        Faq(
            tuple(
                Pair(row["instruction"], row["output"], Origin(path.name, i))
                for i, row in enumerate(map(json.loads, path.read_text("utf-8").splitlines()), 1)
            ),
            (),
        )
        for path in sorted(folder.glob("faq_real_taipei_*_public.jsonl"))
    ]


def show(folder: Path, seed: int, count: int) -> None:
    """Half of the sample from the shop, half from the Taipei files."""
    rng = random.Random(seed)
    parts = [bare(shop(folder)), *taipei(folder)]
    made = [reword(faq, per_pair=8, seed=seed) for faq in parts]
    half = count // 2
    sample = rng.sample(list(made[0]), half)
    sample += rng.sample([r for part in made[1:] for r in part], count - half)
    for i, r in enumerate(sample, 1):
        print(f"{i:3} {r.pair_question}\n    -> {r.wording}\n       {' | '.join(r.rules)}")


def right(faq: Faq, asked: Sequence[tuple[str, str]]) -> int:
    found = Index(faq).search_all([q for q, _ in asked], 1)
    return sum(
        bool(hits) and faq.pairs[hits[0].pair].answer.strip() == answer.strip()
        for hits, (_, answer) in zip(found, asked, strict=True)
    )


def retrieval(folder: Path, seeds: Sequence[int]) -> dict[str, float]:
    full = shop(folder)
    one = bare(full)
    lines = (folder / "shop_exam.jsonl").read_text("utf-8").splitlines()
    exam = [r for r in map(json.loads, lines) if r["kind"] == "reworded"]
    asked = [(r["question"], r["answer"]) for r in exam]
    table: dict[str, float] = {"one question": right(one, asked), "owner's 4": right(full, asked)}
    for count in (4, 8, 16):
        marks = [right(filled(one, reword(one, per_pair=count, seed=s)), asked) for s in seeds]
        table[f"rules' {count}"] = sum(marks) / len(marks)
    plain = tuple(Rewording(p.question, f"請問{p.question}", ()) for p in one.pairs)
    table["control: 請問 before"] = right(filled(one, plain), asked)
    surface = ("frame", "keyword", "register", "word", "opening", "closing", "particle")
    marks = [
        right(filled(one, reword(one, per_pair=8, seed=s, families=surface)), asked) for s in seeds
    ]
    table["rules' 8, no scenes"] = sum(marks) / len(marks)
    for count in (8, 16):
        marks = [right(filled(full, reword(full, per_pair=count, seed=s)), asked) for s in seeds]
        table[f"owner's 4, filled to {count}"] = sum(marks) / len(marks)
    return table


def speed(folder: Path) -> dict[str, float]:
    """1,000 rows x 8, beside a control: one search of the index for each of the 1,000 questions."""
    pairs = [p for faq in taipei(folder) for p in faq.pairs][:1000]
    faq = Faq(tuple(pairs), ())
    index = Index(faq, answer_weight=0)
    start = time.perf_counter()
    index.search_all([p.question for p in pairs], 1)
    control = time.perf_counter() - start
    start, busy = time.perf_counter(), time.process_time()
    made = reword(faq, per_pair=8)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    each = Counter(r.pair_question for r in made)
    return {
        "pairs": len(pairs),
        "wordings": len(made),
        "seconds": round(seconds, 2),
        "processor seconds": round(busy, 2),
        "control seconds": round(control, 2),
        "rows with all 8": sum(n >= 8 for n in each.values()),
        "rows with none": len({p.question for p in pairs} - set(each)),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--read", type=int, default=0)
    options = parser.parse_args()
    if options.read:
        show(options.data, options.seed, options.read)
        return
    fast = speed(options.data)
    for name, value in fast.items():
        print(f"{name:22} {value}")
    table = retrieval(options.data, (1, 2, 3))
    print("\nfirst hit right, of 200 reworded questions of the shop exam (mean of 3 seeds)")
    for name, mark in table.items():
        print(f"{name:26} {mark:6.1f}")
    print(json.dumps({"speed": fast, "retrieval": table}, ensure_ascii=False))


if __name__ == "__main__":
    main()
