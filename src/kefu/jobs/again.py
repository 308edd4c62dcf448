"""The run after a run whose exam fell short: what training can change is changed, and said.

What only a person can do (the FAQ's contents, the base, how many false answers are allowed) is
left as it is. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..advise import Advice, advise
from ..errors import RunError
from ..plan import YOURS
from ..records import Choice, Example, Faq, Machine, Plan
from ..settings import Settings, parse
from ..weights import warm
from ..workspace import RunFolder
from .advising import evidence_of
from .preparing import WORDINGS, Prepared, prepare, with_steps, wordings_for

MORE = 2
"""Exposures, rank and wordings by rule are multiplied by it, and a rate is divided."""
SOME = 1.3
"""A plan with so many times the exposures gives more practice already."""
CHOSEN = ("precision", "mode", "patience")
"""What the plan chooses, unless a person does."""
COMPARED = (
    "recipe", "learning_rate", "warmup", "rank", "exposures", "steps", "reader", "reranker",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that the new run does otherwise."""

    what: str
    before: str
    after: str
    because: str


@dataclass(frozen=True, slots=True)
class Again:
    """A prepared run with what it changes, and what is left to a person."""

    prepared: Prepared
    changes: tuple[Change, ...]
    left: tuple[str, ...]
    """Remedies that training cannot apply, in whole sentences."""


def settings_of(folder: RunFolder, settings: Settings, said: Mapping[str, object]) -> Settings:
    """Settings for a run after `folder`'s: its base, recipe and seed, and what a person set for it
    against the plan's own choice, but for what is `said`."""
    plan = folder.plan()
    kept = {
        "base": plan.base.value, "recipe": plan.recipe.value, "seed": plan.seed.value,
        "hand_over": plan.hand_over.value, "persona": plan.persona.value,
        "book": plan.book.value,
    }  # fmt: skip
    chosen = {name: getattr(plan, name) for name in CHOSEN}
    kept |= {name: choice.value for name, choice in chosen.items() if choice.because == YOURS}
    if plan.reader.because == YOURS:
        kept["reader"] = "none"
    if plan.reranker.because == YOURS:
        kept["reranker"] = plan.reranker.value or "none"
    return parse({**settings.model_dump(), **kept, **said}, "the run before")


def again(
    folder: RunFolder,
    faq: Faq,
    settings: Settings,
    machine: Machine,
    *,
    hold_out: bool = True,
    cards: int = 1,
) -> Again:
    """Prepares the run after `folder`'s from its advice, for `cards` GPUs together; `faq` as it
    is today.

    Raises RunError where it was not examined, or where neither the plan nor the FAQ would differ.
    """
    evidence = evidence_of(folder, settings)
    found, before = advise(evidence), evidence.plan
    why = {cause.name: cause.because for cause in found.causes if cause.again}
    default = before.recipe.value == "tutorial" and bool(why)
    if default and settings.recipe == "tutorial":
        settings = settings.model_copy(update={"recipe": "default"})
    fill = wordings_for(len(faq.pairs))
    if "wordings" in why:
        fill = MORE * max(fill, WORDINGS // 2)
    made = prepare(faq, settings, machine, hold_out=hold_out, wordings=fill, cards=cards)
    made = replace(made, plan=_plan(made.plan, before, why))
    changes = list(_changes(before, made.plan, found))
    one, other = _by_rule(evidence.examples), _by_rule(made.examples)
    if one != other:
        because = why.get("wordings", "The FAQ or the rules are others.")
        changes.append(Change("wordings made by rules", str(one), str(other), because))
    if faq.digest != folder.faq().digest:
        changes.append(Change("FAQ", "as it was", "as it is now", "It was changed since."))
    name = before.reads_by
    if name and warm.another(name, folder.versions().get("warm_sha256")):
        because = "The bot compares questions by it, and a run of another one is not opened."
        changes.append(Change("adapter to read by", "another version", "today's", because))
    if not changes:
        raise RunError(
            f"Another training could change nothing of what the exam of {folder.name} missed.",
            f"First do what `kefu advise {folder.name}` says.",
        )
    left = tuple(cause.remedy for cause in found.causes if not cause.again)
    return Again(made, tuple(changes), left)


def _plan(plan: Plan, before: Plan, why: Mapping[Any, str]) -> Plan:
    """The usual plan, with more of what the run before had too little of."""
    if "rate" in why and plan.learning_rate.value == before.learning_rate.value:
        lower, warm = plan.learning_rate.value / MORE, MORE * plan.warmup.value
        plan = replace(
            plan, learning_rate=Choice(lower, why["rate"]), warmup=Choice(warm, why["rate"])
        )
    if "rank" in why and plan.rank.value <= before.rank.value:
        plan = _with_rank(plan, MORE * before.rank.value, why["rank"])
    if "exposures" in why and plan.exposures.value < SOME * before.exposures.value:
        plan = with_steps(plan, MORE * before.steps.value, why["exposures"])
    return plan


def _with_rank(plan: Plan, rank: int, because: str) -> Plan:
    """The plan with another rank: all that the adapter needs grows in proportion."""
    share, f = rank / plan.rank.value, plan.forecast
    trainable = round(plan.trainable.value * share)
    return replace(
        plan,
        rank=Choice(rank, because),
        alpha=replace(plan.alpha, value=round(plan.alpha.value * share)),
        trainable=replace(plan.trainable, value=trainable),
        total=replace(plan.total, value=plan.total.value + trainable - plan.trainable.value),
        forecast=replace(
            f, adapters=round(f.adapters * share), gradients=round(f.gradients * share),
            optimizer=round(f.optimizer * share),
        ),
    )  # fmt: skip


def _changes(before: Plan, after: Plan, found: Advice) -> list[Change]:
    whys = {cause.name: cause.because for cause in found.causes}
    causes = {
        "learning_rate": "rate", "warmup": "rate", "rank": "rank", "recipe": "hand-over",
        "reader": "",  # of no cause: the plan itself says why
        "reranker": "",
    }  # fmt: skip
    made = []
    for name in COMPARED:
        one, other = getattr(before, name).value, getattr(after, name).value
        if one != other:
            cause: Any = causes.get(name, "exposures")
            because = whys.get(cause, getattr(after, name).because)
            made.append(
                Change(name.replace("_", " "), f"{one or 'none'}", f"{other or 'none'}", because)
            )
    return made


def _by_rule(rows: tuple[Example, ...]) -> int:
    return len({(r.source, r.question) for r in rows if r.brief and r.wording})
