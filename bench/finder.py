"""The embedded base learns to find the row that a question is asked of (a bi-encoder).

    python bench/finder.py prepare FOLDER [--judge FAQ.csv EXAM.jsonl]
    python bench/finder.py learn FOLDER --out ADAPTER [--seconds 300] [--rate 5e-4] [--rows 256]
    python bench/finder.py judge FOLDER ADAPTER …

A bot compares a question with the wordings and the answers of its rows before it reads a few of
them (bot/weighing.py): by the states of an adapter that learns here, from the corpus of intents, to
put a question of a row nearer to that row than to any other of its step. A row is shown with up to
three wordings and its answer, asked are other wordings and what its answer covers. The rows of a
step are such as lie near each other, four by four. `prepare` writes the ids, and the base with no
other tokens; `learn` and `judge` need torch, transformers and safetensors only, and a GPU. One JSON
line a judgement: for how many questions of the rows that lie aside, all as one FAQ (and of an exam
that is named), the right row is first and among the first 3, 5 and 8: by wordings, by answers, and
by both as a bot weighs them.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import packing
from distil_reader import DIRECTION, OWN, Reader

ANSWERS, SHARPNESS = 0.75, 20.0
"""As in bot/weighing.py and bot/memory.py, which are not there where this learns."""
SHOWN, ASKED, GROUP, WITHIN = 3, 3, 4, 20
"""Wordings and questions of a row in a step, rows that lie near each other, and from how many
nearest they are drawn."""
PACKED = 512
"""Tokens of questions in one sequence."""
TOP = (1, 3, 5, 8)
STARTED = time.monotonic()

Row = tuple[list[int], list[int], int]
"""Numbers of a row's wordings, of the questions that it covers, and of its answer."""


def prepare(said: argparse.Namespace) -> None:
    import cross_encoder
    import warm
    from distil_prepare import Kept, dressed, shorten
    from intents import ASIDE, intents
    from kefu.faq import read
    from kefu.weights import load
    from kefu.weights import warm as shipped

    every = [i for i in intents() if i.answer]
    dice, texts = random.Random(0), dict[str, int]()

    def numbers(some: Sequence[str], plain: bool = False) -> list[int]:
        typed = [t if plain else dressed(t, dice) for t in some]
        return [texts.setdefault(t, len(texts)) for t in typed]

    rows = [(numbers(i.wordings), numbers(i.covered), *numbers([i.answer], True)) for i in every]
    exams: dict[str, Any] = {"aside": ([], [])}
    for n, i in enumerate(intents(ASIDE)):
        (first, *more), others = warm.indexed(i)
        shown = (numbers([first, *more], True), [], *numbers([i.answer], True))
        exams["aside"][0].append(shown)
        exams["aside"][1].extend((q, n) for q in numbers([*others, *i.covered], True))
    if said.judge:
        pairs = read(Path(said.judge[0])).pairs
        at = {p.answer: n for n, p in enumerate(pairs)}
        lines = [json.loads(line) for line in Path(said.judge[1]).read_text("utf-8").splitlines()]
        good = [q for q in lines if q["kind"] == "reworded"]
        shown = [(numbers(p.phrasings, True), [], *numbers([p.answer], True)) for p in pairs]
        put = [(q, at[x["answer"]]) for x in good for q in numbers([x["question"]], True)]
        exams["shop"] = (shown, put)
    said.seed, said.rank, said.dropout, said.layers, said.targets = 1, 16, 0.0, 0, None
    said.base = warm.BASE
    reader = cross_encoder.Reader(said)
    shipped.start(reader.model, warm.BASE)
    near = cross_encoder.neighbours(reader, every)
    kept = Kept()
    ids = [kept(reader.prompt.ids(t)) for t in texts]
    model = load(warm.BASE, precision="bf16", device="cpu").model
    shorten(model, list(kept.numbers), said.folder / OWN)
    begin = {**shipped.tensors(warm.BASE), DIRECTION: torch.zeros(model.config.hidden_size)}
    own = {"openings": ids, "closings": [], DIRECTION: begin[DIRECTION]}
    made = {OWN: own, "rows": rows, "near": near, "exams": exams, "begin": begin}
    torch.save(made, said.folder / "data.pt")
    print(len(rows), "rows", len(texts), "texts", len(kept.numbers), "tokens")


class Finder:
    """Reads texts as a bot reads questions."""

    def __init__(self, folder: Path, data: dict[str, Any], rank: int) -> None:
        self.reader = Reader(folder / OWN, data, rank, 0)
        self.ids: list[list[int]] = data[OWN]["openings"]

    def states(self, texts: Sequence[int]) -> torch.Tensor:
        """(n, d) in float32. Texts begin alike: short ones share a sequence, after that token."""
        order = sorted(range(len(texts)), key=lambda i: len(self.ids[texts[i]]))
        packs: list[list[int]] = [[]]
        long = 0
        for place in order:
            more = len(self.ids[texts[place]]) - 1
            if packs[-1] and long + more > PACKED:
                packs.append([])
                long = 0
            packs[-1].append(place)
            long += more
        asked = [
            (self.ids[texts[pack[0]]][:1], [self.ids[texts[i]][1:] for i in pack]) for pack in packs
        ]
        found = torch.cat(
            packing.states(self.reader.model.get_decoder(), asked, self.reader.device, normed=False)
        )
        back = torch.empty(len(texts), dtype=torch.long, device=found.device)
        back[torch.tensor(order, device=found.device)] = torch.arange(
            len(texts), device=found.device
        )
        return found[back]

    @torch.no_grad()
    def all_states(self, texts: Sequence[int], size: int = 2048) -> torch.Tensor:
        return torch.cat([self.states(texts[s : s + size]) for s in range(0, len(texts), size)])

    def likeness(
        self, rows: Sequence[tuple[list[int], int]], asked: torch.Tensor, states: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each question's state to each row (n, rows), by the nearest wording and by the
        answer, as bot/memory.py has them; `states` has the rows' wordings and then the answers."""
        owners = [n for n, (wordings, _) in enumerate(rows) for _ in wordings]
        words, answers = states[: len(owners)], states[len(owners) :]
        at = torch.tensor(owners, device=asked.device).expand(len(asked), -1)
        near = like(asked, words)
        best = torch.full((len(asked), len(rows)), -1.0, device=asked.device)
        return best.scatter_reduce(1, at, near, "amax"), like(asked, answers)

    @torch.no_grad()
    def judge(self, exam: tuple[list[Row], list[tuple[int, int]]]) -> dict[str, list[float]]:
        rows, asked = exam
        shown = [(words, answer) for words, _, answer in rows]
        known = [w for words, _ in shown for w in words] + [answer for _, answer in shown]
        by_words, by_answers = self.likeness(
            shown, self.all_states([q for q, _ in asked]), self.all_states(known)
        )
        truth = torch.tensor([n for _, n in asked], device=by_words.device).unsqueeze(1)
        both = weighed(by_words, by_answers)
        found = {}
        for name, score in (("words", by_words), ("answers", by_answers), ("both", both)):
            ranks = (score > score.gather(1, truth)).sum(1)
            found[name] = [round(100 * float((ranks < k).float().mean()), 1) for k in TOP]
        return found


def like(asked: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Cosines (n, m) of what states have beside their common part."""
    centre = known.mean(0, keepdim=True)
    return (
        functional.normalize(asked - centre, dim=-1)
        @ functional.normalize(known - centre, dim=-1).T
    )


def weighed(by_words: torch.Tensor, by_answers: torch.Tensor) -> torch.Tensor:
    """The logarithms of shares of both witnesses, as a bot adds them."""
    words = (by_words * SHARPNESS).log_softmax(1)
    return words + ANSWERS * (by_answers * SHARPNESS).log_softmax(1)


def steps(data: dict[str, Any], many: int, dice: random.Random) -> Iterator[list[int]]:
    """Endless steps of so many rows, groups that lie near each other; each row once as the first of
    its group before any is again."""
    near, bag = data["near"], list[int]()
    while True:
        some: dict[int, None] = {}
        while len(some) < many:
            bag = bag or dice.sample(range(len(near)), len(near))
            first = bag.pop()
            some |= dict.fromkeys([first, *dice.sample(near[first][:WITHIN], GROUP - 1)])
        yield list(some)


def drawn(of: Sequence[int], most: int, dice: random.Random) -> list[int]:
    return dice.sample(of, min(most, len(of)))


def learn(said: argparse.Namespace) -> None:
    data = torch.load(said.folder / "data.pt")
    torch.manual_seed(0)
    dice = random.Random(said.seed)
    finder = Finder(said.folder, data, said.rank)
    reader = finder.reader
    reader.put(data["begin"])
    if said.compile:
        reader.compile()
    optimizer = torch.optim.AdamW(reader.weights, lr=said.rate, weight_decay=0.0)
    feed = steps(data, said.rows, dice)
    mean, step, most = math.nan, 0, said.steps
    begun = time.monotonic()

    def tell() -> None:
        line: dict[str, Any] = {"name": str(said.out), "step": step, "loss": round(mean, 4)}
        line["seconds"] = round(time.monotonic() - begun, 1)
        line |= {name: finder.judge(exam) for name, exam in data["exams"].items()}
        print(json.dumps(line), flush=True)

    tell()
    while step < most:
        step += 1
        if math.isfinite(said.seconds) and step > 20 and step % 10 == 0:  # as far as time goes
            left = said.seconds - (begun - STARTED)
            most = max(step + 1, min(said.steps, int(left * step / (time.monotonic() - begun))))
        shown, asked, owners = [], list[int](), list[int]()
        for n in next(feed):
            wordings, covered, answer = data["rows"][n]
            few = dice.sample(wordings, min(dice.randint(1, SHOWN), len(wordings) - 1))
            others = [w for w in wordings if w not in few]
            mine = drawn(covered, ASKED - 1, dice) + drawn(others, 1, dice)
            owners += [len(shown)] * len(mine)
            asked += mine
            shown.append((few, answer))
        known = [w for words, _ in shown for w in words] + [answer for _, answer in shown]
        states = finder.states([*asked, *known])
        by_words, by_answers = finder.likeness(shown, states[: len(asked)], states[len(asked) :])
        truth = torch.tensor(owners, device=states.device)
        loss = sum(
            functional.cross_entropy(score, truth)
            for score in (
                weighed(by_words, by_answers),
                by_words * SHARPNESS,
                by_answers * SHARPNESS,
            )
        )
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        nn.utils.clip_grad_norm_(reader.weights, 1.0)
        share = 0.5 * (1 + math.cos(math.pi * step / (most + 1)))
        for group in optimizer.param_groups:
            group["lr"] = said.rate * min(1, step / 30) * share
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0 or step == 1:
            now = float(loss.detach())
            mean = now if mean != mean else 0.7 * mean + 0.3 * now
        if step % said.every == 0:
            save(reader, said.out)
            tell()
    save(reader, said.out)
    tell()


def save(reader: Reader, out: Path) -> None:
    from safetensors.torch import save_file

    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({n: p.detach().to(torch.bfloat16).cpu() for n, p in reader.named().items()}, out)


def judge(said: argparse.Namespace) -> None:
    from safetensors.torch import load_file

    data = torch.load(said.folder / "data.pt")
    finder = Finder(said.folder, data, said.rank)
    for path in said.adapters:
        finder.reader.put({**load_file(path), DIRECTION: data["begin"][DIRECTION]})
        line = {name: finder.judge(exam) for name, exam in data["exams"].items()}
        print(json.dumps({"name": str(path)} | line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    first, more, last = (verbs.add_parser(v) for v in ("prepare", "learn", "judge"))
    for one in (first, more, last):
        one.add_argument("folder", type=Path)
    first.add_argument("--judge", nargs=2, metavar=("FAQ", "EXAM"))
    more.add_argument("--out", type=Path, required=True)
    more.add_argument("--seconds", type=float, default=math.inf, help="loading too")
    more.add_argument("--steps", type=int, default=1000)
    more.add_argument("--rate", type=float, default=5e-4)
    more.add_argument("--rows", type=int, default=256, help="of a step")
    more.add_argument("--every", type=int, default=100)
    more.add_argument("--seed", type=int, default=1)
    more.add_argument("--compile", action="store_true", help="by torch, layer by layer")
    last.add_argument("adapters", type=Path, nargs="+")
    for one in (more, last):
        one.add_argument("--rank", type=int, default=16)
    said = parser.parse_args()
    {"prepare": prepare, "learn": learn, "judge": judge}[said.verb](said)


if __name__ == "__main__":
    main()
