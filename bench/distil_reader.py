"""A base with a LoRA that reads rows of an FAQ and questions after them, by torch alone.

bench/distil.py trains it. Its base is a folder that bench/distil_prepare.py has written, so that
neither kefu nor a tokenizer is needed where it is trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import packing

OWN = "embedded"
"""The name of the embedded base in a prepared folder."""
FORMS = 4
"""Each row is shown with so many choices of its wordings; the last in longer text."""
DIRECTION = "direction"
"""Of an adapter's file, the vector that states are multiplied by."""


class Lora(nn.Module):
    """A frozen layer and beside it two small matrices in float32, as PEFT computes them."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer
        self.lora_A = nn.Linear(layer.in_features, rank, bias=False, device=layer.weight.device)
        self.lora_B = nn.Linear(rank, layer.out_features, bias=False, device=layer.weight.device)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        more: torch.Tensor = self.lora_B(self.lora_A(x))
        out: torch.Tensor = self.layer(x)
        return out + 2 * more


Row = tuple[int, list[int], list[float]]
"""Number of an opening, its questions, and what the corpus says of them."""
Cluster = tuple[list[Row], list[list[tuple[int, int]]]]
"""Rows, and lists of (row, place) that ask one question: the first row answers it."""


class Reader:
    """Reads (opening, questions) and gives one number a question, in float32."""

    def __init__(self, folder: Path, data: dict[str, Any], rank: int, limit: int) -> None:
        from transformers import AttentionInterface, AutoModelForCausalLM

        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        name = folder.resolve().name
        ids = data[name]
        self.openings, self.closings = ids["openings"], ids["closings"]
        self.direction = ids[DIRECTION].to(self.device)
        self.bias = torch.zeros((), device=self.device, requires_grad=True)
        self.limit = limit
        AttentionInterface.register("plain", packing.plain)
        # Measured with the embedded base only; a larger one's scores take memory that it needs.
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.bfloat16,
            attn_implementation="plain" if name == OWN else "sdpa",
        )
        self.model = model.to(self.device).requires_grad_(False)
        for name, layer in list(self.model.get_decoder().named_modules()):
            if isinstance(layer, nn.Linear):
                parent, _, last = name.rpartition(".")
                owner = self.model.get_decoder().get_submodule(parent)
                setattr(owner, last, Lora(layer, rank))
        self.weights = [p for p in self.model.parameters() if p.requires_grad]

    def named(self) -> dict[str, torch.Tensor]:
        """The small matrices, by their names in an adapter's file."""
        return {
            f"base_model.model.{n}": p for n, p in self.model.named_parameters() if ".lora_" in n
        }

    def put(self, tensors: dict[str, torch.Tensor]) -> None:
        mine = self.named()
        assert mine.keys() == tensors.keys() - {DIRECTION, "bias"}, "another base's adapter"
        with torch.no_grad():
            for name, values in mine.items():
                values.copy_(tensors[name])
            self.bias.fill_(float(tensors.get("bias", torch.zeros(()))))
        self.direction = tensors[DIRECTION].float().to(self.device)

    @torch.no_grad()
    def merge(self) -> None:
        """Puts the small matrices' product into the base's weights: it reads faster so, and is not
        to be trained any more."""
        decoder = self.model.get_decoder()
        for name, module in list(decoder.named_modules()):
            if isinstance(module, Lora):
                more = 2 * module.lora_B.weight @ module.lora_A.weight
                module.layer.weight += more.to(module.layer.weight.dtype)
                parent, _, last = name.rpartition(".")
                setattr(decoder.get_submodule(parent), last, module.layer)

    def save(self, path: Path) -> None:
        from safetensors.torch import save_file

        path.parent.mkdir(parents=True, exist_ok=True)
        made = {n: p.detach().to(torch.bfloat16).cpu() for n, p in self.named().items()}
        own = {DIRECTION: self.direction.cpu(), "bias": self.bias.detach().cpu()}
        save_file(made | own, path)

    def compile(self) -> None:
        """Makes what lies between matrix products one kernel each, a layer's worth at once."""
        for layer in self.model.get_decoder().layers:
            layer.compile(dynamic=True)

    def read(self, asked: Sequence[tuple[int, Sequence[int]]]) -> torch.Tensor:
        """Numbers of all questions, one after another."""
        ids = [(self.openings[row], [self.closings[q] for q in qs]) for row, qs in asked]
        found = packing.states(self.model.get_decoder(), ids, self.device)
        return torch.cat(found) @ self.direction + self.bias

    def long(self, row: tuple[int, Sequence[int], Any]) -> int:
        return len(self.openings[row[0]]) + sum(len(self.closings[q]) for q in row[1])

    def portions(self, clusters: Sequence[Cluster]) -> Iterator[list[int]]:
        """Places of clusters of like length, so many that they take `limit` tokens with their
        padding."""
        widths = [max(map(self.long, c[0])) for c in clusters]
        some: list[int] = []
        rows = 0
        for n in sorted(range(len(clusters)), key=widths.__getitem__):
            if some and (rows + len(clusters[n][0])) * widths[n] > self.limit:
                yield some
                some, rows = [], 0
            some.append(n)
            rows += len(clusters[n][0])
        if some:
            yield some

    @torch.no_grad()
    def judge(self, exam: dict[str, Any]) -> dict[str, float]:
        """As `judge_exam` of bench/cross_encoder.py, and the share of reworded questions whose row
        is read best and above all but one in twenty of what no row answers."""
        pairs = [(exam["at"] + row, [q]) for q, _, _, rows in exam["questions"] for row in rows]
        order = sorted(range(len(pairs)), key=lambda i: self.long((*pairs[i], None)))
        told = torch.zeros(len(pairs))
        for s in range(0, len(order), 64):
            told[order[s : s + 64]] = self.read([pairs[i] for i in order[s : s + 64]]).cpu()
        lists = told.split([len(q[3]) for q in exam["questions"]])
        first: dict[str, list[float]] = {}
        best, none = [], []
        found = [0, 0]
        for (_, kind, truth, rows), numbers in zip(exam["questions"], lists, strict=True):
            top = int(numbers.argmax())
            if kind == "reworded":
                found[0] += rows[0] == truth
                found[1] += rows[top] == truth
                best += [float(numbers[top])] if rows[top] == truth else []
                kind = "right" if rows[0] == truth else "wrong"
            else:
                none.append(float(numbers[top]))
            first.setdefault(kind, []).append(float(numbers[0]))
        asked = len(first["right"]) + len(first.get("wrong", []))
        line = {"first": 100 * found[0] / asked, "reader": 100 * found[1] / asked}
        for kind, numbers in first.items():
            if kind != "right":
                line[f"auc {kind}"] = packing.auc(first["right"], numbers)
        line["right at 5"] = 100 * packing.kept(best, none, 0.05) * len(best) / asked
        return {name: round(value, 3) for name, value in line.items()}
