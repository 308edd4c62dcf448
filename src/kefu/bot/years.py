"""The years that a text names: what is held in 2018 is not what was held in 2017.

Rows of different years often differ in nothing else, and no witness minds a digit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..score import facts

_BARE = re.compile(
    r"(?<![\d.,:/#$＄-])(20(?:0[1-9]|[1-4]\d))"
    r"(?![元塊圓點件個份支人次張克公顆瓶包箱組字頁號樓米坪]|[台臺](?![北中南東灣]))(?=\s*[^\W\d_])"
)
"""2018 before a word and without a unit, as in 2018世大運. Not 2000, which may be a price, and not
1999, which is a hotline of many a town."""


def years(text: str) -> frozenset[str]:
    """The calendar years, as 2018; 民國107年 is one."""
    said = facts(text)
    named = {fact.removeprefix("year:") for fact in said if fact.startswith("year:")}
    return frozenset(named | {y for y in _BARE.findall(text) if f"number:{y}" in said})


def of_another_year(question: str, wordings: Iterable[str]) -> bool:
    """Whether the question names years, the row's wordings do too, and they have none in common."""
    asked = years(question)
    if not asked:
        return False
    known = frozenset[str]().union(*map(years, wordings))
    return bool(known) and not asked & known
