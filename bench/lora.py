"""What rank, rate and modules do to the answers: the knobs of LoRA, measured on questions.

    python bench/lora.py [--faq FAQ] [--steps N] [--only NAME ...]

Of each row's wordings the first half is trained and the rest is asked (without a FAQ: kefu's
sample). Each line of the table is one run from the default plan with one knob turned, examined
without a threshold, so that it shows what the bot knows and not what it dares. What it does not
show: the sample has few questions, so that only large differences mean anything; seeds are not
repeated. Prints a table and one JSON line a run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

from kefu import exam as exams
from kefu import jobs
from kefu.plan import probe
from kefu.records import Choice, ExamQuestion, Faq, Plan
from kefu.settings import Settings
from kefu.workspace import Workspace

QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
ANSWERS_ALL = 1.0
"""Share of false answers that is allowed: all, so that every question is answered."""


def variants(plan: Plan) -> dict[str, Plan]:
    """The plan, and plans in which one knob is turned. Alpha stays twice the rank."""

    def turned(rank: int = 0, rate: float = 1.0, targets: tuple[str, ...] = ()) -> Plan:
        mine = "The bench's."
        made = replace(plan, learning_rate=Choice(plan.learning_rate.value * rate, mine))
        if rank:
            made = replace(made, rank=Choice(rank, mine), alpha=Choice(2 * rank, mine))
        return replace(made, targets=Choice(targets, mine)) if targets else made

    return {
        "default": plan,
        "rank 4": turned(rank=4),
        "rank 64": turned(rank=64),
        "rate / 5": turned(rate=0.2),
        "rate x 5": turned(rate=5.0),
        "q, k, v, o only": turned(targets=QKVO),
    }


def halves(faq: Faq) -> tuple[Faq, list[ExamQuestion]]:
    """The FAQ with half of its wordings, and the other half as questions."""
    kept = [replace(p, wordings=p.wordings[: len(p.wordings) // 2]) for p in faq.pairs]
    asked = [
        ExamQuestion(text, "reworded", p.answer, p.question)
        for p in faq.pairs
        for text in p.wordings[len(p.wordings) // 2 :]
    ]
    return replace(faq, pairs=tuple(kept)), asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faq", help="An FAQ with wordings; without it kefu's sample.")
    parser.add_argument("--base", default="gemma-3-270m")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--only", nargs="+", help="Names of the variants to run.")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, as_file(files("kefu")) as package:
        workspace = Workspace(Path(work))
        settings = Settings(base=said.base, thorough="quick")
        found = jobs.open_faq(workspace, settings, said.faq or str(package / "templates/faq.csv"))
        faq, asked = halves(found)
        exam = Path(work) / "exam.jsonl"
        exams.write(exam, asked)
        prepared = jobs.prepare(faq, settings, probe(), hold_out=False, steps=said.steps)
        print(f"{len(faq.pairs)} rows, {prepared.plan.steps.value} steps, {len(asked)} questions")
        for name, plan in variants(prepared.plan).items():
            if said.only and name not in said.only:
                continue
            begun = time.monotonic()
            trained: list[int] = []
            run = jobs.train(
                workspace,
                replace(prepared, plan=plan),
                on_start=lambda count, _, trained=trained: trained.append(count),
            )
            folder = workspace.run(run.name)
            bot = jobs.settle(folder, ANSWERS_ALL)
            report = jobs.evaluate(folder, exam=exam, bot=bot, controls=False)
            right = report.candidates[0].overall.right
            line = {
                "variant": name, "trained": trained[0], "loss": round(run.last_loss, 4),
                "right": right, "asked": len(asked), "seconds": round(time.monotonic() - begun),
            }  # fmt: skip
            print(f"| {name} | {trained[0]:,} | {run.last_loss:.4f} | {right} of {len(asked)} |")
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
