"""Pace: how long an answer would take for one who asks now, from how fast answers come.

Only time in which many were asked is counted: an engine that answers one question at a time because
nobody else asks is not at its limit. Knows nothing of engines or HTTP.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

SEATS = 8
"""So many questions are always let in, and any engine answers them side by side."""
LEAST, MEMORY = 8, 64
"""Answers from which the first guess is made; after so many the older ones count half."""


class Pace:
    """Counts questions and answers of the models. `ready` tells whether the engine is there, and
    `clock` seconds. Not safe to use from several threads."""

    def __init__(
        self, ready: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ready, self._clock = ready, clock
        self._open: Counter[str] = Counter()
        self._seconds = self._answers = 0.0
        self._since: float | None = None

    def asked(self, model: str) -> None:
        """A question was let in."""
        self._open[model] += 1
        self._note(0)

    def ended(self, model: str, *, answered: bool) -> None:
        """It was answered, or will not be."""
        self._open[model] -= 1
        if not self._open[model]:
            del self._open[model]
        self._note(int(answered))

    def wait(self, model: str) -> float:
        """Seconds until `model` would answer one more question; 0 while nothing is known, or few
        are asked.

        The models take turns, so that no more come before it than `model` has open for each of
        those that are asked, and never more than there are.
        """
        if self._answers < LEAST or self._open.total() < SEATS:
            return 0.0
        mine = self._open[model] + 1
        lines = len(self._open.keys() | {model})
        ahead = min(self._open.total() + 1, mine * lines)
        return ahead * self._seconds / self._answers

    def _note(self, answers: int) -> None:
        at = self._clock()
        if self._since is not None:
            self._seconds += at - self._since
            self._answers += answers
        full = self._open.total() >= SEATS and self._ready()
        self._since = at if full else None
        if self._answers > MEMORY:
            self._seconds, self._answers = self._seconds / 2, self._answers / 2
