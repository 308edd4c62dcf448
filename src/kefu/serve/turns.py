"""Turns: questions that wait, a line for each model; whose turn it is goes round.

Knows nothing of what waits. Without turns one model that is asked much would make all others wait.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Collection
from typing import Generic, TypeVar

W = TypeVar("W")


class Full(Exception):
    """As many wait in this line as may wait."""


class Turns(Generic[W]):
    """Lines of at most `most` each; safe to use from several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: OrderedDict[str, deque[W]] = OrderedDict()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        with self._changed:
            return sum(map(len, self._lines.values()))

    def put(self, line: str, one: W) -> None:
        """Raises Full."""
        with self._changed:
            waiting = self._lines.setdefault(line, deque())
            if len(waiting) >= self._most:
                raise Full
            waiting.append(one)
            self._changed.notify()

    def take(
        self, most: int, seconds: float = 0.0, but: Collection[str] = ()
    ) -> tuple[str, list[W]]:
        """The first `most` of the line whose turn it is, those in `but` left out; nothing when none
        came in `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._first(but) is not None, seconds)
            line = self._first(but)
            if line is None:
                return "", []
            waiting = self._lines.pop(line)
            found = [waiting.popleft() for _ in range(min(most, len(waiting)))]
            if waiting:
                self._lines[line] = waiting
            return line, found

    def _first(self, but: Collection[str]) -> str | None:
        return next((line for line in self._lines if line not in but), None)
