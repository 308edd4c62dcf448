"""Does a run that begins warm still learn the answers' words? Free and locked on the sample FAQ.

    python bench/by_heart.py [--thorough quick] [--work bench-by-heart]

Trains the sample FAQ three times: cold, warm at the same rate, warm at 0.4 of it (slow). Counts
how many of its own questions are answered word for word. One JSON line a run and mode.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from kefu import jobs
from kefu.bot import Bot
from kefu.plan import catalogue, probe, tables
from kefu.records import Choice, Mode
from kefu.settings import Settings
from kefu.workspace import Workspace

MODES: tuple[Mode, ...] = ("free", "locked", "verbatim")

BASE = "gemma-3-270m"
RUNS = (("cold", "", 1.0), ("warm", BASE, 1.0), ("slow", BASE, 0.4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--thorough", default="normal")
    parser.add_argument("--only", nargs="*", help="cold, warm, slow")
    parser.add_argument("--work", type=Path, default=Path("bench-by-heart"))
    said = parser.parse_args()
    settings = Settings(thorough=said.thorough, base=BASE)
    workspace = Workspace(said.work)
    jobs.init(said.work)
    faq = jobs.open_faq(workspace, settings, str(said.work / "faq.csv"))
    prepared = jobs.prepare(faq, settings, probe())
    full = tables.up_to(tables.RATES, catalogue()[0].shape.parameters)
    for name, warm, share in RUNS:
        if said.only and name not in said.only:
            continue
        plan = replace(
            prepared.plan,
            warm=Choice(warm, "The bench's."),
            learning_rate=Choice(full * share, "The bench's."),
        )
        run = jobs.train(workspace, replace(prepared, plan=plan))
        bot = Bot.open(workspace.run(run.name))
        for mode in MODES:
            bot.mode = mode
            replies = bot.answer_all([(p.question, ()) for p in bot.pairs])
            pairs = zip(replies, bot.pairs, strict=True)
            right = sum(r.text.strip() == p.answer.strip() for r, p in pairs)
            line = {"run": name, "mode": mode, "word_for_word": right, "of": len(bot.pairs)}
            line |= {"steps": run.steps, "last_loss": run.last_loss, "seconds": run.seconds}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
