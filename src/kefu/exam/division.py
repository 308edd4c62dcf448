"""Divides an FAQ into training wordings, held-out wordings and an exam.

Decides by letters and by the seed; never asks a model. What it cannot see: two wordings
that mean the same in quite different words may lie on two sides, which is what an exam is
for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from ..recall import Index
from ..records import Example, ExamQuestion, Faq, Pair, Split
from .hand_overs import as_example, material_for
from .likeness import families, fraction, highest, key, shuffled


@dataclass(frozen=True, slots=True)
class _Sides:
    train: list[tuple[Pair, str]]
    held_out: list[tuple[Pair, str]]
    exam: list[tuple[Pair, str]]


def split(
    faq: Faq,
    *,
    seed: int,
    exam_share: float = 0.25,
    held_out_share: float = 0.1,
    hold_out: bool = True,
) -> Split:
    """Trained wordings, held-out wordings and the exam, with the leak score.

    Every pair's own question is trained (and asked as `known`). Of its other wordings about
    `exam_share` are asked as `reworded` and `held_out_share` set the threshold; near-identical
    wordings (likeness at least 0.8) go together, with the question when they resemble it. At
    least one of two or more wordings is trained. `hold_out=False` trains on every wording, for
    owners who have an exam of their own: then nothing is asked as `reworded`, and only
    hand-over questions are held out.

    The exam asks known and reworded questions, near-misses, out-of-scope and hostile ones, and
    follow-ups after a change of topic. The same FAQ and seed give the same exam, byte for byte.
    """
    if not hold_out:
        exam_share = held_out_share = 0.0
    sides = _divide(faq, seed, exam_share, held_out_share)
    index = Index(faq)
    aside = material_for(faq, "held-out", seed, index)
    size = len(faq.pairs)
    negatives = (
        *aside.near[: max(20, size // 4)],
        *aside.out_of_scope[: max(20, size // 8)],
        *aside.hostile[: max(5, size // 20)],
    )
    held_out = (
        *(Example(text, p.answer, p.question, kind="reworded") for p, text in sides.held_out),
        *(as_example(question) for question in negatives),
    )
    train = tuple(
        Example(text, p.answer, p.question, kind="known" if text == p.question else "reworded")
        for p, text in sides.train
    )
    reworded = [text for _, text in sides.exam]
    leak = max(highest(reworded, [e.question for e in train]), default=0.0)
    exam = _exam(faq, seed, sides, index)
    return Split(train, held_out, exam, round(leak, 4), tuple(_notes(faq, hold_out, sides)))


def _notes(faq: Faq, hold_out: bool, sides: _Sides) -> Iterator[str]:
    if not any(pair.wordings for pair in faq.pairs):
        yield "No row has a second wording, so the exam asks nothing in words that are not trained."
    elif not hold_out:
        yield "Every wording is trained, so the exam asks nothing in words that are not trained."
    elif not sides.exam:
        yield "The wordings are too few or too much alike to hold any out of training."
    asked: dict[str, set[str]] = defaultdict(set)
    for pair in faq.pairs:
        asked[key(pair.question)].add(pair.answer)
    double = sum(len(answers) > 1 for answers in asked.values())
    if double:
        yield f"Questions that stand in the FAQ with different answers are not asked: {double}."


def _divide(faq: Faq, seed: int, exam_share: float, held_out_share: float) -> _Sides:
    """Each phrasing of each pair to one side; phrasings that say the same letters only once."""
    items: list[tuple[Pair, str, bool]] = []
    for pair in faq.pairs:
        seen: set[str] = set()
        for text in pair.phrasings:
            if text.strip() and (text == pair.question or key(text) not in seen):
                items.append((pair, text, text == pair.question))
                seen.add(key(text))
    family = families([text for _, text, _ in items])
    trained = {f for f, (_, _, own) in zip(family, items, strict=True) if own}
    owners: dict[int, set[int]] = defaultdict(set)
    for f, (pair, _, _) in zip(family, items, strict=True):
        owners[f].add(id(pair))
    # A family that spans pairs is trained too: asked, it would have two right answers.
    trained |= {f for f, pairs in owners.items() if len(pairs) > 1}
    chosen: dict[int, str] = {}
    wordings: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for f, (pair, text, own) in zip(family, items, strict=True):
        if not own:
            wordings[id(pair)].append((text, f))
    for pair in faq.pairs:
        mine = wordings[id(pair)]
        free = [f for _, f in shuffled(mine, lambda w: w[0], seed) if f not in trained]
        free = list(dict.fromkeys(free))
        exam = _count(len(mine) * exam_share, seed, pair.question, "exam")
        aside = _count(len(mine) * held_out_share, seed, pair.question, "held-out")
        spare = len(free) - (1 if len(mine) > 1 and len(free) == len(mine) else 0)
        for f in free[: max(0, spare)]:
            if exam > 0:
                chosen[f], exam = "exam", exam - 1
            elif aside > 0:
                chosen[f], aside = "held-out", aside - 1
    sides = _Sides([], [], [])
    for f, (pair, text, _) in zip(family, items, strict=True):
        side = chosen.get(f)
        to = sides.exam if side == "exam" else sides.held_out if side else sides.train
        to.append((pair, text))
    return sides


def _count(wanted: float, *salt: object) -> int:
    """`wanted` as a whole number that is right on the average: 1.3 is 2 three times in ten."""
    return int(wanted) + (fraction(*salt) < wanted % 1)


def _exam(faq: Faq, seed: int, sides: _Sides, index: Index) -> tuple[ExamQuestion, ...]:
    size = len(faq.pairs)
    answers: dict[str, set[str]] = defaultdict(set)
    for pair in faq.pairs:
        answers[key(pair.question)].add(pair.answer)
    known: dict[str, ExamQuestion] = {}
    for p in faq.pairs:
        if len(answers[key(p.question)]) == 1:  # one question with two answers has no right one
            known.setdefault(
                p.question,
                ExamQuestion(p.question, "known", p.answer, p.question, must_pass=p.must_pass),
            )
    reworded = [
        ExamQuestion(text, "reworded", p.answer, p.question, must_pass=p.must_pass)
        for p, text in sides.exam
    ]
    material = material_for(faq, "exam", seed, index)
    return (
        *known.values(),
        *reworded,
        *material.near[: max(40, min(size, 400))],
        *material.out_of_scope[: max(40, min(size // 2, 150))],
        *material.hostile[:40],
        *_follow_ups([*known.values()], reworded, seed),
    )


def _follow_ups(
    known: list[ExamQuestion], reworded: list[ExamQuestion], seed: int
) -> list[ExamQuestion]:
    """Complete questions asked after another topic: the past must not colour the answer."""
    past = shuffled(known, lambda q: q.question, seed, "past")
    asked = shuffled(reworded or known, lambda q: q.question, seed, "follow-up")
    made = []
    for i, question in enumerate(asked[: min(40, max(5, len(known) // 4))]):
        before = past[i % len(past)]
        if before.answer is not None and before.source != question.source:
            made.append(
                ExamQuestion(
                    question.question,
                    "multi-turn",
                    question.answer,
                    question.source,
                    ((before.question, before.answer),),
                    note="after another topic",
                )
            )
    return made
