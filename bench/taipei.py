"""Writes the FAQ and exams of real rows of Taipei City: files of ../shared/data for bench/seeds.py.

    python bench/taipei.py DATA OUT [--files sports …]
    python bench/seeds.py OUT/faq.jsonl --exam OUT/exam.jsonl OUT/confusable.jsonl

Without --files all four. `exam` asks every row as it stands (known), the officials' other wordings
(reworded), real questions that the FAQ does not answer although it answers their like (near-miss),
and questions of other worlds (out of scope). `confusable` asks both questions of each pair of rows
that look alike: a pair is right where both are, so that its share is at least 2 × questions - 100.
Only pairs, wordings and near-misses of rows in the chosen files are asked.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

FILES = ("sports", "transport_tax_household", "tourism_culture", "city_other")
OTHER = ("drcd_zhtw", "xsid_zh", "crosswoz_zh", "homeassistant_zhtw")
OF_EACH = 30


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    print(path, len(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--files", nargs="+", choices=FILES, default=list(FILES))
    said = parser.parse_args()
    said.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {}
    for name in said.files:
        for row in lines(said.data / f"faq_real_taipei_{name}_public.jsonl"):
            rows.setdefault(row["instruction"].strip(), row)  # the first of equal questions
    write(said.out / "faq.jsonl", list(rows.values()))

    def known(question: str, kind: str = "known", source: str = "") -> dict[str, Any]:
        source = (source or question).strip()
        answer = rows[source]["output"]
        return {"question": question, "kind": kind, "answer": answer, "source": source}

    exam = [known(question) for question in rows]
    for row in lines(said.data / "paraphrases_taipei_public.jsonl"):
        if row["canonical"].strip() in rows:
            exam.append(known(row["text"], "reworded", row["canonical"]))
    for row in lines(said.data / "oos_nearmiss_taipei_public.jsonl"):
        if row["domain"] in said.files and row["text"].strip() not in rows:
            exam.append({"question": row["text"], "kind": "near-miss", "answer": None})
    for name in OTHER:
        found = lines(said.data / f"oos_{name}_public.jsonl")
        for row in found[:: -(-len(found) // OF_EACH)]:
            exam.append({"question": row["text"], "kind": "out-of-scope", "answer": None})
    write(said.out / "exam.jsonl", exam)
    alike: dict[str, dict[str, Any]] = {}
    for pair in lines(said.data / "confusable_taipei_public.jsonl"):
        both = [pair["q1"].strip(), pair["q2"].strip()]
        if all(question in rows for question in both):
            alike |= {question: known(question) for question in both}
    write(said.out / "confusable.jsonl", list(alike.values()))


if __name__ == "__main__":
    main()
