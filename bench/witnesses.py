"""What each witness of the bot knows, and which weights serve them best.

    python bench/witnesses.py untrained FAQ.csv EXAM.jsonl
    python bench/witnesses.py weights RUN EXAM.jsonl [RUN EXAM.jsonl …]
    python bench/witnesses.py cross ADAPTER_FOLDER

`untrained`: the base with the adapter that kefu brings and nothing learned from the FAQ; a question
gets the answer of the nearest wording, of the nearest answer, or of both. `weights`: the raw
evidence of trained runs (bench/seeds.py leaves them in --work) on exams, and the share of reworded
questions that is right with each of 60 settings of the weights, the best first. Multi-turn
questions are left out. `cross`: four pseudo-FAQs of topics that a cross-encoder's adapter has not
learned (bench/cross_encoder.py without --all), nothing trained on them; the share of reworded
questions that is right by the weight of its number.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import packing
from kefu.bot import Bot
from kefu.bot.memory import SHARPNESS, Memory
from kefu.bot.weighing import Weigher
from kefu.faq import read
from kefu.records import Origin, Pair
from kefu.workspace import RunFolder

WITNESSES = Weigher.weights_with(finder=True, cross=False)
LEAST = -9.2
"""Logarithm of the smallest share that a witness gives, about."""
KINDS = ("reworded", "near-miss", "out-of-scope")


def asked(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [q for q in lines if q["kind"] in KINDS and not q.get("history")]


@dataclass(frozen=True)
class Untrained:
    """An exam as the adapter that kefu brings reads it, with nothing learned from the FAQ."""

    pairs: Sequence[Pair]
    answers: list[str]
    questions: list[dict[str, Any]]
    words: torch.Tensor
    """(questions, answers): likeness to the nearest wording of each answer."""
    told: torch.Tensor
    """(questions, answers): likeness to the answer itself."""


def warm_reader() -> Any:
    """The base with the adapter by which a bot compares questions."""
    import warm
    from kefu.weights.warm import finder, start

    said = argparse.Namespace(base=warm.BASE, seed=42, layers=0, targets=None, rank=16, dropout=0.0)
    reader = warm.Reader(said)
    start(reader.model, finder(said.base))
    return reader


def read_untrained(faq: Path, exam: Path) -> Untrained:
    reader = warm_reader()
    pairs, questions = read(faq).pairs, asked(exam)
    answers = list(dict.fromkeys(p.answer for p in pairs))
    texts = [(t, answers.index(p.answer)) for p in pairs for t in p.phrasings]
    states = reader.all_states([q["question"] for q in questions], 64)
    words = Memory(reader.all_states([t for t, _ in texts], 64), [owner for _, owner in texts])
    told = Memory(reader.all_states(answers, 32), range(len(answers)))
    return Untrained(pairs, answers, questions, words.likeness(states), told.likeness(states))


def untrained(faq: Path, exam: Path) -> None:
    read = read_untrained(faq, exam)
    answers, questions = read.answers, read.questions
    kinds = [q["kind"] for q in questions]
    truth = [answers.index(q["answer"]) if q["answer"] in answers else -1 for q in questions]
    for name, score in {
        "wordings": read.words,
        "answers": read.told,
        "wordings + 0.5 answers": read.words + 0.5 * read.told,
    }.items():
        top, best = score.max(1)
        hits = [float(s) for s, b, t in zip(top, best, truth, strict=True) if int(b) == t]
        line: dict[str, Any] = {"witness": name}
        line["right"] = round(100 * len(hits) / kinds.count("reworded"), 1)
        for kind in KINDS[1:]:
            others = [float(s) for s, k in zip(top, kinds, strict=True) if k == kind]
            line[f"auc {kind}"] = round(packing.auc(hits, others), 3)
        print(json.dumps(line))


def evidence(run: Path, exam: Path) -> list[tuple[int, torch.Tensor]]:
    """For each reworded question the right answer's number and what the witnesses say of each."""
    bot = Bot.open(RunFolder(run))
    questions = [q for q in asked(exam) if q["kind"] == "reworded"]
    texts = [q["question"] for q in questions]
    told = bot.witnesses(texts)
    found = [
        (bot.answers.index(q["answer"]), t.evidence[:4, :-1])
        for q, t in zip(questions, told, strict=True)
    ]
    if not found:
        raise SystemExit(f"{exam} asks nothing that is worded otherwise than in the FAQ.")
    return found


def weights(pairs: list[tuple[Path, Path]]) -> None:
    sets = [evidence(run, exam) for run, exam in pairs]
    tried = {(0.1, 1.0, 0.75, 12.0), WITNESSES}
    tried |= set(itertools.product((0.0, 0.1, 0.2), (1.0,), (0.5, 1.0, 2.0, 4.0), (0, 3, 6, 9, 12)))
    lines = []
    for setting in tried:
        right = [
            sum(int((torch.tensor(setting) @ seen).argmax()) == truth for truth, seen in questions)
            / len(questions)
            for questions in sets
        ]
        lines.append((round(100 * sum(right) / len(right), 1), setting, right))
    for mean, setting, right in sorted(lines, reverse=True):
        each = [round(100 * share, 1) for share in right]
        now = " (the bot's)" if setting == WITNESSES else ""
        print(f"{mean:5.1f}  trie, states, answers, letters {setting}{now}  {each}")


class Adapted:
    """A cross-encoder's adapter that is not the shipped one, as far as the bot asks a model."""

    def __init__(self, folder: Path) -> None:
        from kefu.bot.prefixes import Prefixes
        from kefu.weights import load

        loaded = load("gemma-3-270m", precision="fp32", device="cpu", adapter=folder)
        self.inner, self.prefixes = loaded.model.get_base_model(), Prefixes()

    def crossed(self, openings: Any, closings: Any) -> torch.Tensor:
        return self.prefixes.states(self.inner, openings, closings, "cpu")


def cross(folder: Path) -> None:
    import warm
    from intents import dealt, intents
    from kefu.bot.cross_encoder import READ, CrossEncoder
    from kefu.recall import Index

    reader, dice = warm_reader(), random.Random(3)
    engine: Any = Adapted(folder)
    faqs = warm.pseudo_faqs(dealt(intents(), warm.PARTS)[warm.ASIDE])
    found = []
    for faq in dice.sample(faqs, 4):
        rows, asked = [], []
        for number, intent in enumerate(faq):
            (first, *more), others = warm.indexed(intent)
            rows.append(Pair(first, intent.answer, Origin("made", number), tuple(more)))
            asked += [(q, number) for q in dice.sample(others, min(3, len(others)))]
        texts = [(text, n) for n, row in enumerate(rows) for text in row.phrasings]
        states = reader.all_states([q for q, _ in asked], 64).cpu()
        memory = Memory(reader.all_states([t for t, _ in texts], 64), [n for _, n in texts])
        answers = Memory(reader.all_states([r.answer for r in rows], 32), range(len(rows)))
        _, by_states, by_answers, by_letters = WITNESSES
        shares = torch.log_softmax(memory.likeness(states) * SHARPNESS, 1)
        told = torch.log_softmax(answers.likeness(states) * SHARPNESS, 1)
        evidence = by_states * shares.clamp_min(LEAST) + by_answers * told.clamp_min(LEAST)
        for row, hits in zip(
            evidence, Index(rows).search_all([q for q, _ in asked], 10), strict=True
        ):
            for hit in hits:
                row[hit.pair] += by_letters * hit.score
        likely = evidence.topk(READ, 1)
        read = CrossEncoder(reader.prompt.tokenizer, warm.BASE, rows, engine).read(
            [(q, (), few.tolist()) for (q, _), few in zip(asked, likely.indices, strict=True)],
        )
        found += [
            (few == truth, so_far, logits)
            for (_, truth), few, so_far, logits in zip(asked, *reversed(likely), read, strict=True)
        ]
    for weight in (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0):
        right = sum(bool(good[(so_far + weight * z).argmax()]) for good, so_far, z in found)
        line = {"weight": weight, "asked": len(found), "right": round(100 * right / len(found), 1)}
        print(json.dumps(line), flush=True)


def main() -> None:
    what, *paths = sys.argv[1:] or [""]
    if what == "untrained" and len(paths) == 2:
        untrained(Path(paths[0]), Path(paths[1]))
    elif what == "cross" and len(paths) == 1:
        cross(Path(paths[0]))
    elif what == "weights" and paths and len(paths) % 2 == 0:
        weights([(Path(a), Path(b)) for a, b in zip(paths[::2], paths[1::2], strict=True)])
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
