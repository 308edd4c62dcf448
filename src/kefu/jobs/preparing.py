"""From an FAQ file to everything that is decided before anything heavy is loaded. Torch-free, but
where what is prepared is to be trained at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Literal

from .. import exam as exams
from .. import plan as plans
from ..errors import BaseError, FaqError
from ..faq import check, read
from ..records import Example, ExamQuestion, Faq, Finding, Machine, Plan, Split, Times, trained_part
from ..reword import Rewording, endpoint, reword
from ..settings import FILE, Settings
from ..weights import counter_ahead, local_counter
from ..workspace import Workspace, cannot_write
from .open_rows import open_rows

TEMPLATES = ("kefu.toml", "faq.csv")
WORDINGS, ROWS = 12, 600
"""Wordings that a row is filled up to by rules at most, and rows that this may make in all."""
HELD_OUT_EACH, HELD_OUT = 4, 400
"""Held-out wordings made by rules: of a row at most, and in all."""
HISTORY_SHARE = 0.08
"""Of the training rows, how many are asked again after another topic."""


def init(folder: Path) -> tuple[Path, ...]:
    """Puts kefu.toml and a sample FAQ into `folder`; files that are there already stay."""
    made = []
    for name in TEMPLATES:
        path = folder / name
        if path.exists():
            continue
        text = files("kefu").joinpath(f"templates/{name}").read_bytes()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
        except OSError as error:
            raise cannot_write(path, error) from None
        made.append(path)
    return tuple(made)


def open_faq(
    workspace: Workspace, settings: Settings, path: str | None, **columns: str | None
) -> Faq:
    """The FAQ that was named, else the one of kefu.toml."""
    if path is None and not settings.faq:
        raise FaqError(
            "No FAQ was named.",
            f'Name one, or write `faq = "FILE"` into {FILE} (`kefu init` makes one).',
        )
    place = Path(path) if path is not None else workspace.root / settings.faq
    return read(place, **columns)


def check_faq(faq: Faq, settings: Settings) -> list[Finding]:
    """What is wrong with the FAQ, counted in the base's own tokens where its tokenizer is here."""
    name = settings.base if settings.base != "auto" else plans.catalogue()[0].name
    return list(check(faq, count_tokens=_counter(name)))


def stops(faq: Faq) -> list[Finding]:
    """What is wrong with the FAQ in such a way that it cannot be trained. Reads no tokenizer: a
    length stops nothing."""
    return [finding for finding in check(faq) if finding.level == "stop"]


def _counter(name: str, device: str = "") -> Callable[[str], int] | None:
    """The base's own; of one that is loaded onto `device` next, where one is named."""
    try:
        return counter_ahead(name, device) if device else local_counter(name)
    except BaseError:  # a base that is not here yet is no reason to refuse an FAQ
        return None


def proposals(faq: Faq, settings: Settings, each: int) -> tuple[Rewording, ...]:
    """Wordings for a person to read, so that each question has `each` of them: from the endpoint,
    where the settings name one, and by rules."""
    ask = None
    if settings.reword_endpoint:
        ask = endpoint(settings.reword_endpoint, settings.reword_model, "KEFU_API_KEY")
    return reword(faq, per_pair=each, seed=settings.seed, ask=ask)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is decided before anything heavy is loaded."""

    faq: Faq
    split: Split
    examples: tuple[Example, ...]
    """What is trained: wordings, hand-overs, and some of them after another topic."""
    plan: Plan


def prepare(
    faq: Faq,
    settings: Settings,
    machine: Machine,
    *,
    hold_out: bool = True,
    wordings: int | None = None,
    steps: int | None = None,
    times: Times = Times(),  # noqa: B008 (frozen)
    cards: int = 1,
    at_once: bool = False,
) -> Prepared:
    """Divides the FAQ, fills up wordings by rules to `wordings` each, and makes the plan.

    With `hold_out` a quarter of the wordings is kept for the exam; without it only a tenth, to
    set the threshold. `times` is what a sweep tries; what is held out and asked does not depend
    on it, nor on `wordings` or the base. `cards` GPUs train together.
    What is trained `at_once`, in this process, imports torch here, and its tokenizer is read once.
    """
    share = 0.25 if hold_out else 0.0
    split = exams.split(faq, seed=settings.seed, exam_share=share)
    rows = list(split.train)
    first = plans.make(
        settings, faq, machine, cards=cards
    )  # says which base, and what share to hand over
    if settings.recipe != "tutorial":
        split = replace(split, held_out=(*split.held_out, *_held_out(faq, split, settings.seed)))
        if wordings is None:
            wordings = wordings_for(len(faq.pairs))
        rows += _reworded(faq, split, wordings, settings.seed)
        rows += exams.training_hand_overs(
            faq, replace(split, train=tuple(rows)), first.hand_over_share.value, settings.seed
        )
        rows += _after_another_topic(rows, settings.seed)
        more = open_rows(faq, rows, first.shown.value, settings.seed)
        rows += [*_answers(rows), *more]
    counter = _counter(first.base.value, machine.device if at_once else "")
    plan = plans.make(
        settings, faq, machine, train=rows, count_tokens=counter, times=times, cards=cards
    )
    return Prepared(faq, split, tuple(rows), with_steps(plan, steps) if steps else plan)


def wordings_for(pairs: int) -> int:
    """To how many wordings a question each row is filled up by rules: more where rows are few."""
    return max(0, min(WORDINGS, ROWS // max(1, pairs)))


def _held_out(faq: Faq, split: Split, seed: int) -> list[Example]:
    """Wordings by the rules that training never uses, to set the threshold: owners' own held-out
    wordings are few."""
    bare = replace(faq, pairs=tuple(replace(p, wordings=()) for p in faq.pairs))
    each = max(1, min(HELD_OUT_EACH, HELD_OUT // max(1, len(faq.pairs))))
    return _made(bare, each, seed, "exam", [*split.train, *split.held_out, *split.exam])


def _reworded(faq: Faq, split: Split, wordings: int, seed: int) -> list[Example]:
    """Wordings by rules from the trained ones, apart from all that is held out or asked."""
    made = _made(
        trained_part(faq, split.train), wordings, seed, "train", [*split.held_out, *split.exam]
    )
    return [replace(row, brief=True) for row in made]


def _made(
    faq: Faq,
    each: int,
    seed: int,
    generator: Literal["train", "exam"],
    apart_from: Sequence[Example | ExamQuestion],
) -> list[Example]:
    """Rows for wordings made by rules, none near-identical to a question of `apart_from` that
    has an answer."""
    answers = {p.question: p.answer for p in faq.pairs}
    made = reword(faq, per_pair=each, seed=seed, generator=generator)
    others = [e.question for e in apart_from if e.answer is not None and e.question not in answers]
    fresh = exams.apart([r.wording for r in made], others)
    return [
        Example(r.wording, answers[r.pair_question], r.pair_question, kind="reworded")
        for r in made
        if r.wording in fresh
    ]


def _answers(rows: Sequence[Example]) -> list[Example]:
    """Every answer as one more wording of what it answers: a question about a thing that only the
    answer names lies near it."""
    of = {row.answer: row.source for row in rows if row.answer is not None}
    return [Example(text, text, source, kind="answer", brief=True) for text, source in of.items()]


def with_steps(plan: Plan, steps: int, because: str = "You set this.") -> Plan:
    """The plan with so many optimizer steps: fewer for trying out, more for practice."""
    share = steps / plan.steps.value
    return replace(
        plan,
        steps=replace(plan.steps, value=steps, because=because),
        warmup=replace(plan.warmup, value=max(1, round(plan.warmup.value * share))),
        exposures=replace(plan.exposures, value=round(plan.exposures.value * share, 1)),
        forecast=replace(plan.forecast, seconds=plan.forecast.seconds * share),
        save_every=replace(plan.save_every, value=max(1, min(plan.save_every.value, steps))),
    )


def _after_another_topic(rows: Sequence[Example], seed: int) -> list[Example]:
    """Some rows again with a past turn, so that a conversation does not confuse the bot."""
    chosen = random.Random(f"{seed}:past")
    answered = [r for r in rows if r.answer is not None and not r.history]
    made = []
    for row in chosen.sample(answered, round(len(answered) * HISTORY_SHARE)):
        past = chosen.choice(answered)
        if past.answer is not None and past.source != row.source:
            made.append(replace(row, history=((past.question, past.answer),), kind="multi-turn"))
    return made
