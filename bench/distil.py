"""A larger base learns to read answers, and teaches smaller ones (distillation).

    python bench/distil.py teach FOLDER/BASE --out ADAPTER [--seconds 500] [--begin ADAPTER]
    python bench/distil.py tell FOLDER/BASE ADAPTER … --out TOLD [--seconds 300] [--seed 1]
    python bench/distil.py learn FOLDER/BASE TOLD … --out ADAPTER [--seconds 800] [--rate 1e-3]
    python bench/distil.py pack ADAPTER BASE_FOLDER OUT

What `bench/cross_encoder.py` trains the embedded base for, by the same corpus. FOLDER is what
`bench/distil_prepare.py` has written. `teach` trains a LoRA on a base by the corpus's marks. `tell`
keeps what adapters of one base say together of a question (their logits' mean), and `learn` trains
another base by that, and by the corpus's marks with the weight --marks. Both go on from the adapter
--begin; the embedded base learns from kefu's own cross-encoder on where none is named. A step reads
clusters of four rows that lie near each other: a question that one of them answers is asked of all
four, too. One JSON line a judgement. `teach`, `tell` and `learn` need torch, transformers and
safetensors only, and a GPU. `pack` makes of an adapter what kefu ships.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from distil_reader import DIRECTION, FORMS, OWN, Cluster, Reader, Row

CLUSTER, WITHIN = 4, 20
"""Rows read beside each other, and from how many nearest the others are drawn."""
GOOD, BAD = 4, 4
"""Questions of a row that it covers and does not, half and three quarters of them worded freely."""
STARTED = time.monotonic()


# What a step reads.


def clusters(
    data: dict[str, Any], many: int, dice: random.Random, foreign: int = 0
) -> Iterator[list[Cluster]]:
    """Endless steps of so many clusters; each row once as their first before any is again. Each row
    is asked `foreign` questions of rows that do not lie near it, too."""
    rows, near = data["rows"], data["near"]
    bag: list[int] = []

    def drawn(of: Sequence[int], count: int) -> list[int]:
        return dice.sample(of, min(count, len(of)))

    while True:
        if len(bag) < many:
            bag = dice.sample(range(len(rows)), len(rows))
        some, bag = bag[:many], bag[many:]
        step = []
        for n in some:
            members: list[Row] = []
            for row in (n, *drawn(near[n][:WITHIN], CLUSTER - 1)):
                form = dice.randrange(FORMS)
                plain, covered, close, beside = rows[row][form]
                good = [*drawn(plain, GOOD // 2), *drawn(covered, GOOD // 2)]
                bad = [*drawn(close, BAD // 4), *drawn(beside, BAD - BAD // 4)]
                for other in drawn(range(len(rows)), foreign):
                    if other != row and other not in near[row][:WITHIN]:
                        bad += drawn(rows[other][0][0], 1)
                marks = [1.0] * len(good) + [0.0] * len(bad)
                members.append((row * FORMS + form, [*good, *bad], marks))
            lists = []
            own = [[q for q, m in zip(r[1], r[2], strict=True) if m] for r in members]
            for r, questions in enumerate(own):
                if not questions:
                    continue
                place = dice.randrange(len(questions))
                lists.append([(r, place)])
                for other, (_, asked, marks) in enumerate(members):
                    if other != r:
                        lists[-1].append((other, len(asked)))
                        asked.append(questions[place])
                        marks.append(0.0)
            step.append((members, lists))
        yield step


def fall(
    numbers: torch.Tensor, portion: Sequence[Cluster], told: torch.Tensor | None, marks_weigh: float
) -> torch.Tensor:
    """The loss of a portion, summed: each question's own, and each list's."""
    rows = [row for members, _ in portion for row in members]
    marks = torch.tensor([m for row in rows for m in row[2]], device=numbers.device)
    loss = functional.binary_cross_entropy_with_logits
    starts = [0, *accumulate(len(row[1]) for row in rows)]
    lists, row_at = [], 0
    for members, asked in portion:
        lists += [[starts[row_at + r] + k for r, k in one] for one in asked]
        row_at += len(members)
    if told is not None:
        soft = loss(numbers, told.sigmoid(), reduction="sum")
        marks_loss = loss(numbers, marks, reduction="sum")
        total = (1 - marks_weigh) * soft + marks_weigh * marks_loss
    else:  # some 4 of 11 are covered
        total = loss(numbers, marks, pos_weight=torch.tensor(1.75), reduction="sum")
    if not lists:
        return total
    places = torch.tensor([one + [-1] * (CLUSTER - len(one)) for one in lists])
    places = places.to(numbers.device)
    none = places < 0
    mine = numbers[places].masked_fill(none, -math.inf).log_softmax(1)
    if told is None:
        return total - mine[:, 0].sum()
    due = told[places].masked_fill(none, -math.inf).softmax(1)
    return total - (due * mine.masked_fill(none, 0.0)).sum()


Told = tuple[Cluster, torch.Tensor]
"""A cluster, and the teachers' numbers of its rows' questions, one after another."""


def replayed(told: Sequence[Told], many: int, dice: random.Random) -> Iterator[list[Told]]:
    """Endless steps of so many clusters; each once before any is again."""
    bag: list[int] = []
    while True:
        if len(bag) < many:
            bag = dice.sample(range(len(told)), len(told))
        some, bag = bag[:many], bag[many:]
        yield [told[n] for n in some]


def train(
    reader: Reader,
    exams: dict[str, Any],
    said: argparse.Namespace,
    feed: Iterator[list[tuple[Cluster, torch.Tensor | None]]],
) -> None:
    optimizer = torch.optim.AdamW(
        [{"params": reader.weights}, {"params": [reader.bias]}], lr=said.rate, weight_decay=0.0
    )
    mean, step, steps = math.nan, 0, said.steps
    begun = time.monotonic()

    def judge() -> None:
        line: dict[str, Any] = {"name": str(said.out), "step": step, "loss": round(mean, 4)}
        line["seconds"] = round(time.monotonic() - begun)
        line |= {name: reader.judge(exam) for name, exam in exams.items()}
        print(json.dumps(line), flush=True)

    judge()
    while step < steps:
        step += 1
        gone = time.monotonic() - begun
        if math.isfinite(said.seconds) and step > 20 and step % 10 == 0:  # as far as time goes
            left = said.seconds - (begun - STARTED)
            steps = max(step + 1, min(said.steps, int(left * step / gone)))
        rate = said.rate * min(1, step / 30) * 0.5 * (1 + math.cos(math.pi * step / (steps + 1)))
        batch = next(feed)
        count = sum(len(row[1]) for (members, _), _ in batch for row in members)
        whole = torch.zeros((), device=reader.device)
        for places in reader.portions([cluster for cluster, _ in batch]):
            portion = [batch[n][0] for n in places]
            said_so = [batch[n][1] for n in places]
            told = torch.cat(said_so).float().to(reader.device) if said_so[0] is not None else None
            numbers = reader.read([(row[0], row[1]) for members, _ in portion for row in members])
            loss = fall(numbers, portion, told, said.marks) / count
            loss.backward()
            whole += loss.detach()
        norm = nn.utils.clip_grad_norm_(reader.weights, 1.0)
        if not torch.isfinite(norm):
            print(json.dumps({"name": str(said.out), "step": step, "skipped": True}), flush=True)
            optimizer.zero_grad()
            continue
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0 or step == 1:
            mean = float(whole) if mean != mean else 0.7 * mean + 0.3 * float(whole)
        if step % said.every == 0:
            reader.save(said.out)  # whoever is cut off has this much
            judge()
    reader.save(said.out)
    judge()


@torch.no_grad()
def tell(said: argparse.Namespace) -> None:
    from safetensors.torch import load_file

    data = torch.load(said.base / ".." / "data.pt")
    teachers = []
    for path in said.adapters:
        tensors = load_file(path)
        rank = next(v.shape[0] for k, v in tensors.items() if ".lora_A." in k)
        teachers.append(Reader(said.base, data, rank, said.limit))
        teachers[-1].put(tensors)
        teachers[-1].merge()
        if said.compile:
            teachers[-1].compile()
    feed = clusters(data, said.clusters, random.Random(said.seed), said.foreign)
    told: list[Told] = []
    while len(told) < said.most and time.monotonic() - STARTED < said.seconds:
        batch = next(feed)
        for places in teachers[0].portions(batch):
            rows = [row for n in places for row in batch[n][0]]
            asked = [(row[0], row[1]) for row in rows]
            mean = torch.stack([t.read(asked) for t in teachers]).mean(0).half().cpu()
            long = [sum(len(row[1]) for row in batch[n][0]) for n in places]
            told += zip((batch[n] for n in places), mean.split(long), strict=True)
    torch.save(told, said.out)
    print(json.dumps({"told": len(told), "seconds": round(time.monotonic() - STARTED)}))


def pack(said: argparse.Namespace) -> None:
    """An adapter in 8 bits a value, as kefu ships it, with what tells its base from others."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    from kefu.weights.warm import BASE, SCALE

    made = {}
    for name, values in load_file(said.adapter).items():
        if ".lora_" in name:
            scale = values.float().abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
            made[name] = (values.float() / scale).round().to(torch.int8)
            made[name + SCALE] = scale
        elif name == DIRECTION:
            made[name] = values
    with safe_open(said.base / "model.safetensors", framework="pt") as file:
        made[BASE] = file.get_tensor("model.norm.weight")
    save_file(made, said.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    last = verbs.add_parser("pack")
    for name in ("adapter", "base", "out"):
        last.add_argument(name, type=Path)
    ways = {"teach": (2e-4, 16, 16_000), "tell": (0.0, 64, 40_000), "learn": (1e-3, 16, 40_000)}
    for verb, (rate, many, limit) in ways.items():
        more = verbs.add_parser(verb)
        more.add_argument("base", type=Path)
        if verb != "teach":
            more.add_argument("adapters" if verb == "tell" else "told", type=Path, nargs="+")
        more.add_argument("--out", type=Path, required=True)
        more.add_argument("--seconds", type=float, default=math.inf, help="loading too")
        more.add_argument("--clusters", type=int, default=many)
        more.add_argument("--limit", type=int, default=limit, help="tokens read at once")
        more.add_argument("--seed", type=int, default=1)
        more.add_argument("--compile", action="store_true", help="by torch, layer by layer")
        if verb == "tell":
            more.add_argument("--most", type=int, default=100_000, help="clusters")
            more.add_argument("--foreign", type=int, default=0, help="questions of far rows a row")
            continue
        more.add_argument("--steps", type=int, default=10_000 if verb == "learn" else 1000)
        more.add_argument("--rate", type=float, default=rate)
        more.add_argument("--rank", type=int, default=16)
        more.add_argument("--marks", type=float, default=0.0)
        more.add_argument("--every", type=int, default=150)
        more.add_argument("--begin", type=Path, help="an adapter of this base to go on from")
    said = parser.parse_args()
    if said.verb == "pack":
        pack(said)
        return
    torch.manual_seed(0)
    # With these masks cuDNN's attention gave gradients that are no numbers after some steps.
    torch.backends.cuda.enable_cudnn_sdp(False)
    if said.verb == "tell":
        tell(said)
        return
    data = torch.load(said.base / ".." / "data.pt")
    dice = random.Random(said.seed)
    reader = Reader(said.base, data, said.rank, said.limit)
    if said.compile:
        reader.compile()
    if said.begin:
        from safetensors.torch import load_file

        reader.put(load_file(said.begin))
    elif said.verb == "learn" and said.base.name == OWN:
        reader.put(data["begin"])
    if said.verb == "teach":
        feed = ([(c, None) for c in step] for step in clusters(data, said.clusters, dice))
        train(reader, data["exams"], said, feed)
    else:
        told = [one for path in said.told for one in torch.load(path)]
        train(reader, data["exams"], said, replayed(told, said.clusters, dice))


if __name__ == "__main__":
    main()
