"""Finds the names of products, cards and systems: what an FAQ lists, and what looks like one.

Knows letters, not things: in Chinese text a Latin word is a name, in English text an acronym is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORDS = (
    "ok email e-mail mail tel fax phone app apps web website online a an the and or of to "
    "in on at by for is are be i am pm hi hello dear thanks thank please q faq vs no yes "
    "id x o t c b s sir madam "
)
COMMON = frozenset(_WORDS.split())
"""Latin words in Chinese text that name nothing in particular."""
_WORD = re.compile(r"(?<![a-z0-9])[a-z][a-z0-9]*(?:['&.+-][a-z0-9]+)*")


def latin(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and letters of each Latin word of a folded text."""
    for hit in _WORD.finditer(text):
        yield hit.start(), hit.end(), hit.group()


def is_acronym(said: str) -> bool:
    """Whether a word as written looks like a name: `ATM`, `MasterCard`."""
    return sum(c.isupper() for c in said) >= 2


def is_chinese(folded: str) -> bool:
    """Whether a folded text is Chinese with Latin words in it, and not the reverse."""
    chinese = sum("\u4e00" <= c <= "\u9fff" for c in folded)
    return chinese * 2 >= len(_WORD.findall(folded)) and chinese > 0
