"""How long an answer takes, one customer at a time: every answer mode beside each other.

    python bench/latency.py WORKSPACE [RUN] [--exam EXAM.jsonl] [--questions 30] [--modes MODE ...]

Asks what was never trained (the run's held-out wordings, or the reworded questions of an exam), the
same in every mode, one by one in one process after a first that is not counted (it pays for what is
made once): a question that was trained letter for letter costs nothing in `verbatim`. Prints one
JSON line a mode: median and 95th percentile of the seconds to the whole answer, the median against
`free`, and how many passes of the model a question took, and seconds in them, by what they are for.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

from kefu.bot import Bot
from kefu.records import Mode
from kefu.workspace import Workspace

PASSES = ("hidden", "after", "reading", "crossed")
"""What `bot` asks a model for but text."""
MODES: tuple[Mode, ...] = ("free", "sample", "locked", "verbatim")


def watched(engine: Any) -> dict[str, list[float]]:
    """Seconds of each pass from now on, by what it is for."""
    spent: dict[str, list[float]] = {name: [] for name in PASSES}

    def timed(name: str, work: Any) -> Any:
        def wrapped(*args: Any) -> Any:
            begun = time.perf_counter()
            made = work(*args)
            spent[name].append(time.perf_counter() - begun)
            return made

        return wrapped

    for name in PASSES:
        setattr(engine, name, timed(name, getattr(engine, name)))
    return spent


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
    spent = watched(bot.engine)
    for mode in said.modes:
        bot.mode = mode
        begun = time.perf_counter()
        bot.answer("…")
        first = time.perf_counter() - begun
        took = []
        for passes in spent.values():
            passes.clear()
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
            "passes": {n: round(len(s) / len(asked), 2) for n, s in spent.items() if s},
            "pass_s": {n: round(sum(s) / len(asked), 3) for n, s in spent.items() if s},
            "rows": len(pairs),
            "asked": len(asked),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
