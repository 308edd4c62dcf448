"""How sure is sure enough: from held-out questions to a confidence and a threshold.

A logistic regression turns the evidence (see weighing.py) into the probability that the best
answer is right; the threshold is the lowest that keeps false answers within what the owner
allows, on questions that were never trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..records import Example
from ..workspace import RunFolder, write_json

if TYPE_CHECKING:
    from .bot import Bot

FILE = "calibration.json"
STRENGTH = 0.3
"""Inverse of the regularisation: few held-out questions must not make bold weights."""
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Calibration:
    """Weights of the confidence, the threshold, and the curve they came from."""

    weights: tuple[float, ...] = ()
    means: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()
    bias: float = 0.0
    threshold: float = 0.5
    allowed: float = 0.02
    """The share of false answers that the owner allows."""
    asked: int = 0
    """Held-out questions."""
    curve: tuple[tuple[float, float, float], ...] = field(default_factory=tuple)
    """(threshold, share of questions answered, share of those answered wrongly)."""

    def confidence(self, features: Sequence[float]) -> float:
        """The probability, 0 to 1, that the best answer is right."""
        if not self.weights:
            return 0.0
        total = self.bias
        for value, mean, scale, weight in zip(
            features, self.means, self.scales, self.weights, strict=True
        ):
            total += weight * (value - mean) / scale
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))


def calibrate(bot: Bot, held_out: Sequence[Example], allowed: float) -> Calibration:
    """Sets the bot's confidence and threshold from `held_out`, and keeps them in its run folder.

    `allowed` is the share of false answers, of all that the bot answers, that its owner
    tolerates. Confidences are cross-fitted, so that no question judges itself.
    """
    made = fit([*bot.evidence(held_out)], allowed)
    bot.calibration = made
    write_json(bot.folder.file(FILE), made, Calibration)
    return made


def load(folder: RunFolder) -> Calibration:
    """The run's calibration; one that answers whatever is likelier right than not, if none."""
    from ..workspace import read_json

    path = folder.file(FILE)
    return read_json(path, Calibration) if path.is_file() else Calibration()


def fit(evidence: Sequence[tuple[tuple[float, ...], bool]], allowed: float) -> Calibration:
    """From (features, whether the best answer is right) of held-out questions."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    right = np.array([r for _, r in evidence])
    if len(right) < 2 * FOLDS or min(right.sum(), (~right).sum()) < FOLDS:
        return Calibration(allowed=allowed, asked=len(right))
    values = np.array([f for f, _ in evidence])
    means, scales = values.mean(0), values.std(0) + 1e-6
    scaled = (values - means) / scales
    model = LogisticRegression(C=STRENGTH, max_iter=1000)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    crossed = cross_val_predict(model, scaled, right, cv=folds, method="predict_proba")[:, 1]
    model.fit(scaled, right)
    curve = trade_off(crossed.tolist(), right.tolist())
    return Calibration(
        weights=tuple(float(w) for w in model.coef_[0]),
        means=tuple(float(m) for m in means),
        scales=tuple(float(s) for s in scales),
        bias=float(model.intercept_[0]),
        threshold=threshold(curve, allowed),
        allowed=allowed,
        asked=len(right),
        curve=tuple(curve),
    )


def trade_off(
    confidences: Sequence[float], right: Sequence[bool]
) -> list[tuple[float, float, float]]:
    """(threshold, share answered, share of those that is wrong) for every useful threshold."""
    ranked = sorted(zip(confidences, right, strict=True), reverse=True)
    curve = []
    wrong = 0
    for n, (confidence, good) in enumerate(ranked, start=1):
        wrong += not good
        if n == len(ranked) or ranked[n][0] < confidence:
            curve.append((round(confidence, 4), round(n / len(ranked), 4), round(wrong / n, 4)))
    return curve


def threshold(curve: Sequence[tuple[float, float, float]], allowed: float) -> float:
    """The lowest threshold whose error is within `allowed`; where none is, above the surest."""
    fine = [at for at, _, error in curve if error <= allowed]
    if fine:
        return min(fine)
    return min(0.999, max((at for at, _, _ in curve), default=0.5) + 0.01)


def best_threshold(seen: Sequence[tuple[float, bool]], allowed: float) -> float:
    """The same threshold for any other answerer: from (its score, whether it was right)."""
    return threshold(trade_off([s for s, _ in seen], [r for _, r in seen]), allowed)
