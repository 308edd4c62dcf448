"""Folds text that reads the same to the same letters, and remembers where each letter stood.

One width (NFKC), lower case, one kind of dash and tilde, and Simplified characters: several
Traditional characters share one Simplified one, so both spellings meet and nothing is guessed.
For comparing only, never for showing. Knows characters, not words.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any, NamedTuple

_DASHES = dict.fromkeys("‐‑‒–—―−﹣－", "-") | dict.fromkeys("～〜∼˜﹏", "~")
_INVISIBLE = frozenset("\u200b\u200c\u200d\u2060\ufeff\u00ad")


class _Table(dict[str, str]):
    """Character -> its folded form, worked out once for each character that occurs."""

    def __missing__(self, char: str) -> str:
        if char in _INVISIBLE:
            folded = ""
        elif char in _DASHES:
            folded = _DASHES[char]
        elif char in "\r\t\u3000\u00a0":
            folded = " "
        elif char.isdecimal():
            folded = str(unicodedata.decimal(char))
        else:
            plain = unicodedata.normalize("NFKC", char).lower()
            folded = plain if plain.isascii() else "".join(map(_simplified, plain))
        self[char] = folded
        return folded


def _simplified(char: str) -> str:
    return str(_converter().convert(char)) if char >= "\u3400" else char


@cache
def _converter() -> Any:
    from opencc import OpenCC  # reads its dictionaries: 0.1 s that importing need not pay

    return OpenCC("t2s")


_TABLE = _Table()


class Folded(NamedTuple):
    """A folded text; `places[i]` is where its letter i stood in the text that was given."""

    text: str
    places: range | list[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The span in the given text of a span of the folded one; `end` > `start`."""
        return self.places[start], self.places[end - 1] + 1


def fold(text: str) -> Folded:
    """The text in folded letters."""
    parts = [_TABLE[char] for char in text]
    folded = "".join(parts)
    if all(len(part) == 1 for part in parts):
        return Folded(folded, range(len(text)))
    return Folded(folded, [i for i, part in enumerate(parts) for _ in part])


@cache
def pattern(source: str) -> re.Pattern[str]:
    """A regular expression for folded text, written in either script."""
    return re.compile("".join(_simplified(c) for c in source))
