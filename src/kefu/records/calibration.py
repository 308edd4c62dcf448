"""How sure a bot must be to answer, as it is kept with its run; bot/calibration.py sets it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

WEIGHED = 2
"""Raised by one whenever bots begin to weigh what they know otherwise than before: a threshold that
was set with another number promises nothing any more, and is set anew without training."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a share of false answers means on the run's held-out questions; shares are 0 to 1."""

    allowed: float
    threshold: float
    answered: float
    wrong: float
    """Of those that are answered."""


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
    witnesses: tuple[float, ...] = ()
    """How the evidence was weighed: a threshold is worth nothing for evidence weighed otherwise."""
    cross: str = ""
    """SHA-256 of the adapters that read, where a cross-encoder is among the witnesses."""
    weighed: int = 1
    """WEIGHED of the kefu that set it; the first ones did not write it."""

    def otherwise(self, cross: str) -> str:
        """How a bot of today, which reads by the adapters of digest `cross`, knows otherwise
        than the one that this was set for; empty where it does not."""
        if not self.weights:
            return ""
        if self.cross != cross:
            return "read by another adapter"
        return "" if self.weighed == WEIGHED else "weighed the evidence otherwise"

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

    def allowing(self, share: float) -> Allowed:
        """The threshold for this share of false answers, and what it would mean."""
        at = threshold(self.curve, share)
        answered, wrong = next(((a, w) for t, a, w in self.curve if t == at), (0.0, 0.0))
        return Allowed(share, at, answered, wrong)


def threshold(curve: Sequence[tuple[float, float, float]], allowed: float) -> float:
    """The lowest threshold whose error is within `allowed`; where none is, above the surest."""
    fine = [at for at, _, error in curve if error <= allowed]
    if fine:
        return min(fine)
    return max((at for at, _, _ in curve), default=0.5) + 0.01  # may be above 1: never sure


@dataclass(frozen=True, slots=True)
class Threshold:
    """The threshold that a run has now, and others that it might have."""

    run: str
    now: Allowed
    others: tuple[Allowed, ...]
    reranker: str
    """The larger base that reads rows for it; empty for none."""
