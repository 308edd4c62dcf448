"""Lets free text through as long as its facts are the FAQ's, also while it is still being written.

A link or a phone number that a model makes up is worse than no answer. What is held back is a
clause at most, so that text can be shown as it grows. Does not know who writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .extraction import facts
from .marking import Marker

_END = re.compile(r"[，。！？；\n]|[,.!?;](?=\s)")
"""Ends a clause. No fact goes on beyond it: 3,000 and a.b.tw have no blank behind theirs."""


class FactFilter:
    """Tells text with a fact that stands nowhere in the FAQ of `marker`.

    `instead` is the sentence that a customer reads in its place, whose own facts are let through.
    """

    def __init__(self, marker: Marker, instead: str) -> None:
        self._marker, self.instead = marker, instead
        self._own = facts(instead, marker.names)

    def foreign(self, text: str) -> frozenset[str]:
        """The facts of a text that the FAQ has nowhere."""
        return self._marker.foreign(text) - self._own

    def whole(self, text: str) -> str:
        """The text, or `instead` where it has a foreign fact."""
        return self.instead if self.foreign(text) else text

    def pieces(self, grown: Iterable[str]) -> Iterator[str]:
        """A text in pieces, clause by clause, from what there is of it as it grows.

        Where a clause brings a foreign fact, it is not told, and `instead` ends the text.
        """
        told = text = ""
        for text in grown:
            ends = [hit.end() for hit in _END.finditer(text, len(told))]
            if not ends:
                continue
            if self.foreign(text[: ends[-1]]):
                yield self.instead
                return
            yield text[len(told) : ends[-1]]
            told = text[: ends[-1]]
        if self.foreign(text):
            yield self.instead
        elif len(text) > len(told):
            yield text[len(told) :]


def pieces(grown: Iterable[str], through: FactFilter | None) -> Iterator[str]:
    """A text in pieces from what there is of it as it grows; all of it where nothing filters."""
    if through is not None:
        yield from through.pieces(grown)
        return
    told = ""
    for text in grown:
        yield text[len(told) :]
        told = text
