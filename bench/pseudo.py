"""Writes pseudo-FAQs of the intents that bench/warm.py keeps aside, each with its exam.

    python bench/pseudo.py FOLDER

Four wordings of an intent stand in the FAQ, with its answer; its other
wordings are asked as reworded, its near-misses as near-misses. For choosing settings on, so that
none is chosen on the exams of ../shared/data: `python bench/seeds.py FAQ --exam EXAM`.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

from intents import Intent, dealt, intents
from warm import ASIDE, PARTS, indexed, pseudo_faqs


def answer(intent: Intent) -> str:
    """The corpus's own; where it has none, a sentence that names the intent."""
    return intent.answer or f"關於「{intent.name}」，請看本店「{intent.topic}」說明頁的第一段。"


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, faq in enumerate(pseudo_faqs(dealt(intents(), PARTS)[ASIDE])):
        exam = []
        with (folder / f"faq{number}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["question", "answer", "wordings"])
            for intent in faq:
                (first, *more), asked = indexed(intent)
                table.writerow([first, answer(intent), "|".join(more)])
                whole = {"answer": answer(intent), "source": first}
                exam.append({"question": first, "kind": "known", **whole})
                exam += [{"question": q, "kind": "reworded", **whole} for q in asked]
                exam += [
                    {"question": q, "kind": "near-miss", "answer": None, "source": first}
                    for q in intent.near
                ]
        lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in exam]
        (folder / f"exam{number}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
