"""Whether the answers were learned at all, and if not, which number of the plan is to blame.

Looks at the loss and at how far the plan is from what kefu would choose. That the loss is low does
not mean that the bot is good: see `advice`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from ..records import Plan, Step
from .nouns import Evidence, Name

KNOWN = 0.5
"""Nats a token: a loss above it at the end says that the answers are not known by heart."""
LAST = 8
"""Steps whose median is the loss at the end."""
FALLING = 0.9
"""The last quarter's loss below this share of the quarter before: it was still falling."""
FAR = 3.0
"""A rate so many times the usual one is another rate."""
SHORT = 0.7
"""Exposures or a rank below this share of the usual are too few, or too low."""
HALVED = 0.75
"""A rate below this share of its schedule was lowered by training itself."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why the answers were not learned."""

    name: Name
    because: str
    remedy: str


def unlearned(evidence: Evidence) -> Fault | None:
    """The fault of a training that ended with a high loss; None where the loss says nothing."""
    steps = [s for s in evidence.steps if math.isfinite(s.loss)]
    if not steps:
        return None
    last = median(s.loss for s in steps[-LAST:])
    if last <= KNOWN:
        return None
    plan, usual = evidence.plan, evidence.usual
    said = f"The loss was still {last:.2f} at the end, where answers that are known have below 0.1"
    rate = plan.learning_rate.value
    if lowered(plan, steps):
        return Fault(
            "rate",
            f"{said}, and training fell apart on the way and went back: the rate of {rate:g} is "
            "too high.",
            "Train with half the rate and a longer warm-up.",
        )
    if usual is not None:
        wanted = usual.learning_rate.value
        if rate < wanted / FAR or rate > wanted * FAR:
            return Fault(
                "rate",
                f"{said}, and the rate is {rate:g}, where {wanted:g} is usual for this base.",
                f"Train with the rate {wanted:g}.",
            )
        seen, due = plan.exposures.value, usual.exposures.value
        if seen < SHORT * due:
            return Fault(
                "exposures",
                f"{said}: each fact was seen {seen:g} times, where {due:g} times are usual.",
                f"Train {usual.steps.value} steps, not {plan.steps.value}.",
            )
        if plan.rank.value < SHORT * usual.rank.value:
            return Fault(
                "rank",
                f"{said}, and the adapter has rank {plan.rank.value}, where {usual.rank.value} is "
                f"usual for {len(evidence.pairs)} answers.",
                f"Train with rank {usual.rank.value}.",
            )
    before, after = _quarters(steps)
    if after < FALLING * before:
        return Fault(
            "exposures",
            f"{said}, and was still falling: {before:.2f} in the third quarter of the steps, "
            f"{after:.2f} in the last. Each fact was seen {plan.exposures.value:g} times.",
            "Train more steps: `--thorough thorough`.",
        )
    return Fault(
        "rank",
        f"{said}, and no longer fell: {before:.2f} in the third quarter of the steps, {after:.2f} "
        f"in the last. Rate and exposures are as usual: rank {plan.rank.value} holds no more.",
        f"Train with rank {2 * plan.rank.value}; if that does not help, with a larger base.",
    )


def lowered(plan: Plan, steps: Sequence[Step]) -> bool:
    """Whether training lowered its rate by itself, as it does where it falls apart."""
    shares = []
    for step in steps:
        planned = _planned(plan, step.step)
        if step.step > plan.warmup.value + 8 and planned > 0.05 * plan.learning_rate.value:
            shares.append(step.learning_rate / planned)
    return bool(shares) and median(shares[-LAST:]) < HALVED


def _planned(plan: Plan, step: int) -> float:
    """The rate of a step by the plan's schedule."""
    warm, rate = plan.warmup.value, plan.learning_rate.value
    done = step - 1  # the first step is taken at the schedule's beginning
    if done < warm:
        return rate * done / warm
    part = (done - warm) / max(1, plan.steps.value - warm)
    if plan.scheduler.value == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * part))
    return rate * (1 - part) if plan.scheduler.value == "linear" else rate


def _quarters(steps: Sequence[Step]) -> tuple[float, float]:
    """The mean loss of the third and of the last quarter of the steps."""
    size = max(1, len(steps) // 4)
    last = mean(s.loss for s in steps[-size:])
    before = steps[-2 * size : -size] or steps[:1]
    return mean(s.loss for s in before), last
