"""How often lexical retrieval finds the right row, by method and by weight of the answer.

Compares the index of `kefu.recall` (TF-IDF on 1 and 2 characters) with answer weights, and
BM25 on character bigrams, on: the shop exam's reworded questions (FAQ with and without its
wordings), the shop's wordings left out one at a time, and the Taipei paraphrases among all
Taipei rows. Right means: the first hit's answer is the right one.

    python bench/recall.py [folder of the shared data, default ../shared/data]
"""

from __future__ import annotations

import csv
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from kefu.recall import Index, normalise
from kefu.records import Origin, Pair

Search = Callable[[Sequence[str]], list[tuple[tuple[int, float], ...]]]


def shop(folder: Path) -> list[Pair]:
    path = folder / "shop_faq.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [
            Pair(r["question"], r["answer"], Origin(path.name, i), tuple(r["wordings"].split("|")))
            for i, r in enumerate(csv.DictReader(file), 2)
        ]


def taipei(folder: Path) -> list[Pair]:
    return [
        Pair(row["instruction"], row["output"], Origin(path.name, i))
        for path in sorted(folder.glob("faq_real_taipei_*_public.jsonl"))
        for i, row in enumerate(map(json.loads, path.read_text("utf-8").splitlines()), 1)
    ]


def tfidf(pairs: Sequence[Pair], weight: float) -> Search:
    index = Index(pairs, answer_weight=weight)
    return lambda asked: [
        tuple((h.pair, h.score) for h in hits) for hits in index.search_all(asked, 5)
    ]


def bigrams(text: str) -> list[str]:
    text = "".join(c for c in normalise(text) if c.isalnum())
    return [text[i : i + 2] for i in range(max(1, len(text) - 1))]


def bm25(pairs: Sequence[Pair], weight: float, k1: float = 1.5, b: float = 0.75) -> Search:
    """Robertson's BM25 on character bigrams, best phrasing of a pair, answers not used."""
    docs = [(i, Counter(bigrams(t))) for i, p in enumerate(pairs) for t in p.phrasings]
    seen = Counter(term for _, doc in docs for term in doc)
    mean = sum(sum(doc.values()) for _, doc in docs) / len(docs)
    idf = {t: math.log(1 + (len(docs) - n + 0.5) / (n + 0.5)) for t, n in seen.items()}

    def one(question: str) -> tuple[tuple[int, float], ...]:
        best: dict[int, float] = {}
        terms = bigrams(question)
        for i, doc in docs:
            size = k1 * (1 - b + b * sum(doc.values()) / mean)
            score = sum(idf[t] * doc[t] * (k1 + 1) / (doc[t] + size) for t in terms if t in doc)
            best[i] = max(best.get(i, 0.0), score)
        return tuple(sorted(best.items(), key=lambda hit: (-hit[1], hit[0]))[:5])

    return lambda asked: [one(q) for q in asked]


def main(folder: Path) -> None:
    full = shop(folder)
    bare = [replace(p, wordings=()) for p in full]
    city = taipei(folder)
    exam = [json.loads(x) for x in (folder / "shop_exam.jsonl").read_text("utf-8").splitlines()]
    asked = [(r["question"], r["answer"]) for r in exam if r["kind"] == "reworded"]
    lines = (folder / "paraphrases_taipei_public.jsonl").read_text("utf-8").splitlines()
    other = [(r["text"], r["answer"]) for r in map(json.loads, lines)]

    def right(search: Search, pairs: Sequence[Pair], questions: list[tuple[str, str]]) -> int:
        found = search([q for q, _ in questions])
        return sum(
            bool(hits) and pairs[hits[0][0]].answer.strip() == answer.strip()
            for hits, (_, answer) in zip(found, questions, strict=True)
        )

    def left_out(build: Callable[[Sequence[Pair]], Search]) -> int:
        """Wording j of every pair asked of an index without all the j-th wordings."""
        total = 0
        for j in range(4):
            rest = [replace(p, wordings=p.wordings[:j] + p.wordings[j + 1 :]) for p in full]
            total += right(build(rest), rest, [(p.wordings[j], p.answer) for p in full])
        return total

    methods: list[tuple[str, Callable[[Sequence[Pair]], Search]]] = [
        (f"tf-idf, answer {w}", lambda pairs, w=w: tfidf(pairs, w))
        for w in (0.0, 0.3, 0.5, 1.0, 2.0)
    ]
    methods.append(("bm25 on bigrams", lambda pairs: bm25(pairs, 0.0)))
    print(f"{'method':22} shop+4w/200 shop bare/200 left-out/160 taipei/{len(other)}  seconds")
    table = {}
    for name, build in methods:
        start = time.perf_counter()
        row = (
            right(build(full), full, asked),
            right(build(bare), bare, asked),
            left_out(build),
            right(build(city), city, other),
        )
        seconds = time.perf_counter() - start
        table[name] = row
        print(f"{name:22} {row[0]:11} {row[1]:13} {row[2]:12} {row[3]:9} {seconds:8.1f}")
    index = Index(city)
    start = time.perf_counter()
    for question, _ in asked[:100]:
        index.search(question, 5)
    print(f"one search among {len(city)} rows: {(time.perf_counter() - start) * 10:.1f} ms")
    print(json.dumps(table, ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("../shared/data"))
