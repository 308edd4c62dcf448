"""Which sizes a run's steps are filled up to, so that few have to be recorded (see graphs.py).

Does not know how a step is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .lean import Laid
from .session import Session

MOST = 8
"""Buckets of a run."""
GRAIN = 16
"""Tokens between two sizes that a bucket may have, at least."""
SIZES = 64
"""Sizes that are timed."""
BEYOND = 4
"""So many sizes above the largest step are looked at too: one may be quicker than it."""
OPENING = 0.03
"""Seconds that one more bucket costs, a layer of the model (measured at 28 layers: 0.8 s)."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """The size that a step's rows are filled up to."""

    tokens: int
    labels: int
    least: int
    """Tokens of the smallest step that comes here."""


def fitting(buckets: Sequence[Bucket], rows: Laid) -> Bucket:
    """The smallest bucket that holds these rows."""
    return next(b for b in buckets if b.tokens >= len(rows.ids) and b.labels >= len(rows.where))


def buckets_of(session: Session, steps: Sequence[Sequence[int]]) -> list[Bucket]:
    """Buckets for these steps' rows, from the smallest to the largest."""
    sizes = [
        (sum(len(session.rows[i].ids) for i in s), sum(session.rows[i].labelled for i in s))
        for s in steps
    ]
    if not sizes:
        return []
    config = session.model.get_base_model().config.get_text_config()
    tokens = choose(
        [n for n, _ in sizes],
        _seconds(session, config) if session.device.startswith("cuda") else float,
        OPENING * config.num_hidden_layers,
    )
    # A bucket's labels: enough for every step of that many tokens or fewer.
    most = [max((k for n, k in sizes if n <= t), default=1) for t in tokens]
    least = [min(n for n, _ in sizes), *(t + 1 for t in tokens)]
    return [Bucket(t, -(-k // 8) * 8, n) for t, k, n in zip(tokens, most, least, strict=False)]


def choose(sizes: Sequence[int], seconds: Callable[[int], float], opening: float) -> list[int]:
    """Tokens of the buckets with which steps of these `sizes` take the least time in all.

    `seconds(n)` is what a step of n tokens takes, `opening` what one more bucket costs.
    """
    low, high = min(sizes), max(sizes)
    grain = max(GRAIN, -(-(high - low) // SIZES // GRAIN) * GRAIN)
    at = list(range(-(-low // grain) * grain, high + BEYOND * grain, grain))
    cost = [seconds(n) for n in at]
    # A larger size may be quicker than a smaller one: matrix products have cliffs.
    best = list(range(len(at)))
    for i in reversed(range(len(at) - 1)):
        if cost[best[i + 1]] <= cost[i]:
            best[i] = best[i + 1]
    usable = sorted(set(best))
    many = [0] * len(usable)
    for n in sizes:
        many[next(j for j, i in enumerate(usable) if at[i] >= n)] += 1
    # The least for the steps up to the j-th size, the last bucket being that size.
    least: list[tuple[float, tuple[int, ...]]] = []
    for j, i in enumerate(usable):
        whole: tuple[float, tuple[int, ...]] = (sum(many[: j + 1]) * cost[i] + opening, (at[i],))
        options = [whole]
        for b in range(j):
            before, chosen = least[b]
            if len(chosen) < MOST:
                now = before + sum(many[b + 1 : j + 1]) * cost[i] + opening
                options.append((now, (*chosen, at[i])))
        least.append(min(options))
    enough = [found for found, i in zip(least, usable, strict=True) if at[i] >= high]
    return list(min(enough)[1])


def _seconds(session: Session, config: Any) -> Callable[[int], float]:
    """A step's seconds by its tokens, from timing the model's largest matrix product."""
    wide = int(getattr(config, "intermediate_size", 0) or 4 * config.hidden_size)
    dtype = torch.bfloat16 if session.plan.compute.value == "bf16" else torch.float32
    matrix = torch.randn(config.hidden_size, wide, device=session.device, dtype=dtype)
    share = 2 * session.plan.total.value / matrix.numel()  # forwards, and backwards to the input

    def seconds(n: int) -> float:
        rows = torch.randn(n, config.hidden_size, device=session.device, dtype=dtype)
        for _ in range(2):
            rows @ matrix
        begin, end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        begin.record()
        for _ in range(8):
            rows @ matrix
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 8000 * share

    return seconds
