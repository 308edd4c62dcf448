"""How good is the bot on an FAQ: several seeds, every mode, the controls beside them.

    python bench/seeds.py FAQ [--exam EXAM.jsonl …] [--seeds 1 2 3] [--modes verbatim free]
        [--allowed 0.02 0.1 1] [--jobs 1]

With --exam every wording of the FAQ is trained but for a tenth, and that exam is put; without it a
quarter of the wordings is held out and kefu's own exam is put. --allowed are the shares of false
answers that the threshold is set for; at 1 the bot answers nearly everything, which shows what it
knows. Prints one JSON line a seed and mode, then the means with their range. Seeds run side by side
with --jobs (on a GPU).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any


def one(said: argparse.Namespace, seed: int) -> None:
    """One seed: train, examine in every mode, print."""
    from kefu import jobs
    from kefu.plan import probe
    from kefu.records import Choice
    from kefu.settings import Settings
    from kefu.workspace import Workspace

    workspace = Workspace(said.work / f"seed-{seed}")
    settings = Settings(seed=seed, thorough=said.thorough, base=said.base, reranker=said.reranker)
    if said.no_reader:
        settings = settings.model_copy(update={"reader": "none"})
    if said.precision:
        settings = settings.model_copy(update={"precision": said.precision})
    faq = jobs.open_faq(workspace, settings, str(said.faq))
    prepared = jobs.prepare(
        faq, settings, probe(), hold_out=said.exam is None, wordings=said.wordings, steps=said.steps
    )
    if said.contrast is not None:
        weight = Choice(said.contrast, "The bench's.")
        prepared = replace(prepared, plan=replace(prepared.plan, contrast=weight))
    if said.cold:
        prepared = replace(prepared, plan=replace(prepared.plan, warm=Choice("", "The bench's.")))
    if said.rate:
        rate = Choice(said.rate, "The bench's.")
        prepared = replace(prepared, plan=replace(prepared.plan, learning_rate=rate))
    if said.no_answers:
        others = tuple(e for e in prepared.examples if e.kind != "answer")
        prepared = replace(prepared, examples=others)
    begun = time.monotonic()
    run = jobs.train(workspace, prepared)
    trained = time.monotonic() - begun
    folder = workspace.run(run.name)
    exams: list[Path | None] = said.exam or [None]
    variants = [
        (mode, allowed, exam) for allowed in said.allowed for mode in said.modes for exam in exams
    ]
    settled = None
    for i, (mode, allowed, exam) in enumerate(variants):
        if allowed != settled:
            bot, settled = jobs.settle(folder, allowed), allowed
        begun = time.monotonic()
        report = jobs.evaluate(
            folder,
            exam=exam,
            mode=mode,
            bot=bot,
            controls=i < len(exams) and not said.no_controls,
        )
        for candidate in report.candidates:
            kinds = {
                t.kind: {
                    "asked": t.asked,
                    "right": round(100 * t.right / t.asked, 1),
                    "handed_over": round(100 * t.handed_over / t.asked, 1),
                    "false_answers": t.false_answers,
                    "invented": t.invented,
                    "offered": round(100 * t.offered / t.asked, 1),
                }
                for t in candidate.tallies
            }
            line = {
                "seed": seed,
                "who": candidate.name,
                "mode": f"{mode} {allowed:g}"
                + (f" {exam.stem}" if exam and len(exams) > 1 else ""),
                "train_seconds": round(trained),
                "eval_seconds": round(time.monotonic() - begun),
                "median_answer": candidate.last_token,
                "p95_answer": candidate.last_token_p95,
                "threshold": report.threshold,
                "kinds": kinds,
            }
            print(json.dumps(line, ensure_ascii=False), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faq", type=Path)
    parser.add_argument("--exam", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--modes", nargs="+", default=["verbatim"])
    parser.add_argument("--allowed", type=float, nargs="+", default=[0.02])
    parser.add_argument("--wordings", type=int)
    parser.add_argument("--contrast", type=float, help="0 for plain fine-tuning on the answers")
    parser.add_argument("--cold", action="store_true", help="begin with nothing learned")
    parser.add_argument("--no-reader", action="store_true", help="no other base reads beside it")
    parser.add_argument("--reranker", default="none", help="a larger base that reads rows")
    parser.add_argument("--rate", type=float, help="another learning rate than the plan's")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--no-answers", action="store_true", help="answers are no wordings")
    parser.add_argument("--base", default="gemma-3-270m")
    parser.add_argument("--precision", help="bf16, fp32, nf4: as the plan chooses without this")
    parser.add_argument("--thorough", default="normal")
    parser.add_argument("--work", type=Path, default=Path("bench-seeds"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--no-controls", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.one is not None:
        one(said, said.one)
        return
    waiting = list(said.seeds)
    running: list[subprocess.Popen[str]] = []
    lines: list[dict[str, Any]] = []
    while waiting or running:
        while waiting and len(running) < said.jobs:
            command = [sys.executable, __file__, *sys.argv[1:], "--one", str(waiting.pop(0))]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        first = running.pop(0)
        for line in first.communicate()[0].splitlines():
            print(line, flush=True)
            lines.append(json.loads(line))
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in lines:
        who = line["who"] if " (" not in line["who"] else "kefu"
        groups.setdefault((who, line["mode"]), []).append(line)
    for (who, mode), mine in groups.items():
        for kind in mine[0]["kinds"]:
            right = [m["kinds"][kind]["right"] for m in mine]
            away = [m["kinds"][kind]["handed_over"] for m in mine]
            false = [m["kinds"][kind]["false_answers"] for m in mine]
            invented = sum(m["kinds"][kind]["invented"] for m in mine)
            offered = [m["kinds"][kind]["offered"] for m in mine]
            print(
                f"{who:32} {mode:25} {kind:13} right {sum(right) / len(right):5.1f} "
                f"({min(right)}-{max(right)})  handed over {sum(away) / len(away):5.1f}  "
                f"offered {sum(offered) / len(offered):5.1f}  "
                f"false answers {sum(false) / len(false):4.1f}  invented {invented}"
            )


if __name__ == "__main__":
    main()
