"""Collects the names that an FAQ lists, so that an answer which swaps one is found out.

Knows how names are written: Latin words in Chinese text, capitals in English text, and what
stands in 「」. A name that the FAQ writes in none of these ways goes unnoticed.
"""

from __future__ import annotations

import re

from ..records import Faq
from .extraction import spans
from .folding import fold
from .names import COMMON, is_chinese

_QUOTED = re.compile(
    r"「([^「」\n]{3,20})」|『([^『』\n]{3,20})』|《([^《》\n]{3,20})》|【([^【】\n]{3,20})】"
)
_CAPITAL = re.compile(
    r"(?<=[a-z,(] )[A-Z][A-Za-z0-9]+|[A-Z][A-Za-z0-9]+(?=、)|(?<=、)[A-Z][A-Za-z0-9]+"
)
_CALENDAR = re.compile(
    r"(?:mon|tues?|wed|wednes|thu|thurs?|fri|sat|satur|sun)(?:day)?s?|(?:jan|febr)(?:uary)?|feb"
    r"|mar(?:ch)?"
    r"|apr(?:il)?|may|june?|july?|aug(?:ust)?|(?:sept?|oct|nov|dec)(?:o?(?:em)?ber)?"
)


def names_of(faq: Faq) -> frozenset[str]:
    """The names in the answers and questions of an FAQ, folded: Latin words in Chinese text,
    acronyms and capitals in English text, and what stands in 「」 unless it is mostly written
    without, as an ordinary word is."""
    quoted: dict[str, int] = {}
    found: set[str] = set()
    folded: list[str] = []
    for text in dict.fromkeys(t for pair in faq.pairs for t in (pair.answer, pair.question)):
        plain = fold(text).text
        folded.append(plain)
        for hit in _QUOTED.finditer(text):
            name = fold(next(group for group in hit.groups() if group)).text.strip()
            if not re.search(r"[,。;!?:、]", name) and not name.isascii():
                quoted[name] = quoted.get(name, 0) + 1
        found |= {fact.name[5:] for fact in spans(text) if fact.name.startswith("name:")}
        if not is_chinese(plain):
            found |= {word.lower() for word in _CAPITAL.findall(text)}
    everything = "\n".join(folded)
    kept = {name for name, times in quoted.items() if everything.count(name) <= 2 * times}
    return frozenset(
        name for name in kept | found if name not in COMMON and not _CALENDAR.fullmatch(name)
    )
