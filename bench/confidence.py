"""What a bot's witnesses say of other shops' customers: how sure is sure enough?

    python bench/confidence.py make OUT
    python bench/confidence.py train OUT [--jobs 6] [--steps N]
    python bench/confidence.py gather OUT [--jobs 6]
    python bench/confidence.py dump RUN_FOLDER EXAM.jsonl OUT.pt
    python bench/confidence.py tell OUT [--allowed 0.02 0.05] [--rows 5] [--choice 3] [--sure 1]
        [--found 0.5 1.5 3]

`make` writes pseudo-FAQs of what lies aside in the corpus, so that no reader has learned them: up
to four wordings a row, and what is asked of each: other wordings and questions that the answer
covers (reworded), questions beside it (near-misses, only of rows that have no sibling of the same
topic in the FAQ, which might answer them) and questions of other topics (out of scope; an answer
may cover one of these all the same: "any discount for students?"). `train` trains a run on each, as
`kefu train` does. `gather` puts the questions, and the run's own held-out ones, to the run and
keeps what each witness says, of more rows than a bot reads. `dump` does the same for any run and
exam. `tell` reads what lies in OUT, weighs it as a bot does or with so many rows read and other
weights of the cross-encoder (in which answer is best, in how sure that is) and of wordings, answers
and letters, and says how many of the questions a threshold for --allowed lets through that was set
by the run's own held-out questions (as kefu does) or by the other pseudo-FAQs' customers: is what
an owner is promised true when people ask, and what would it cost to make it so? `false` is the
share of what is answered, where three in four questions have an answer and the others are
near-misses and out of scope.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import torch

import warm
from intents import ASIDE, Intent, intents
from kefu.bot.calibration import Calibration, Seen, fit
from kefu.bot.cross_encoder import READ
from kefu.bot.weighing import CHOICE, CROSS, FOUND, TRIE, Told, Weigher
from thresholds import false_share
from witnesses import KINDS, asked

SIZES = (40, 20, 60)
"""Rows of the pseudo-FAQs, in turns."""
ASKED = {"wordings": 2, "covered": 3, "beside": 3}
"""Questions of each row."""
FOREIGN = 1.5
"""Questions out of scope for each row."""
ROWS = 12
"""Rows that are read for each question, so that fewer can be tried."""


def faqs() -> list[tuple[list[Intent], set[int]]]:
    """(rows, those that have no sibling) of each; about half of the rows without."""
    dice = random.Random(5)
    topics: dict[str, list[Intent]] = {}
    for intent in intents(ASIDE):
        topics.setdefault(intent.topic, []).append(intent)
    bag = sorted(topics)
    dice.shuffle(bag)
    made = []
    for size in cycle(SIZES):
        rows: list[Intent] = []
        alone: set[int] = set()
        while len(rows) < size and bag:
            group = topics[bag.pop()]
            if len(alone) * 2 <= len(rows):
                alone.add(len(rows))
                group = [dice.choice(group)]
            rows += group
        if not rows:
            return made
        made.append((rows, alone))
    return made


def make(out: Path) -> None:
    from kefu.faq import write
    from kefu.records import Origin, Pair

    out.mkdir(parents=True, exist_ok=True)
    every, dice = faqs(), random.Random(6)
    for number, (rows, alone) in enumerate(every):
        pairs, put = [], []
        for n, intent in enumerate(rows):
            (first, *more), others = warm.indexed(intent)
            pairs.append(Pair(first, intent.answer, Origin("made", n), tuple(more)))
            good = some(dice, [w for w in others if len(w) > 3], ASKED["wordings"])
            good += some(dice, list(intent.covered), ASKED["covered"])
            put += [(q, "reworded", intent.answer) for q in good]
            if n in alone:
                bad = some(dice, [*intent.near, *intent.beside], ASKED["beside"])
                put += [(q, "near-miss", None) for q in bad]
        foreign = [
            q
            for others, _ in every[:number] + every[number + 1 :]
            for i in others
            if i.topic not in {r.topic for r in rows}
            for q in (i.wordings[0], *i.covered)
        ]
        away = some(dice, foreign, round(FOREIGN * len(rows)))
        put += [(q, "out-of-scope", None) for q in away]
        write(pairs, out / f"{number}.csv")
        lines = [{"question": q, "kind": kind, "answer": answer} for q, kind, answer in put]
        (out / f"{number}.json").write_text(json.dumps(lines, ensure_ascii=False))
        print(number, len(pairs), len(put), flush=True)


def some(dice: random.Random, every: list[str], many: int) -> list[str]:
    return dice.sample(every, min(many, len(every)))


def train(out: Path, number: int, steps: int | None) -> None:
    from kefu import jobs
    from kefu.plan import probe
    from kefu.settings import Settings
    from kefu.workspace import Workspace

    workspace = Workspace(out / "work")
    settings = Settings(seed=number + 1, base=warm.BASE)
    faq = jobs.open_faq(workspace, settings, str((out / f"{number}.csv").resolve()))
    prepared = jobs.prepare(faq, settings, probe(), hold_out=False, steps=steps)
    jobs.train(workspace, prepared, name=f"faq-{number}")


def gather(out: Path, number: int) -> None:
    run = out / "work" / "runs" / f"faq-{number}"
    dump(run, json.loads((out / f"{number}.json").read_text()), out / f"{number}.pt")


def dump(run: Path, questions: list[dict[str, Any]], out: Path) -> None:
    """What the run's witnesses say of the questions, and of its own held-out ones."""
    from kefu.bot import Bot
    from kefu.workspace import RunFolder

    bot = Bot.open(RunFolder(run))
    for e in bot.folder.split().held_out:
        if not e.history:
            kind = "held-out" if e.answer is not None else "held-out away"
            questions.append({"question": e.question, "kind": kind, "answer": e.answer})
    found = []
    for start in range(0, len(questions), 256):
        part = questions[start : start + 256]
        told = bot.witnesses([q["question"] for q in part], ROWS)
        for q, one in zip(part, told, strict=True):
            truth = bot.answers.index(q["answer"]) if q["answer"] is not None else -1
            found.append((q["question"], q["kind"], truth, one.evidence.half(), one.states.half()))
    torch.save(found, out)


@dataclass(frozen=True)
class Put:
    """A question that was put to a run."""

    kind: str
    seen: Seen


def read(path: Path, weigher: Weigher, rows: int) -> list[Put]:
    """What a run's witnesses said, weighed as the bot weighs that has read so many rows."""
    found = []
    weights = weigher.weights[:-1]
    for _, kind, truth, evidence, states in torch.load(path):
        seen = read_of(evidence.float(), rows, weights)
        told = weigher.weighed(Told(seen, states.float(), 0))
        found.append(Put(kind, Seen(told.features, told.best == truth, truth >= 0)))
    return found


def likely(evidence: torch.Tensor, rows: int, weights: Sequence[float]) -> torch.Tensor:
    """The numbers of the answers that are read, by the `weights` of the other witnesses."""
    others = (torch.tensor(weights) @ evidence[:-1])[:-1]
    return others.topk(min(rows, len(others))).indices


def read_of(evidence: torch.Tensor, rows: int, weights: Sequence[float]) -> torch.Tensor:
    """The evidence, had so many rows been read of those that were."""
    few = likely(evidence, rows, weights)
    logits = torch.full_like(evidence[-1], float(evidence[-1][few].min()))
    logits[few], logits[-1] = evidence[-1][few], 0.0
    return torch.cat([evidence[:-1], logits.unsqueeze(0)])


def among(path: Path, rows: int, weights: Sequence[float]) -> dict[str, float]:
    """For how many of the reworded questions the right row is read, and for how many the
    cross-encoder alone puts it first; per cent."""
    asked = [(truth, e.float()) for _, kind, truth, e, _ in torch.load(path) if kind == "reworded"]
    read = sum(truth in likely(e, rows, weights) for truth, e in asked)
    first = sum(int(read_of(e, rows, weights)[-1][:-1].argmax()) == truth for truth, e in asked)
    return {"read": 100 * read / len(asked), "first": 100 * first / len(asked)}


def shares(put: list[Put], sure: Calibration) -> dict[str, float]:
    """Of the kinds of questions the percentages that are answered, and of the answers those that
    are false."""
    answered = [p for p in put if sure.confidence(p.seen.features) >= sure.threshold]

    def share(kind: str, right: bool) -> float:
        every = sum(p.kind == kind for p in put)
        return 100 * sum(p.kind == kind and p.seen.right == right for p in answered) / every

    found = {
        "right": share("reworded", True),
        "wrong": share("reworded", False),
        "near-miss": share("near-miss", False),
        "out-of-scope": share("out-of-scope", False),
    }
    return {**found, "false": false_share(*found.values())}


def tell(said: argparse.Namespace) -> None:
    parts: Any = (None,) * 6  # all that it weighs was said before
    weigher = Weigher(*parts, (), 0, cross=parts)
    weights = (TRIE, *said.found)
    weigher.weights, weigher.choice = (*weights, said.sure), said.choice
    paths = sorted(said.out.glob("*.pt"))
    for path in paths:
        found = {k: round(v, 1) for k, v in among(path, said.rows, weights).items()}
        print(json.dumps({"of": path.stem, "right row, of those read": found}))
    every = [read(path, weigher, said.rows) for path in paths]
    held = [[p.seen for p in one if p.kind.startswith("held-out")] for one in every]
    put = [[p for p in one if p.kind in KINDS] for one in every]
    others = [[p.seen for other in put if other is not one for p in other] for one in put]
    for share in said.allowed:
        for by, seen in (("own held-out questions", held), ("other shops' customers", others)):
            lines = [shares(p, fit(known, share)) for p, known in zip(put, seen, strict=True)]
            line: dict[str, Any] = {"allowed": share, "set by": by}
            line |= {k: round(sum(x[k] for x in lines) / len(lines), 1) for k in lines[0]}
            line["most false"] = round(max(x["false"] for x in lines), 1)
            print(json.dumps(line), flush=True)


def side_by_side(said: argparse.Namespace) -> None:
    """The same command once a pseudo-FAQ, so many at a time."""
    waiting = sorted(int(p.stem) for p in said.out.glob("*.csv"))
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        while waiting and len(running) < said.jobs:
            words = [sys.executable, __file__, *sys.argv[1:], "--one", str(waiting.pop(0))]
            running.append(subprocess.Popen(words))
        if running.pop(0).wait():
            print("one has failed", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["dump"]:
        run, exam, out = map(Path, sys.argv[2:5])
        dump(run, asked(exam), out)
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("make", "train", "gather", "tell"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--allowed", type=float, nargs="+", default=[0.02, 0.05])
    parser.add_argument("--rows", type=int, default=READ)
    parser.add_argument("--choice", type=float, default=CHOICE)
    parser.add_argument("--sure", type=float, default=CROSS)
    parser.add_argument("--found", type=float, nargs=3, default=FOUND, help="weights: wordings, …")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    said: Any = parser.parse_args()
    if said.what == "make":
        make(said.out)
    elif said.what == "tell":
        tell(said)
    elif said.one is None:
        side_by_side(said)
    elif said.what == "train":
        train(said.out, said.one, said.steps)
    else:
        gather(said.out, said.one)


if __name__ == "__main__":
    main()
