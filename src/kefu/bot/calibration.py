"""How sure is sure enough: from held-out questions to a confidence and a threshold.

A logistic regression turns the evidence (see weighing.py) into the probability that the best
answer is right; the threshold is the lowest that keeps false answers within what the owner
allows, on questions that were never trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import RunError
from ..records import WEIGHED, Calibration, Example, threshold
from ..workspace import RunFolder, write_json
from .begun import reading_of
from .weighing import WITNESSES

if TYPE_CHECKING:
    from .bot import Bot

STRENGTH = 0.3
"""Inverse of the regularisation: few held-out questions must not make bold weights."""
FOLDS = 5
ANSWERABLE = 0.75
"""Of the questions that customers ask, how many the FAQ answers: an assumption."""


def calibrate(bot: Bot, held_out: Sequence[Example], allowed: float) -> Calibration:
    """Sets the bot's confidence and threshold from `held_out`, and keeps them in its run folder.

    `allowed` is the share of false answers, of all that the bot answers, that its owner
    tolerates. Confidences are cross-fitted, so that no question judges itself.
    """
    made = fit(list(bot.evidence(held_out)), allowed)
    if made.weights:
        made = replace(made, witnesses=bot.weights, cross=reading_of(bot.folder))
    bot.calibration = made
    write_json(bot.folder.calibration_file, made, Calibration)
    return made


def load(folder: RunFolder, witnesses: tuple[float, ...] = WITNESSES) -> Calibration:
    """The run's calibration; one that answers whatever is likelier right than not, if none.

    Raises RunError where another version of kefu made it, which weighed the evidence otherwise.
    """
    path, found = folder.calibration_file, folder.calibration()
    if how := found.otherwise(reading_of(folder)):
        raise RunError(
            f"The threshold in {path} was set by another version of kefu, which {how}.",
            f"Set it anew, without training: `kefu threshold {folder.name}`.",
        )
    if found.weights and found.witnesses != witnesses:  # such as those of an open book
        raise RunError(
            f"The threshold in {path} was set by another version of kefu, "
            "which weighed the evidence otherwise.",
            f"Train anew: `kefu train --again {folder.name}`.",
        )
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """What a held-out question showed."""

    features: tuple[float, ...]
    right: bool
    """Whether the best answer is the right one; never so for a question to hand over."""
    answerable: bool


def fit(seen: Sequence[Seen], allowed: float) -> Calibration:
    """The calibration from held-out questions.

    Questions that the FAQ answers weigh together ANSWERABLE of the whole, as customers mostly ask
    those; the shipped questions to hand over would otherwise drown them.
    """
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    right = np.array([s.right for s in seen], dtype=bool)
    can = np.array([s.answerable for s in seen], dtype=bool)
    if min(right.sum(), (~right).sum()) < FOLDS:
        return Calibration(allowed=allowed, asked=len(right))
    share = np.where(can, ANSWERABLE / max(1, can.sum()), (1 - ANSWERABLE) / max(1, (~can).sum()))
    weight = share * len(right) / share.sum()
    values = np.array([s.features for s in seen])
    means, scales = values.mean(0), values.std(0) + 1e-6
    scaled = (values - means) / scales
    crossed = np.zeros(len(right))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(scaled, right):
        model = _fitted(scaled[train], right[train], weight[train])
        crossed[test] = model.predict_proba(scaled[test])[:, 1]
    model = _fitted(scaled, right, weight)
    curve = trade_off(crossed.tolist(), right.tolist(), weight.tolist())
    return Calibration(
        weights=tuple(float(w) for w in model.coef_[0]),
        means=tuple(float(m) for m in means),
        scales=tuple(float(s) for s in scales),
        bias=float(model.intercept_[0]),
        threshold=threshold(curve, allowed),
        allowed=allowed,
        asked=len(right),
        curve=tuple(curve),
        witnesses=WITNESSES,
        weighed=WEIGHED,
    )


def _fitted(values: Any, right: Any, weight: Any) -> Any:
    """The regression (n, features) by which no feature counts against the answer that it speaks
    for, as one may that says nearly what another does, where questions are few: it is left out."""
    from sklearn.linear_model import LogisticRegression

    values = values.copy()
    while True:
        model = LogisticRegression(C=STRENGTH, max_iter=1000)
        model.fit(values, right, sample_weight=weight)
        least = int(model.coef_[0].argmin())
        if model.coef_[0][least] >= 0:
            return model
        values[:, least] = 0.0


def trade_off(
    confidences: Sequence[float], right: Sequence[bool], weights: Sequence[float] | None = None
) -> list[tuple[float, float, float]]:
    """(threshold, share answered, share of those that is wrong) for every useful threshold."""
    weights = weights or [1.0] * len(confidences)
    ranked = sorted(zip(confidences, right, weights, strict=True), reverse=True)
    curve = []
    whole = sum(weights)
    answered = wrong = 0.0
    for n, (confidence, good, weight) in enumerate(ranked, start=1):
        answered += weight
        wrong += 0.0 if good else weight
        if n == len(ranked) or ranked[n][0] < confidence:
            # Not rounded: a threshold a hair lower or higher would let others through, or fewer.
            curve.append((confidence, answered / whole, wrong / answered))
    return curve


def best_threshold(seen: Sequence[tuple[float, bool]], allowed: float) -> float:
    """The same threshold for any other answerer: from (its score, whether it was right)."""
    return threshold(trade_off([s for s, _ in seen], [r for _, r in seen]), allowed)
