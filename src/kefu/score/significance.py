"""The two tests that a report rests on. Knows counts, not questions."""

from __future__ import annotations

from math import sqrt

_Z = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""


def wilson(right: int, asked: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) when nothing was asked."""
    if not asked:
        return 0.0, 1.0
    share, zz = right / asked, _Z * _Z
    middle = (share + zz / (2 * asked)) / (1 + zz / asked)
    half = _Z / (1 + zz / asked) * sqrt(share * (1 - share) / asked + zz / (4 * asked * asked))
    low = 0.0 if right == 0 else max(0.0, middle - half)
    high = 1.0 if right == asked else min(1.0, middle + half)
    return low, high


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar test (1947): how likely so uneven a split of the questions on
    which two examinees differ is, when both are equally good. 1 when they never differ."""
    n = gained + lost
    total = term = 1
    for i in range(min(gained, lost)):
        term = term * (n - i) // (i + 1)
        total += term
    return min(1.0, 2 * total / (1 << n))  # Python divides whole numbers of any size exactly
