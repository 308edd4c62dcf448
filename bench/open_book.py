"""Closed book, open book, retrieval alone, and both books together, on one exam.

    python bench/open_book.py FAQ [--exam EXAM.jsonl] [--seeds 1 2 3] [--allowed 0.02 0.1 1]
        [--steps N] [--every N] [--free N] [--base NAME] [--precision bf16]

Trains each book once a seed, on the same division of the FAQ, and prints one JSON line for

- `plan`: rows, steps and seconds of each training;
- `exam`: what is right, wrong and handed over by kind of question, in the mode `verbatim`, for each
  share of false answers that the threshold is set for (1: everything is answered). Beside the books
  stand the lexical index (`retrieval alone`) and the surer reply of the two (`both books`);
- `found`: for how many reworded questions the right row is among those that the prompt carries, by
  what the bot knows without reading and by letters alone, and how many the model's reading gets
  right with it there, alone and with the other witnesses at other weights of reading (chosen on
  this exam, so to be taken as kind);
- `cost`: tokens of a prompt and seconds of an answer, one customer at a time, in one process, by
  the clock and of the processor, which a busy machine hardly lengthens;
- `edited`: every number in the FAQ is another now and nothing is trained: how often the new answer
  is given and how often the old one, in `verbatim` and, for --free questions, in `free`.

With --exam every wording but a tenth is trained. --every 5 asks each fifth question only, but for
what is edited. Runs that lie finished in --work are taken as they are.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from kefu import exam as exams
from kefu import faq as faqs
from kefu import jobs
from kefu.bot import Bot
from kefu.bot.book import Reader
from kefu.bot.calibration import fit
from kefu.bot.weighing import Weighed
from kefu.jobs.edited import renewed
from kefu.jobs.examining import answerer, retrieval
from kefu.plan import probe
from kefu.recall import Index
from kefu.records import ExamQuestion, Faq, Reply, Verdict, trained_part
from kefu.score import Marker, report
from kefu.settings import Settings
from kefu.workspace import RunFolder, Workspace

PARTS = ("found", "cost", "exam", "edited")
READINGS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)


def say(**line: Any) -> None:
    print(json.dumps(line, ensure_ascii=False), flush=True)


def kinds(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {
        t.kind: {
            "asked": t.asked,
            "right": t.right,
            "wrong": t.wrong,
            "handed_over": t.handed_over,
            "false_answers": t.false_answers,
            "invented": t.invented,
        }
        for t in report("bench", verdicts).candidates[0].tallies
    }


def train(said: argparse.Namespace, workspace: Workspace, book: str, seed: int) -> RunFolder:
    settings = Settings(
        **{"seed": seed, "book": book, "base": said.base, "precision": said.precision}
    )
    name = f"{book}-{seed}"
    if RunFolder(workspace.runs_folder / name).finished:
        return workspace.run(name)
    found = faqs.read(workspace.root / "faq.csv")
    made = jobs.prepare(found, settings, probe(), hold_out=said.exam is None, steps=said.steps)
    begun = time.monotonic()
    run = jobs.train(workspace, made, name=name)
    seconds = time.monotonic() - begun
    say(
        what="plan", seed=seed, who=f"{book} book", rows=len(made.examples),
        rows_that_read=sum(bool(row.shown) for row in made.examples),
        shown=made.plan.shown.value, steps=made.plan.steps.value,
        batch=made.plan.effective_batch, max_length=made.plan.max_length.value,
        train_seconds=round(seconds, 1), last_loss=round(run.last_loss, 4),
        machine=made.plan.machine.name,
    )  # fmt: skip
    return workspace.run(run.name)


def remember(bot: Bot) -> None:
    """Weighs each question once: only the threshold differs from one pass to the next."""
    weigh, kept = bot._weigh, dict[Any, Weighed]()

    def once(asked: Any, prompts: Any) -> list[Weighed]:
        keys = [(q, tuple(h)) for q, h in asked]
        new = [i for i, key in enumerate(keys) if key not in kept]
        if new:
            made = weigh([asked[i] for i in new], [prompts[i] for i in new])
            kept.update(zip([keys[i] for i in new], made, strict=True))
        return [kept[key] for key in keys]

    bot._weigh = once  # type: ignore[method-assign]


def surer(one: Reply, other: Reply) -> Reply:
    open_ones = [reply for reply in (one, other) if not reply.handed_over]
    return max(open_ones, key=lambda reply: reply.confidence) if open_ones else one


def examined(
    bots: dict[str, Bot], asked: Sequence[ExamQuestion], faq: Faq, said: Any, seed: int
) -> None:
    marker = Marker(faq)
    held_out = {who: list(bot.evidence(bot.folder.split().held_out)) for who, bot in bots.items()}
    for bot in bots.values():
        remember(bot)
    for allowed in said.allowed:
        replies: dict[str, list[Reply]] = {}
        for who, bot in bots.items():
            bot.calibration = fit(held_out[who], allowed)
            if allowed == 1:
                bot.calibration = replace(bot.calibration, threshold=0.0)
            replies[who] = list(answerer(bot)(asked))
        first = bots["closed book"]
        known = trained_part(faq, first.folder.examples())
        replies["retrieval alone"] = list(retrieval(Index(known), first)(asked))
        pairs = zip(replies["closed book"], replies["open book"], strict=True)
        replies["both books"] = [surer(one, other) for one, other in pairs]
        for who, mine in replies.items():
            verdicts = [
                Verdict(q, reply, marker.mark(q, reply))
                for q, reply in zip(asked, mine, strict=True)
            ]
            say(what="exam", seed=seed, who=who, allowed=allowed, kinds=kinds(verdicts))


def found(bot: Bot, asked: Sequence[ExamQuestion], seed: int) -> None:
    """What is among the rows that the prompt carries, and what reading makes of them."""
    mine = [q for q in asked if q.kind == "reworded" and q.answer in bot.answers]
    if not mine:
        return
    questions = [(q.question, q.history) for q in mine]
    prompts = [bot._prompt(*one)[0] for one in questions]
    reader = bot._ready()
    assert isinstance(reader, Reader)
    right = [bot.answers.index(str(q.answer)) for q in mine]
    carried = [likely for likely, _ in reader.look_up(questions, prompts)]
    told = list(reader.witnesses(questions, prompts))
    known = trained_part(bot.folder.faq(), bot.folder.examples())
    letters = Index(known).search_all([q for q, _ in questions], reader.shown)
    there = [n in likely for n, likely in zip(right, carried, strict=True)]
    read = [int(t.evidence[0, :-1].argmax()) == n for t, n in zip(told, right, strict=True)]
    of = {
        str(weight): sum(
            int((torch.tensor([weight, *reader.weights[1:]]) @ t.evidence)[:-1].argmax()) == n
            for t, n in zip(told, right, strict=True)
        )
        for weight in READINGS
    }
    say(
        what="found", seed=seed, asked=len(mine), shown=reader.shown, carried=sum(there),
        by_letters=sum(
            any(known.pairs[hit.pair].answer == q.answer for hit in hits)
            for q, hits in zip(mine, letters, strict=True)
        ),
        read_right_where_carried=sum(r for r, t in zip(read, there, strict=True) if t),
        right_by_weight_of_reading=of,
    )  # fmt: skip


def cost(bots: dict[str, Bot], asked: Sequence[ExamQuestion], said: Any, seed: int) -> None:
    some = random.Random(1).sample([*asked], min(said.timed, len(asked)))
    medians = {}
    for mode in ("verbatim", "free"):
        for who, bot in bots.items():
            bot.mode = mode  # type: ignore[assignment]
            bot.answer("…")
            took, worked, read = [], [], []
            for question in some[: said.timed if mode == "verbatim" else said.timed // 4]:
                begun, cpu = time.perf_counter(), time.process_time()
                reply = bot.answer(question.question, question.history)
                took.append(time.perf_counter() - begun)
                worked.append(time.process_time() - cpu)
                plain = len(bot.prompt.ids(question.question, question.history))
                read.append(plain + (reply.read if bot.book else 0))
            medians[mode, who] = median(worked)
            say(
                what="cost", seed=seed, who=who, mode=mode, answers=len(took),
                median_s=round(median(took), 3), slowest_s=round(max(took), 3),
                processor_s=round(median(worked), 3),
                times_closed=round(median(worked) / medians[mode, "closed book"], 2),
                tokens_read=round(median(read)),
            )  # fmt: skip
            bot.mode = "verbatim"


def renumbered(faq: Faq, seed: int) -> Faq:
    lot = random.Random(f"{seed}:edited")

    def other(match: re.Match[str]) -> str:
        while (made := "".join(str(lot.randint(1, 9)) for _ in match[0])) == match[0]:
            pass
        return made

    pairs = (replace(p, answer=re.sub(r"\d+", other, p.answer)) for p in faq.pairs)
    return replace(faq, pairs=tuple(pairs))


def edited(
    bots: dict[str, Bot], asked: Sequence[ExamQuestion], workspace: Workspace, said: Any, seed: int
) -> None:
    before = faqs.read(workspace.root / "faq.csv")
    now = renumbered(before, seed)
    faqs.write(now.pairs, workspace.root / "faq.csv")
    mine = [q for q in asked if q.kind in ("known", "reworded")]
    new = renewed(mine, before, now.pairs)
    changed = [(old, q) for old, q in zip(mine, new, strict=True) if old.answer != q.answer]
    markers = {"new": Marker(now), "old": Marker(before)}
    for mode, most in (("verbatim", len(changed)), ("free", said.free)):
        some = random.Random(2).sample(changed, min(most, len(changed)))
        for who, bot in bots.items():
            bot.mode = mode  # type: ignore[assignment]
            bot.calibration = replace(bot.calibration, threshold=0.0)
            begun = time.perf_counter()
            replies = list(answerer(bot)([q for _, q in some]))
            counts = {
                name: sum(
                    markers[name].mark(pair[name == "new"], reply).right
                    for pair, reply in zip(some, replies, strict=True)
                )
                for name in markers
            }
            say(
                what="edited", seed=seed, who=who, mode=mode, asked=len(some), **counts,
                seconds=round(time.perf_counter() - begun, 1),
            )  # fmt: skip
            bot.mode = "verbatim"
    faqs.write(before.pairs, workspace.root / "faq.csv")


def questions(said: argparse.Namespace, folder: RunFolder) -> Iterator[ExamQuestion]:
    place = said.exam or folder.file("exam.jsonl")
    yield from exams.read(place, folder.faq(), folder.examples())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faq", type=Path)
    parser.add_argument("--exam", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--allowed", type=float, nargs="+", default=[0.02, 0.1, 1.0])
    parser.add_argument("--steps", type=int, help="of each training, in place of the plan's")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--free", type=int, default=20)
    parser.add_argument("--timed", type=int, default=20, help="answers that are timed")
    parser.add_argument("--base", default="gemma-3-270m")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--work", type=Path, default=Path("bench-open-book"))
    parser.add_argument("--skip", nargs="+", default=[], choices=PARTS)
    said = parser.parse_args()
    for seed in said.seeds:
        workspace = Workspace(said.work / f"seed-{seed}")
        workspace.root.mkdir(parents=True, exist_ok=True)
        faqs.write(faqs.read(said.faq).pairs, workspace.root / "faq.csv")
        folders = {f"{b} book": train(said, workspace, b, seed) for b in ("closed", "open")}
        bots = {who: Bot.open(folder, mode="verbatim") for who, folder in folders.items()}
        every = list(questions(said, folders["closed book"]))
        asked = every[:: said.every]
        if "found" not in said.skip:
            found(bots["open book"], asked, seed)
        if "cost" not in said.skip:
            cost(bots, asked, said, seed)
        if "exam" not in said.skip:
            examined(bots, asked, folders["closed book"].faq(), said, seed)
        if "edited" not in said.skip:
            bots = {who: Bot.open(folder, mode="verbatim") for who, folder in folders.items()}
            edited(bots, every, workspace, said, seed)


if __name__ == "__main__":
    main()
