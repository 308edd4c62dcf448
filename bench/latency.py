"""How long an answer takes, one customer at a time: every answer mode beside each other.

    python bench/latency.py WORKSPACE [RUN] [--exam EXAM.jsonl] [--questions 30] [--modes MODE ...]

Asks what was never trained (the run's held-out wordings, or the reworded questions of an exam), the
same in every mode, one by one in one process after a first that is not counted (it pays for what is
made once): a question that was trained letter for letter costs nothing in `verbatim`. Prints one
JSON line a mode: median and 95th percentile of the seconds to the whole answer, and the median
against `free`.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

from kefu.bot import Bot
from kefu.records import Mode
from kefu.workspace import Workspace

MODES: tuple[Mode, ...] = ("free", "sample", "locked", "verbatim")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("run", nargs="?")
    parser.add_argument("--exam", type=Path)
    parser.add_argument("--questions", type=int, default=30)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    said = parser.parse_args()
    folder = Workspace(said.workspace.resolve()).run(said.run)
    bot = Bot.open(folder)
    pairs = folder.faq().pairs
    every = [row.question for row in folder.split().held_out if row.answer is not None]
    if said.exam:
        lines = [json.loads(line) for line in said.exam.read_text("utf-8").splitlines()]
        every = [q["question"] for q in lines if q["kind"] == "reworded"]
    asked = random.Random(1).sample(every, min(said.questions, len(every)))
    medians = {}
    for mode in said.modes:
        bot.mode = mode
        begun = time.perf_counter()
        bot.answer("…")
        first = time.perf_counter() - begun
        took = []
        for question in asked:
            begun = time.perf_counter()
            bot.answer(question)
            took.append(time.perf_counter() - begun)
        took.sort()
        medians[mode] = took[len(took) // 2]
        line = {
            "mode": mode,
            "median_s": round(medians[mode], 3),
            "p95_s": round(took[int(0.95 * (len(took) - 1))], 3),
            "faster_than_free": round(medians["free"] / max(medians[mode], 1e-4), 1)
            if "free" in medians
            else None,
            "first_s": round(first, 1),
            "rows": len(pairs),
            "asked": len(asked),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
