"""What bench/distil.py reads where it trains: ids of rows and questions, and bases to match.

    python bench/distil_prepare.py FOLDER BASE_FOLDER … [--judge EXAM.json …]

Writes for the embedded base and those of BASE_FOLDER … the ids of the corpus's rows and questions,
and each base with no other tokens than those, as FOLDER/embedded and FOLDER/NAME; so neither kefu
nor a tokenizer is needed where there is a GPU. Some questions are written as another would type
them. An exam to judge by is a file of `bench/cross_encoder.py candidates` or of bench/aside.py.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

import cross_encoder
import warm
from distil_reader import DIRECTION, FORMS, OWN
from intents import intents
from kefu.records import Faq, Origin, Pair
from kefu.reword import reword
from kefu.weights import load
from kefu.weights import warm as shipped
from packing import SCALE

DRESSED = 0.2
"""The share of questions that are given to the rules; of some they make nothing."""
MANNERS = ("register", "word", "mixing", "opening", "closing", "particle", "typing", "script")
"""Families of rules: the others say less or more than was asked, or change marks that no reader
is shown."""


class Kept:
    """Token ids counted anew, in the order in which they come."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}

    def __call__(self, ids: Sequence[int]) -> list[int]:
        return [self.numbers.setdefault(i, len(self.numbers)) for i in ids]


def shorten(model: Any, order: Sequence[int], folder: Path) -> None:
    """Writes the base with no tokens but these, in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(torch.tensor(order), folder / "tokens.pt")
    short = nn.Embedding.from_pretrained(model.get_input_embeddings().weight[order].clone())
    model.resize_token_embeddings(len(order))
    model.get_input_embeddings().weight.data.copy_(short.weight)
    model.config.pad_token_id = model.config.bos_token_id = model.config.eos_token_id = 0
    model.save_pretrained(folder)


def dressed(text: str, dice: random.Random) -> str:
    """The question, now and then as another would type it: with a greeting, thanks, a particle, a
    slip of the keyboard, a word of the other register, in Simplified characters. By those rules of
    `kefu reword` that leave what is asked as it is."""
    if dice.random() >= DRESSED:
        return text
    alone = Faq((Pair(text, "", Origin("corpus", 1)),), ())
    made = reword(alone, per_pair=1, seed=dice.getrandbits(32), families=MANNERS)
    return made[0].wording if made else text


def prepare(said: argparse.Namespace) -> None:
    every = [i for i in intents() if i.answer]
    dice = random.Random(0)
    questions: dict[str, int] = {}

    def asked(texts: Sequence[str]) -> list[int]:
        return [questions.setdefault(t, len(questions)) for t in texts]

    def typed(texts: Sequence[str]) -> list[int]:
        return asked([dressed(t, dice) for t in texts])

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
            forms.append([typed(s) for s in (plain, covered, row.near, beside)])
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

    def bases() -> Iterator[tuple[str, Any, Any]]:
        yield OWN, load(warm.BASE, precision="bf16", device="cpu").model, reader.tokenizer
        for base in said.bases:
            model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
            yield base.name, model, AutoTokenizer.from_pretrained(base)

    for name, model, tokenizer in bases():
        kept = Kept()
        data[name] = {
            "openings": [kept(cross_encoder.opening(tokenizer, *s)) for s in shown],
            "closings": [kept(cross_encoder.closing(tokenizer, q)) for q in questions],
        }
        head = model.get_output_embeddings().weight.float()
        yes, no = (tokenizer.encode(w, add_special_tokens=False)[-1] for w in ("是", "否"))
        data[name][DIRECTION] = functional.normalize(head[yes] - head[no], dim=0) * SCALE
        shorten(model, list(kept.numbers), said.folder / name)
        print(name, len(kept.numbers), "tokens")
    begin = shipped.tensors(shipped.cross(warm.BASE))
    data["begin"] = {**begin, DIRECTION: shipped.direction(warm.BASE)}
    torch.save(data, said.folder / "data.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("bases", type=Path, nargs="+")
    parser.add_argument("--judge", type=Path, nargs="*", default=[])
    prepare(parser.parse_args())


if __name__ == "__main__":
    main()
