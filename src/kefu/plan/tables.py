"""The numbers of the default recipe that were found by trying, all in one place.

What was measured so far (LOG.md): Gemma 3 270M, 5 pairs, 5 wordings each, 12 passes over every
wording (60 exposures a fact): 19 of 20 unseen wordings answered word for word. One wording a
pair, 25 exposures: known by heart, and 10 of 20. The rest is to be tuned.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the settings' own library is slow to import, and a forecast needs none
    from ..settings import Thoroughness

FEW, MANY = 20, 100
"""Pairs. Below FEW the first column of PASSES holds, above MANY the second, between them a
line over the logarithm."""

PASSES: dict[Thoroughness, tuple[float, float]] = {
    "quick": (6, 4),
    "normal": (12, 8),
    "thorough": (20, 14),
}
"""How often each wording is seen. A large FAQ teaches the manner of answering many times over,
so that each of its wordings needs less."""

LEAST: dict[Thoroughness, float] = {"quick": 12, "normal": 24, "thorough": 40}
MOST: dict[Thoroughness, float] = {"quick": 30, "normal": 50, "thorough": 120}
"""Exposures of each fact, over all its wordings: never fewer, never more."""

HAND_OVER_SHARE = 0.2
"""Of the training rows. Enough that handing over is learnt, few enough that answering is."""

BATCHES: tuple[tuple[int, int], ...] = ((60, 4), (400, 8), (4000, 16), (10**9, 32))
"""(rows up to, examples an optimizer step): about 15 steps a pass at least, so that few rows
still make enough steps."""

RATES: tuple[tuple[float, float], ...] = (
    (0.4e9, 5e-4),
    (1e9, 6e-4),
    (2.5e9, 4e-4),
    (1e10, 2e-4),
    (1e13, 1e-4),
)
"""(base parameters up to, LoRA learning rate)."""

RANKS: tuple[tuple[int, int], ...] = ((100, 16), (500, 32), (10**9, 64))
"""(pairs up to, LoRA rank): each pair is something to remember."""

CONTRAST = 0.5
"""Weight of the contrast beside the mean loss of the answers' tokens."""

WARM_UP = 0.06
"""Share of the steps."""

SAVES = 10
"""Checkpoints over a run, at most: a tenth of the work is lost at worst..."""
SAVED = 5.0
"""...or so many seconds of it, where a run is short: a checkpoint takes a quarter of a second."""


def passes(thorough: Thoroughness, pairs: int, wordings: float) -> float:
    """How often each wording is to be seen. `wordings` is the mean number a pair."""
    few, many = PASSES[thorough]
    if pairs <= FEW:
        wanted = few
    elif pairs >= MANY:
        wanted = many
    else:
        wanted = few + (many - few) * log(pairs / FEW) / log(MANY / FEW)
    return min(max(wanted, LEAST[thorough] / wordings), MOST[thorough] / wordings)


def up_to(table: tuple[tuple[float, float], ...], value: float) -> float:
    """The entry of the first line whose limit `value` does not pass."""
    return next(entry for limit, entry in table if value <= limit)
