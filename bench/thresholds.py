"""What a finished run answers at every share of false answers that its owner may allow.

    python bench/thresholds.py WORKSPACE RUN EXAM.jsonl [--allowed 0.02 0.05 0.1] [--reranker BASE]

Sets the threshold once, so that all is answered, and puts the exam once, in `verbatim`; what would
be handed over follows from the confidences and the run's own curve. bench/seeds.py does each share
anew. One JSON line a share, questions by kind; `false` is the percentage of its answers that is
false where three in four questions have an answer (`ANSWERABLE`, as the threshold assumes) and the
others are near-misses and out of scope, half and half. Leaves the run with a threshold that lets
everything out: take a copy.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from kefu import jobs
from kefu.bot import Bot
from kefu.bot.calibration import ANSWERABLE, threshold
from kefu.workspace import Workspace


def false_share(right: float, wrong: float, near_misses: float, out_of_scope: float) -> float:
    """Per cent of what is answered, from the percentages of reworded questions answered rightly and
    wrongly, and of near-misses and questions out of scope answered."""
    false = ANSWERABLE * wrong + (1 - ANSWERABLE) / 2 * (near_misses + out_of_scope)
    return 100 * false / max(1e-9, false + ANSWERABLE * right)


def percent(kinds: dict[str, Counter[str]], kind: str, what: str) -> float:
    asked = kinds.get(kind, Counter())
    return 100 * asked[what] / max(1, asked.total())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("run")
    parser.add_argument("exam", type=Path)
    parser.add_argument("--allowed", type=float, nargs="+", default=[0.02, 0.05, 0.1])
    parser.add_argument("--reranker", help="a larger base that reads rows: a name or a folder")
    said = parser.parse_args()
    folder = Workspace(said.workspace).run(said.run)
    begun = time.monotonic()
    if said.reranker:
        jobs.set_threshold(folder, 1.0, said.reranker)
        bot = Bot.open(folder)
    else:
        bot = jobs.settle(folder, 1.0)
    settled = time.monotonic()
    report = jobs.evaluate(folder, exam=said.exam, mode="verbatim", bot=bot, controls=False)
    run = report.candidates[0]
    line = {
        "settling_seconds": round(settled - begun),
        "exam_seconds": round(time.monotonic() - settled),
        "median_answer": run.last_token,
        "p95_answer": run.last_token_p95,
    }
    print(json.dumps(line), flush=True)
    for allowed in (*said.allowed, 1.0):
        least = threshold(bot.calibration.curve, allowed)
        kinds: dict[str, Counter[str]] = {}
        for verdict in report.verdicts:
            away = verdict.reply.handed_over or verdict.reply.confidence < least
            what = "handed_over" if away else "right" if verdict.mark.right else "wrong"
            kinds.setdefault(verdict.asked.kind, Counter())[what] += 1
        false = false_share(
            percent(kinds, "reworded", "right"),
            *(percent(kinds, kind, "wrong") for kind in ("reworded", "near-miss", "out-of-scope")),
        )
        line = {"allowed": allowed, "threshold": round(least, 4), "false": round(false, 1)}
        line["kinds"] = kinds
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
