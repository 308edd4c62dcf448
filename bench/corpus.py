"""Is the corpus of intents sound, and free of what exams ask?

    python bench/corpus.py [--against ../shared/data] [--folder bench/intents/data] [--mend]

Counts intents, wordings and near-misses; finds lines that stand there twice, and lines that are
equal or nearly equal (likeness of letters at least 0.9) to any text of four letters or more in the
files of --against. With --mend the overlapping lines and the second of equal ones are taken out.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rapidfuzz import fuzz, process

from intents import parse
from kefu.recall import normalise

ALIKE = 90.0


def bare(text: str) -> str:
    return re.sub(r"[\W_]+", "", normalise(text))


def texts(folder: Path) -> Iterator[str]:
    """Every cell and every string of the files."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".csv":
            raw = path.read_bytes()
            text = raw.decode("utf-8-sig", errors="ignore")
            for row in csv.reader(text.splitlines()):
                for cell in row:
                    yield from cell.split("|")
        elif path.suffix in (".jsonl", ".json"):
            lines = path.read_text("utf-8", errors="ignore")
            for found in re.findall(r'"((?:[^"\\]|\\.)*)"', lines):
                yield from str(json.loads(f'"{found}"', strict=False)).split("|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=Path("bench/intents/data"))
    parser.add_argument("--mend", action="store_true")
    said = parser.parse_args()
    files = sorted(said.folder.glob("*.txt"))
    every = {f: list(parse(f.read_text("utf-8"), f.name)) for f in files}
    blocks = [i for found in every.values() for i in found]
    print(
        f"{len(blocks)} intents of {len({b.topic for b in blocks})} topics, "
        f"{sum(len(b.wordings) for b in blocks)} wordings, "
        f"{sum(len(b.near) for b in blocks)} near-misses, "
        f"{sum(len(b.covered) for b in blocks)} questions that the answer covers too, "
        f"{sum(len(b.beside) for b in blocks)} beside it"
    )
    every_line = ((*b.wordings, *b.near, *b.covered, *b.beside) for b in blocks)
    lines = Counter(bare(text) for block in every_line for text in block)
    double = {t for t, n in lines.items() if n > 1}
    print(f"lines that stand there twice: {len(double)}")
    foreign = list({b for t in texts(said.against) if 4 <= len(b := bare(t)) <= 80})
    print(f"texts to compare with: {len(foreign)}")
    mine = list(lines)
    overlap: set[str] = set()
    for start in range(0, len(mine), 500):
        part = mine[start : start + 500]
        scores = process.cdist(part, foreign, scorer=fuzz.ratio, score_cutoff=ALIKE, workers=2)
        for text, row in zip(part, scores, strict=True):
            if row.max(initial=0) >= ALIKE:
                overlap.add(text)
                print(f"overlap: {text} ~ {foreign[int(row.argmax())]}")
    print(f"lines that overlap: {len(overlap)}")
    if said.mend:
        mend(files, overlap)


def mend(files: list[Path], overlap: set[str]) -> None:
    seen: set[str] = set()
    for file in files:
        kept = []
        for line in file.read_text("utf-8").splitlines():
            text = bare(line)
            if line.strip() and not line.startswith("#"):
                if text in overlap or text in seen:
                    continue
                seen.add(text)
            kept.append(line.rstrip())
        file.write_text("\n".join(kept).strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
