"""Near-misses: questions one word away from a question of the FAQ, which no row answers.

Knows words, not facts: a swap is made only where letters alone show that the FAQ cannot
answer, so it makes few rather than doubtful ones. `bench/near_miss.py` prints a sample.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from ..recall import Index, normalise
from ..records import Faq, Pair
from .likeness import NEAR, key, pairwise, shuffled
from .material import Group, Side, groups, side_of_place

_YEAR = re.compile(
    r"(?<![\d$.-])(?:20[0-3]\d(?![\d,.%]|\s*(?:元|塊|块|點|点|分|人|公|件|個|个|坪|[A-Za-z]{1,3}\b))"
    r"|19\d{2}(?=年)|(?:9\d|1[0-3]\d)(?=年))"
)
_WEEKDAY = re.compile("星期|週|周[一二三四五六日]|禮拜|礼拜")
_EVERY_YEAR = re.compile("每年|历年|历届|逐年|年年|every year|annual")
_ORDINAL = re.compile(
    r"第([一二三四五六七八九十]|\d{1,2})(屆|届|期|梯次|階段|阶段|航廈|航厦|季|代)"
)
_CHINESE = "一二三四五六七八九十"
_CODE = re.compile(r"(?<![A-Za-z0-9.@/-])([A-Z]{1,4}-?)(\d{3,4})(?![\d元天日%.])")
_ALL = re.compile(
    "任何|所有|一律|不限|皆可|均可|都可|其他|其它|以外|除外|除了|各种|不论|无论|仅限|只限|仅接受|"
    "只接受|只提供|仅提供|恕不|不提供|没有提供|无提供|全部|全国|全台|各地|各国|目前仅|目前只|"
    r"\bany\b|\ball\b|\bonly\b|\bother\b|\bevery"
)
"""What makes an answer hold, or deny, for siblings too (Simplified, as `normalise`)."""
_ANYWHERE = re.compile("应变|急救|火灾|地震|灭火|逃生|处置|着火")
"""Advice for emergencies is true everywhere."""
_WHY = re.compile(r"为何|为什么|怎么会|导致|\bwhy\b")
"""A reason often holds for siblings."""
_FACT = re.compile(r"https?://|\d{3,}-\d{3,}|\d{7,}|\d+[/:]\d+|\d+[月年元楼号]")
"""An answer with one of these speaks of one thing, not of things in general."""


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A question that the FAQ does not answer, beside the one that it does."""

    question: str
    pair: Pair
    old: str
    new: str
    how: str
    """Which kind of word was changed, e.g. `year`."""


@dataclass(frozen=True, slots=True)
class _Swap:
    text: str
    old: str
    new: str
    how: str
    spellings: tuple[str, ...]
    """All ways to write the new word: none of them may stand in the FAQ."""
    covers: tuple[str, ...] = ()
    strict: bool = True
    rivals: tuple[str, ...] = ()
    """The other members: an answer that lists them is a closed list."""


def near_misses(faq: Faq, side: Side, seed: int, index: Index | None = None) -> list[NearMiss]:
    """The fair near-misses of an FAQ for one side, at most two a pair, in an order set by `seed`.

    The sides use different new words: the exam never asks about a year, place or product
    that training handed over. A word is new only when it stands nowhere in the FAQ.
    """
    library = _Library(faq, index or Index(faq))
    simplified = 2 * sum(written_simplified(p.question) for p in faq.pairs) > len(faq.pairs)
    made: dict[str, NearMiss] = {}
    for pair in faq.pairs:
        options = [(q, swap) for q in pair.phrasings for swap in _swaps(q, side, simplified)]
        taken: list[NearMiss] = []
        for question, swap in shuffled(options, lambda o: o[1].text, seed, side):
            if len(taken) == 2:
                break
            if any(swap.how == t.how for t in taken) or swap.text in made:
                continue
            if library.cannot_answer(pair, question, swap):
                taken.append(NearMiss(swap.text, pair, swap.old, swap.new, swap.how))
        made.update((t.question, t) for t in taken)
    return shuffled(made.values(), lambda m: m.question, seed, side)


class _Library:
    """All the FAQ's text, to see whether it can answer a changed question."""

    def __init__(self, faq: Faq, index: Index) -> None:
        self._index = index
        self._pairs = faq.pairs
        rows = (*faq.pairs, *faq.incomplete)
        self._text = normalise("\n".join(t for p in rows for t in (*p.phrasings, p.answer)))
        self._phrasings = [(normalise(t), p) for p in faq.pairs for t in p.phrasings]
        self._keys = [key(t) for p in faq.pairs for t in p.phrasings]

    def cannot_answer(self, pair: Pair, question: str, swap: _Swap) -> bool:
        """Whether letters alone show that no row answers the changed question."""
        answer = normalise(pair.answer)
        old = normalise(swap.old)
        asked = normalise(question)
        if any(word in self._text for word in map(normalise, swap.spellings)):
            return False
        if asked.count("?") > 2:
            return False  # with the first part changed, another part may still be answered
        if _ANYWHERE.search(asked) or (swap.strict and _WHY.search(asked)):
            return False
        if old not in answer and not _FACT.search(answer):
            return False  # a general answer, true of the new word as well
        if swap.how == "year" and _EVERY_YEAR.search(answer + asked):
            return False
        covers = tuple(map(normalise, swap.covers))
        about = asked.replace(old, "") + answer
        if any(word in about for word in covers):
            return False
        if swap.strict:
            if _ALL.search(answer) or any(word in answer for word in map(normalise, swap.rivals)):
                return False
            for hit in self._index.search(swap.text, 3):
                row = self._pairs[hit.pair]
                if any(w in normalise(row.question + row.answer) for w in covers):
                    return False
        return not self._asked_elsewhere(pair, question, swap)

    def _asked_elsewhere(self, pair: Pair, question: str, swap: _Swap) -> bool:
        """Another row asks the same without the word that was changed, or the changed text."""
        asked = (key(question.replace(swap.old, "")), key(swap.text))
        old = normalise(swap.old)
        for likenesses, limit in zip(pairwise(asked, self._keys), (NEAR, 0.9), strict=True):
            for place in (likenesses >= limit * 100).nonzero()[0]:
                text, owner = self._phrasings[place]
                if owner is not pair and old not in text:
                    return True
        return False


def _swaps(question: str, side: Side, simplified: bool) -> Iterator[_Swap]:
    yield from _years(question, side)
    yield from _ordinals(question, side)
    yield from _codes(question, side)
    for group in groups():
        yield from _siblings(question, side, group, simplified)


def _years(question: str, side: Side) -> Iterator[_Swap]:
    found = {m.group() for m in _YEAR.finditer(question)}
    if len(found) != 1 or _WEEKDAY.search(question):
        return  # two years in one question: changing one of them makes little sense
    old = found.pop()
    for step in (-3, -2, -1, 1, 2, 3, 4):
        new = int(old) + step
        western = new if len(old) == 4 else new + 1911
        if side_of_place(western) == side:
            spellings = (str(western), f"{western - 1911}年", f"{western - 1911}學年")
            text = _YEAR.sub(str(new), question)
            yield _Swap(text, old, str(new), "year", spellings, strict=False)


def _ordinals(question: str, side: Side) -> Iterator[_Swap]:
    found = list(_ORDINAL.finditer(question))
    if len(found) != 1:
        return
    old, (number, unit) = found[0].group(), found[0].groups()
    value = _CHINESE.index(number) + 1 if number in _CHINESE else int(number)
    for new in range(value + 2, value + 6):
        if side_of_place(new) == side and (number not in _CHINESE or new <= 10):
            spellings = tuple(f"第{n}{unit}" for n in (new, *_CHINESE[new - 1 : new]))
            written = spellings[-1] if number in _CHINESE else spellings[0]
            yield _Swap(question.replace(old, written), old, written, "ordinal", spellings)


def _codes(question: str, side: Side) -> Iterator[_Swap]:
    found = list(_CODE.finditer(question))
    if len(found) != 1:
        return
    old, (letters, digits) = found[0].group(), found[0].groups()
    for step in (10, 20, 30, 50, 70):
        new = f"{letters}{int(digits) + step}"
        if side_of_place(int(digits) // 10 + step // 10) == side and len(new) == len(old):
            yield _Swap(question.replace(old, new), old, new, "code", (new,))


def _siblings(question: str, side: Side, group: Group, simplified: bool) -> Iterator[_Swap]:
    if not _any_of(group).search(question):
        return  # the quick way out: most questions hold no member
    present = {
        place: max(found, key=len)
        for place, member in enumerate(group.members)
        if (found := [s for s in _spellings(member) if _stands_in(s, question)])
    }
    if len(present) != 1:
        return  # none, or siblings side by side: a list, not a choice
    here, old = present.popitem()
    if not re.search(group.only_with, question):
        return
    if group.not_with and re.search(group.not_with, question.replace(old, "")):
        return
    for match in re.finditer(re.escape(old), question):
        before, after = question[: match.start()], question[match.end() :]
        if group.not_before and re.match(group.not_before, after):
            return
        if group.not_after and re.search(f"(?:{group.not_after})$", before):
            return
        if not re.search(f"(?:{group.only_after})$", before):
            return
    others = (m for i, m in enumerate(group.members) if i != here)
    rivals = tuple(s for member in others for s in member)
    for place, member in enumerate(group.members):
        if place != here and side_of_place(place) == side:
            new = member[0].replace("台", "臺") if "臺" in old else member[0]
            if simplified:
                new = normalise(new)
            text = question.replace(old, new)
            yield _Swap(text, old, new, group.name, member, group.covers, group.strict, rivals)


@cache
def _any_of(group: Group) -> re.Pattern[str]:
    words = {re.escape(s) for member in group.members for s in _spellings(member)}
    return re.compile("|".join(sorted(words)))


def _stands_in(word: str, question: str) -> bool:
    if not word.isascii():
        return word in question
    # `Visa` is no card in `eVisa`.
    return bool(re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", question))


def written_simplified(text: str) -> bool:
    """Whether the text could be Simplified Chinese: no character changes on the way there."""
    return set(re.findall(r"[\u4e00-\u9fff]", text)) <= set(normalise(text))


@cache
def _spellings(member: tuple[str, ...]) -> frozenset[str]:
    """A member as it may stand in a file: in both scripts, with 台 or 臺."""
    both = {*member, *(s.replace("台", "臺") for s in member)}
    return frozenset(both | {normalise(s) for s in member if not s.isascii()})
