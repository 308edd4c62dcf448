"""A larger base learns to read answers, and teaches the embedded one (distillation).

    python bench/distil.py prepare FOLDER TEACHER_BASE [--judge EXAM.json …]
    python bench/distil.py teach FOLDER --out ADAPTER [--seconds 500] [--rate 2e-4]
    python bench/distil.py learn FOLDER TEACHER_ADAPTER … --out ADAPTER [--seconds 500]
    python bench/distil.py pack ADAPTER BASE_FOLDER OUT

What `bench/cross_encoder.py` trains the embedded base for, by the same corpus. `prepare` (on a
processor) writes everything that the other two need: ids of rows and questions for both bases, and
both bases with no other tokens than those. `teach` trains a LoRA on the larger base by the corpus's
marks; `learn` trains kefu's own cross-encoder on, by what the teachers say of a question (their
logits' mean), and by the corpus's marks with the weight --marks. A step reads clusters of four rows
that lie near each other: a question that one of them answers is asked of all four, too. An exam to
judge by is a file of `bench/cross_encoder.py candidates`. One JSON line a judgement. `teach` and
`learn` need torch, transformers and safetensors only, and a GPU.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from distil_reader import DIRECTION, Cluster, Reader, Row
from packing import SCALE

FORMS = 4
"""Each row is shown with so many choices of its wordings; the last in longer text."""
CLUSTER, WITHIN = 4, 20
"""Rows read beside each other, and from how many nearest the others are drawn."""
GOOD, BAD = 4, 4
"""Questions of a row that it covers and does not, half and three quarters of them worded freely."""
STARTED = time.monotonic()


# Before: ids for both bases, in a vocabulary of what occurs.


class Kept:
    """Token ids counted anew, in the order in which they come."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}

    def __call__(self, ids: Sequence[int]) -> list[int]:
        return [self.numbers.setdefault(i, len(self.numbers)) for i in ids]


def prepare(said: argparse.Namespace) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import cross_encoder
    import warm
    from intents import intents
    from kefu.weights import load
    from kefu.weights import warm as shipped

    every = [i for i in intents() if i.answer]
    dice = random.Random(0)
    questions: dict[str, int] = {}

    def asked(texts: Sequence[str]) -> list[int]:
        return [questions.setdefault(t, len(questions)) for t in texts]

    rows, shown = [], []
    for row in every:
        forms = []
        for form in range(FORMS):
            first, *more = row.wordings
            known = [first, *dice.sample(more, min(len(more), dice.randint(0, 3)))]
            plain = [w for w in row.wordings if w not in known]
            covered, beside, answers = list(row.covered), list(row.beside), [row.answer]
            if form == FORMS - 1:  # longer text to find something in
                for other in dice.sample(every, dice.randint(1, 2)):
                    if other.topic != row.topic:
                        answers.append(other.answer)
                        covered += other.covered[:1]
                        beside += other.beside[:1]
                dice.shuffle(answers)
            shown.append((known, "".join(answers)))
            forms.append([asked(s) for s in (plain, covered, row.near, beside)])
        rows.append(forms)
    exams = {}
    for path in said.judge:
        exam = json.loads(path.read_text("utf-8"))
        at = len(shown)
        shown += [(r["wordings"][:2], r["answer"]) for r in exam["rows"]]
        found = [
            (asked([q["question"]])[0], q["kind"], q["truth"], q["rows"]) for q in exam["questions"]
        ]
        exams[path.stem] = {"at": at, "questions": found}
    said.seed, said.rank, said.dropout, said.layers, said.targets = 1, 16, 0.0, 0, None
    said.base = warm.BASE
    reader = cross_encoder.Reader(said)
    shipped.start(reader.model, warm.BASE)
    data = {"rows": rows, "near": cross_encoder.neighbours(reader, every), "exams": exams}
    bases = {
        "student": (load(warm.BASE, precision="bf16", device="cpu").model, reader.tokenizer),
        "teacher": (
            AutoModelForCausalLM.from_pretrained(said.teacher, dtype=torch.bfloat16),
            AutoTokenizer.from_pretrained(said.teacher),
        ),
    }
    for name, (model, tokenizer) in bases.items():
        kept = Kept()
        data[name] = {
            "openings": [kept(cross_encoder.opening(tokenizer, *s)) for s in shown],
            "closings": [kept(cross_encoder.closing(tokenizer, q)) for q in questions],
        }
        head = model.get_output_embeddings().weight.float()
        yes, no = (tokenizer.encode(w, add_special_tokens=False)[-1] for w in ("是", "否"))
        data[name][DIRECTION] = functional.normalize(head[yes] - head[no], dim=0) * SCALE
        order = list(kept.numbers)
        (said.folder / name).mkdir(parents=True, exist_ok=True)
        torch.save(torch.tensor(order), said.folder / name / "tokens.pt")
        short = nn.Embedding.from_pretrained(model.get_input_embeddings().weight[order].clone())
        model.resize_token_embeddings(len(order))
        model.get_input_embeddings().weight.data.copy_(short.weight)
        model.config.pad_token_id = model.config.bos_token_id = model.config.eos_token_id = 0
        model.save_pretrained(said.folder / name)
        print(name, len(order), "tokens")
    begin = shipped.tensors(shipped.cross(warm.BASE))
    data["begin"] = {**begin, DIRECTION: shipped.direction(warm.BASE)}
    torch.save(data, said.folder / "data.pt")


# What a step reads.


def clusters(data: dict[str, Any], many: int, dice: random.Random) -> Iterator[list[Cluster]]:
    """Endless steps of so many clusters; each row once as their first before any is again."""
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
    starts, at, row_at = [], 0, 0
    places: list[list[int]] = []
    for row in rows:
        starts.append(at)
        at += len(row[1])
    for members, lists in portion:
        places += [[starts[row_at + r] + k for r, k in one] for one in lists]
        row_at += len(members)
    if told is not None:
        soft = loss(numbers, told.sigmoid(), reduction="sum")
        marks_loss = loss(numbers, marks, reduction="sum")
        total = (1 - marks_weigh) * soft + marks_weigh * marks_loss
    else:  # some 4 of 11 are covered
        total = loss(numbers, marks, pos_weight=torch.tensor(1.75), reduction="sum")
    for one in places:
        mine = numbers[one].log_softmax(0)
        total = total - ((told[one].softmax(0) * mine).sum() if told is not None else mine[0])
    return total


def train(
    reader: Reader,
    data: dict[str, Any],
    said: argparse.Namespace,
    teach: Callable[[Sequence[tuple[int, Sequence[int]]]], torch.Tensor] | None,
) -> None:
    optimizer = torch.optim.AdamW(
        [{"params": reader.weights}, {"params": [reader.bias]}], lr=said.rate, weight_decay=0.0
    )
    feed = clusters(data, said.clusters, random.Random(said.seed))
    mean, step, steps = math.nan, 0, said.steps
    begun = time.monotonic()

    def tell() -> None:
        line: dict[str, Any] = {"name": str(said.out), "step": step, "loss": round(mean, 4)}
        line["seconds"] = round(time.monotonic() - begun)
        line |= {name: reader.judge(exam) for name, exam in data["exams"].items()}
        print(json.dumps(line), flush=True)

    tell()
    while step < steps:
        step += 1
        gone = time.monotonic() - begun
        if said.seconds and step > 20 and step % 10 == 0:  # as many steps as there is time for
            left = said.seconds - (begun - STARTED)
            steps = max(step + 1, min(said.steps, int(left * step / gone)))
        rate = said.rate * min(1, step / 30) * 0.5 * (1 + math.cos(math.pi * step / (steps + 1)))
        batch = next(feed)
        count = sum(len(row[1]) for members, _ in batch for row in members)
        whole = torch.zeros((), device=reader.device)
        for portion in reader.portions(batch):
            asked = [(row[0], row[1]) for members, _ in portion for row in members]
            told = teach(asked) if teach else None
            loss = fall(reader.read(asked), portion, told, said.marks) / count
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
            tell()
    reader.save(said.out)
    tell()


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
    first = verbs.add_parser("prepare")
    first.add_argument("folder", type=Path)
    first.add_argument("teacher", type=Path)
    first.add_argument("--judge", type=Path, nargs="*", default=[])
    last = verbs.add_parser("pack")
    for name in ("adapter", "base", "out"):
        last.add_argument(name, type=Path)
    for verb, rate in (("teach", 2e-4), ("learn", 3e-4)):
        more = verbs.add_parser(verb)
        more.add_argument("folder", type=Path)
        if verb == "learn":
            more.add_argument("teachers", type=Path, nargs="+")
        more.add_argument("--out", type=Path, required=True)
        more.add_argument("--seconds", type=float, default=0.0, help="loading too")
        more.add_argument("--steps", type=int, default=1000)
        more.add_argument("--clusters", type=int, default=16)
        more.add_argument("--rate", type=float, default=rate)
        more.add_argument("--rank", type=int, default=16)
        more.add_argument("--marks", type=float, default=0.0)
        more.add_argument("--limit", type=int, default=16_000, help="tokens read at once")
        more.add_argument("--every", type=int, default=150)
        more.add_argument("--seed", type=int, default=1)
    said = parser.parse_args()
    if said.verb in ("prepare", "pack"):
        (prepare if said.verb == "prepare" else pack)(said)
        return
    torch.manual_seed(0)
    # With these masks cuDNN's attention gave gradients that are no numbers after some steps.
    torch.backends.cuda.enable_cudnn_sdp(False)
    data = torch.load(said.folder / "data.pt")
    if said.verb == "teach":
        train(Reader(said.folder / "teacher", data, said.rank, said.limit), data, said, None)
        return
    from safetensors.torch import load_file

    found = [load_file(path) for path in said.teachers]
    rank = next(v.shape[0] for k, v in found[0].items() if ".lora_A." in k)
    teacher = Reader(said.folder / "teacher", data, rank, said.limit)

    @torch.no_grad()
    def teach(asked: Sequence[tuple[int, Sequence[int]]]) -> torch.Tensor:
        every = []
        for tensors in found:
            if len(found) > 1 or not every:
                teacher.put(tensors)
            every.append(teacher.read(asked))
        return torch.stack(every).mean(0)

    student = Reader(said.folder / "student", data, 16, said.limit)
    student.put(data["begin"])
    train(student, data, said, teach)


if __name__ == "__main__":
    main()
