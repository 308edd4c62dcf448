"""Makes the cross-encoder: a base learns whether an answer of an FAQ answers a question.

    python bench/cross_encoder.py --onward --all --out FOLDER [--steps 500] [--rows 64] …
    python bench/cross_encoder.py candidates FAQ EXAM OUT.json
    python bench/cross_encoder.py mean ADAPTER ADAPTER … OUT.safetensors
    python bench/cross_encoder.py shipped OUT.json

For each row of the corpus (`bench/intents`) questions that its answer covers, questions beside it
that it does not cover, and questions of the rows that lie nearest are read after the row, in one
sequence whose questions do not see each other. One number a question, from the state where it ends,
is pushed up where the row answers and down where it does not. Without --all every fifth topic is
kept aside (`dealt`) and judged. With --judge an exam is judged, too, by the six rows that
`candidates` has found for each of its questions: how well the number of the likeliest row parts
right answers from near-misses and questions out of scope (areas under the curve), and who finds the
right row. `prior` is a control: the same question read after a row that it has nothing to do with,
which shows what the question's style alone gives away; `plain` sets near-misses against the FAQ's
own further wordings, which are as short and plain as they. --old learns nothing of the corpus's
covered and not covered questions. With --joined a share of the rows has the answers of one or two
other topics in its answer, too: longer text to find something in. `mean` makes one adapter of
several that began alike, each matrix their mean (a "model soup": Wortsman et al. 2022). `shipped`
judges kefu's own adapter by an exam, as the bot reads. Prints one JSON line a judgement; writes the
adapter to --out, in bf16, with the direction that its states are multiplied by.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

import packing
import warm
from intents import Intent, dealt, intents
from kefu.bot.cross_encoder import CrossEncoder, closing, opening
from kefu.weights.warm import DIRECTION, start

QUESTIONS = 200
"""Tokens of a row's questions in training, about."""


Reads = Callable[[Sequence[tuple[int, str]]], list[float]]
"""(number of the row, question) of many -> their numbers."""


class Reader(warm.Reader):
    """Reads (row, questions) and gives one number a question."""

    def __init__(self, said: argparse.Namespace) -> None:
        super().__init__(said)
        self.tokenizer = self.prompt.tokenizer
        head = self.inner.get_output_embeddings().weight
        yes, no = (self.tokenizer.encode(w, add_special_tokens=False)[-1] for w in ("是", "否"))
        apart = (head[yes] - head[no]).detach().float()
        self.direction = torch.nn.functional.normalize(apart, dim=0) * packing.SCALE
        self.bias = torch.zeros((), device=self.device, requires_grad=True)
        self._closings: dict[str, list[int]] = {}

    def opening(self, wordings: Sequence[str], answer: str) -> list[int]:
        return opening(self.tokenizer, wordings, answer)

    def closing(self, question: str) -> list[int]:
        if question not in self._closings:
            self._closings[question] = closing(self.tokenizer, question)
        return self._closings[question]

    def read(self, asked: Sequence[tuple[list[int], Sequence[str]]]) -> list[torch.Tensor]:
        """For each row (ids of its opening, its questions) the numbers of the questions."""
        ids = [(row, [self.closing(q) for q in questions]) for row, questions in asked]
        found = packing.states(self.inner.get_decoder(), ids, self.device)
        return [state @ self.direction + self.bias for state in found]

    def over(self, rows: Sequence[dict[str, Any]]) -> Reads:
        """Reads questions after rows, by the number of the row."""
        openings = [self.opening(r["wordings"][:2], r["answer"]) for r in rows]

        def read(asked: Sequence[tuple[int, str]]) -> list[float]:
            return [t[0] for t in self.read_all([(openings[n], [q]) for n, q in asked], 96)]

        return read

    @torch.no_grad()
    def read_all(
        self, asked: Sequence[tuple[list[int], Sequence[str]]], size: int = 48
    ) -> list[list[float]]:
        self.model.eval()
        order = sorted(range(len(asked)), key=lambda i: len(asked[i][0]) + 20 * len(asked[i][1]))
        found: dict[int, list[float]] = {}
        for s in range(0, len(order), size):
            some = order[s : s + size]
            made = self.read([asked[i] for i in some])
            found |= {i: t.tolist() for i, t in zip(some, made, strict=True)}
        self.model.train()
        return [found[i] for i in range(len(asked))]


def judge(reader: Reader, aside: Sequence[Intent]) -> dict[str, float]:
    """How well covered and not covered part, over all rows and within a row's mirrored pairs."""
    asked = []
    for intent in aside:
        good, bad = [*intent.wordings, *intent.covered], [*intent.near, *intent.beside]
        shown = intent.wordings[:2]
        unseen = [w for w in good if w not in shown]
        asked.append((reader.opening(shown, intent.answer), [*unseen, *bad]))
    sure: dict[str, list[float]] = {"good": [], "bad": [], "plus": [], "minus": []}
    wins = fights = 0
    told = reader.read_all(asked)
    for intent, (_, questions), numbers in zip(aside, asked, told, strict=True):
        mark = dict(zip(questions, numbers, strict=True))
        bad = {*intent.near, *intent.beside}
        sure["good"] += [mark[q] for q in questions if q not in bad]
        sure["bad"] += [mark[q] for q in questions if q in bad]
        plus, minus = ([mark[q] for q in some] for some in (intent.covered, intent.beside))
        sure["plus"] += plus
        sure["minus"] += minus
        wins += sum(a > b for a in plus for b in minus)
        fights += len(plus) * len(minus)
    return {
        "auc": round(packing.auc(sure["good"], sure["bad"]), 3),
        "auc_mirrored": round(packing.auc(sure["plus"], sure["minus"]), 3),
        "in_row": round(wins / max(1, fights), 3),
    }


def judge_exam(read: Reads, exam: dict[str, Any]) -> dict[str, float]:
    """What the number says of an exam's questions, read after the rows that may answer them."""
    questions, count = exam["questions"], len(exam["rows"])
    flat = read([(row, q["question"]) for q in questions for row in q["rows"]])
    dice = random.Random(0)
    foreign = [dice.choice([n for n in range(count) if n not in q["rows"]]) for q in questions]
    alone = read([(row, q["question"]) for row, q in zip(foreign, questions, strict=True)])
    sure: dict[str, list[float]] = {"right": [], "wrong": [], "near-miss": [], "out-of-scope": []}
    prior: dict[str, list[float]] = {"reworded": [], "near-miss": [], "out-of-scope": []}
    found = {"first": 0, "reader": 0}
    at = 0
    for q, own in zip(questions, alone, strict=True):
        told = flat[at : at + len(q["rows"])]
        at += len(told)
        kind = q["kind"]
        prior[kind].append(own)
        if kind == "reworded":
            right = [c == q["truth"] for c in q["rows"]]
            found["first"] += right[0]
            found["reader"] += right[told.index(max(told))]
            kind = "right" if right[0] else "wrong"
        sure[kind].append(told[0])
    # Short and plain, in the FAQ's own words, as the near-misses are: but covered.
    plain = [(n, w) for n, row in enumerate(exam["rows"]) for w in row["wordings"][2:]]
    owned = read(plain)
    count = len(prior["reworded"])
    line = {name: round(100 * hits / count, 1) for name, hits in found.items()}
    for kind in ("wrong", "near-miss", "out-of-scope"):
        line[f"auc {kind}"] = round(packing.auc(sure["right"], sure[kind]), 3)
    line["auc near-miss plain"] = round(packing.auc(owned, sure["near-miss"]), 3)
    for kind in ("reworded", "near-miss"):
        line[f"letters {kind}"] = mean(len(q["question"]) for q in questions if q["kind"] == kind)
    line["letters plain"] = mean(len(w) for _, w in plain)
    for kind in ("near-miss", "out-of-scope"):
        line[f"auc {kind} prior"] = round(packing.auc(prior["reworded"], prior[kind]), 3)
    return line


def mean(values: Iterable[float]) -> float:
    every = list(values)
    return round(sum(every) / max(1, len(every)), 1)


def neighbours(reader: Reader, every: Sequence[Intent]) -> list[list[int]]:
    """For each intent the twenty that lie nearest by the first wording."""
    states = reader.all_states([i.wordings[0] for i in every])
    unit = torch.nn.functional.normalize(states - states.mean(0), dim=-1)
    near = unit @ unit.T
    near.fill_diagonal_(-2)
    return near.topk(20).indices.tolist()


def train(said: argparse.Namespace) -> None:
    every = [i for i in intents() if i.answer]
    parted = dealt(every, warm.PARTS)[warm.ASIDE]
    kept_aside = set() if said.all else {i.topic for i in parted}
    learnt = [n for n, i in enumerate(every) if i.topic not in kept_aside]
    aside = [i for i in every if i.topic in kept_aside][: said.judged]
    reader = Reader(said)
    if said.onward:
        start(reader.model, said.base)
    near = neighbours(reader, every)
    weights = [p for p in reader.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [{"params": weights}, {"params": [reader.bias]}], lr=said.rate, weight_decay=said.decay
    )
    dice = random.Random(said.seed)
    begun = time.monotonic()

    def tell(step: int, loss: float) -> None:
        line: dict[str, Any] = {"name": said.name, "step": step, "loss": round(loss, 4)}
        line["seconds"] = round(time.monotonic() - begun)
        if aside:
            line |= judge(reader, aside)
        for path in said.judge:
            exam = json.loads(path.read_text("utf-8"))
            line[path.stem] = judge_exam(reader.over(exam["rows"]), exam)
        print(json.dumps(line, ensure_ascii=False), flush=True)

    def drawn(of: Sequence[str], many: int) -> list[str]:
        return dice.sample(of, min(many, len(of)))

    def asked_of(n: int) -> tuple[list[int], list[str], list[float]]:
        row = every[n]
        first, *more = row.wordings
        shown = [first, *drawn(more, dice.randint(0, 3))]
        rest = [w for w in row.wordings if w not in shown]
        if said.old:
            good, bad = drawn(rest, said.good), drawn(row.near, said.bad)
        else:  # most wordings and near-misses are plain: what is not counts as much
            good = [*drawn(rest, said.good // 2), *drawn(row.covered, (said.good + 1) // 2)]
            bad = [*drawn(row.near, said.bad // 4), *drawn(row.beside, said.bad - said.bad // 4)]
        answers = [row.answer]
        if dice.random() < said.joined:
            for other in dice.sample(learnt, dice.randint(1, 2)):
                if every[other].topic != row.topic:
                    answers.append(every[other].answer)
                    good += drawn(every[other].covered, 1)
                    bad += drawn(every[other].beside, 1)
            dice.shuffle(answers)
        for other in dice.sample(near[n], said.foreign):
            if other in allowed and every[other].answer not in answers:
                bad.append(dice.choice([*every[other].wordings, *every[other].covered]))
        marks = [1.0] * len(good) + [0.0] * len(bad)
        return reader.opening(shown, "".join(answers)), [*good, *bad], marks

    allowed = set(learnt)
    bag: list[int] = []
    mean = 0.0
    for step in range(1, said.steps + 1):
        while len(bag) < said.rows:
            more = list(learnt)
            dice.shuffle(more)
            bag += more
        some, bag = bag[: said.rows], bag[said.rows :]
        # In two portions by length: some rows are three times as long as most.
        batch = sorted((asked_of(n) for n in some), key=lambda row: len(row[0]))
        cut = warm.cheapest_cut([len(o) + QUESTIONS for o, _, _ in batch])
        parts = [part for part in (batch[:cut], batch[cut:]) if part]
        numbers = torch.cat(
            [n for part in parts for n in reader.read([(o, q) for o, q, _ in part])]
        )
        marks = torch.tensor([m for _, _, ms in batch for m in ms], device=numbers.device)
        up = (len(marks) - marks.sum()) / marks.sum()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(numbers, marks, pos_weight=up)
        warm.descend(loss, optimizer, said, step)
        mean = float(loss.detach()) if step == 1 else 0.95 * mean + 0.05 * float(loss.detach())
        if step % said.every == 0 or step == said.steps:
            tell(step, mean)
    if said.out:
        warm.save(reader, said)
        path = said.out / "adapter_model.safetensors"
        save_file({**load_file(path), DIRECTION: reader.direction.cpu()}, path)


def candidates(faq: Path, exam: Path, out: Path) -> None:
    """The exam's questions with the six rows that untrained witnesses find likeliest."""
    from kefu.recall import Index
    from witnesses import read_untrained

    found = read_untrained(faq, exam)
    questions, answers, pairs = found.questions, found.answers, found.pairs
    words = found.words + 0.5 * found.told
    index = Index(pairs)
    row_of = [answers.index(p.answer) for p in pairs]
    for n, hits in enumerate(index.search_all([q["question"] for q in questions], 10)):
        for hit in hits:
            words[n, row_of[hit.pair]] += 0.6 * hit.score
    best = words.topk(6)
    first = {p.answer: p for p in reversed(pairs)}
    lines = {
        "rows": [{"wordings": list(first[a].phrasings), "answer": a} for a in answers],
        "questions": [
            {
                "question": q["question"],
                "kind": q["kind"],
                "truth": answers.index(q["answer"]) if q["answer"] in answers else -1,
                "rows": best.indices[n].tolist(),
                "scores": [round(s, 4) for s in best.values[n].tolist()],
            }
            for n, q in enumerate(questions)
        ],
    }
    out.write_text(json.dumps(lines, ensure_ascii=False))
    reworded = [q for q in lines["questions"] if q["kind"] == "reworded"]
    for k in (1, 2, 3, 6):
        print(k, sum(q["truth"] in q["rows"][:k] for q in reworded) / len(reworded))


def mean_of(*paths: Path) -> None:
    """One adapter whose matrices are the means of those in the folders or files; the last path is
    its. Without the bias of bench/distil.py, which is the same for all rows."""
    *found, out = paths
    every = [load_file(p / "adapter_model.safetensors" if p.is_dir() else p) for p in found]
    made = {
        name: torch.stack([one[name].float() for one in every]).mean(0).to(values.dtype)
        for name, values in every[0].items()
        if name != "bias"
    }
    save_file(made, out)


def shipped(path: Path) -> None:
    """Judges the adapter that kefu brings, by the bot's own code."""
    from kefu.bot.beside import Beside
    from kefu.records import Origin, Pair

    exam = json.loads(path.read_text("utf-8"))
    base = Beside(warm.BASE, "cpu")
    rows = [
        Pair(r["wordings"][0], r["answer"], Origin(path.name, n), tuple(r["wordings"][1:]))
        for n, r in enumerate(exam["rows"])
    ]
    reader = CrossEncoder(base.tokenizer, warm.BASE, rows, base)

    def read(asked: Sequence[tuple[int, str]]) -> list[float]:
        return torch.cat(reader.read([(q, (), [n]) for n, q in asked])).tolist()

    print(json.dumps(judge_exam(read, exam)), flush=True)


def main() -> None:
    others = {"candidates": candidates, "mean": mean_of, "shipped": shipped}
    if sys.argv[1:2] and sys.argv[1] in others:
        others[sys.argv[1]](*map(Path, sys.argv[2:]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="reader")
    parser.add_argument("--base", default=warm.BASE)
    parser.add_argument("--judge", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--old", action="store_true", help="learn no covered and beside")
    parser.add_argument("--onward", action="store_true", help="from the adapter that kefu brings")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--good", type=int, default=4)
    parser.add_argument("--bad", type=int, default=4)
    parser.add_argument("--joined", type=float, default=0.0, help="share of rows in longer text")
    parser.add_argument("--foreign", type=int, default=2)
    parser.add_argument("--judged", type=int, default=300)
    parser.add_argument("--rank", type=int, default=16)
    parser.set_defaults(layers=0, targets=None, dropout=0.0, decay=0.0)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--seed", type=int, default=42)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
