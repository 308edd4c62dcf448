"""Whether a wording may stand for its row: facts kept, none added, no nearer to another row.

Compares letters only: two rows that differ in meaning alone look the same from here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from ..recall import Index, Tfidf, normalise
from ..records import Faq, Pair

MARGIN = 0.02
"""A wording must lie at least this much nearer to its own row than to any other."""
DOUBT = 0.1
"""Within this margin of the quick comparison the index itself decides. Of 2,100 wordings of
real rows the two never disagreed beyond 0.1."""
STRANGE = 0.5
"""A scene shares few letters with its own row; with another row it may share this much."""

_BESIDE = re.compile(r"[\W_]+")
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_LATIN = re.compile(r"[a-z][a-z0-9]*", re.I)
_QUOTED = re.compile(r"[「『《〈“【]([^」』》〉”】]{1,40})[」』》〉”】]")
_COUNTED = re.compile(
    r"[一二三四五六七八九十百千萬兩半]+(?:個月|小時|分鐘|公斤|公分|週|周|天|日|月|年|元|件|歲|樓|折|點|人|萬)"
)
_PLACES = re.compile(
    "臺灣|台灣|臺北|台北|新北|桃園|新竹|苗栗|臺中|台中|彰化|南投|雲林|嘉義|臺南|台南|高雄|屏東|宜蘭|花蓮|"
    "臺東|台東|基隆|澎湖|金門|馬祖|蘭嶼|綠島|小琉球|離島|外島|香港|澳門|大陸|日本|韓國|美國|新加坡|"
    "馬來西亞"
)
_NAMED = re.compile(
    r"(?:[^\W\d_a-z]{2,3}(?:縣|區|鄉|鎮|路|街|站|島|橋|國小|國中|大學|醫院|夜市|公園|博物館|美術館))"
)
_GENERIC = re.compile(
    r"[的是在到去要有可想個了哪這那各本該何於與和及或請問]|地區|車站|網站|捷運站|校區|網路|道路|馬路|線路"
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a wording of one row may not lose, and which numbers it may use; normalised."""

    kept: tuple[str, ...]
    numbers: frozenset[str]


def key(text: str) -> str:
    """The letters of a text that count when two wordings are compared."""
    return _BESIDE.sub("", normalise(text))


def facts_of(pair: Pair) -> Facts:
    """The numbers, names, quoted words and places of a row's question."""
    text = unicodedata.normalize("NFKC", pair.question)
    kept = [*_NUMBER.findall(text), *_COUNTED.findall(text), *_PLACES.findall(text)]
    kept += [part for quoted in _QUOTED.findall(text) for part in (quoted,)]
    kept += [name for name in _NAMED.findall(text) if not _GENERIC.search(name)]
    if is_chinese(text):
        kept += _LATIN.findall(text)
    else:  # in English every word is Latin: the names are those with a capital inside a sentence
        kept += re.findall(r"(?<=[a-z,] )(?!I\b)[A-Z]\w+", text)
    numbers = {n for source in (*pair.phrasings, pair.answer) for n in digits(source)}
    return Facts(tuple(dict.fromkeys(key(k) for k in kept if key(k))), frozenset(numbers))


def digits(text: str) -> list[str]:
    """The runs of digits of a text, in one width."""
    return re.findall(r"\d+", unicodedata.normalize("NFKC", text))


@lru_cache(maxsize=4096)
def is_chinese(text: str) -> bool:
    """Whether at least a fifth of the letters are Chinese ones."""
    han = sum("\u3400" <= c <= "\u9fff" for c in text)
    return han > 0 and han * 4 >= sum(c.isascii() and c.isalpha() for c in text)


class Checker:
    """Holds an FAQ and says which wordings may stand for which row."""

    def __init__(self, faq: Faq) -> None:
        self.pairs = faq.pairs
        self.facts = [facts_of(pair) for pair in faq.pairs]
        self.taken: dict[str, int] = {}
        """Letters of every phrasing of the FAQ -> the row that it belongs to."""
        for i, pair in enumerate(faq.pairs):
            for text in pair.phrasings:
                self.taken.setdefault(key(text), i)
        self._index = Index(faq, answer_weight=0)
        self._quick = _Quick(faq.pairs)

    def keeps(self, i: int, wording: str) -> bool:
        """Whether the wording keeps the row's facts and brings no number of its own."""
        letters = key(wording)
        if not letters or letters in self.taken:
            return False
        facts = self.facts[i]
        return all(fact in letters for fact in facts.kept) and all(
            number in facts.numbers for number in digits(wording)
        )

    def own(self, wordings: Sequence[tuple[int, str, bool]]) -> list[bool]:
        """For each (row, wording, is it a scene): is it its own row's and no other's?"""
        texts = [text for _, text, _ in wordings]
        verdicts: list[bool] = []
        doubtful: list[int] = []
        for place, (mine, other) in enumerate(self._quick.compare(wordings)):
            scene = wordings[place][2]
            verdicts.append(mine - other >= DOUBT)
            if abs(mine - other) < DOUBT or (scene and mine - other < DOUBT):
                doubtful.append(place)
        hits = self._index.search_all([texts[place] for place in doubtful], 4)
        for place, found in zip(doubtful, hits, strict=True):
            i, _, scene = wordings[place]
            same = self.pairs[i].answer
            mine = next((hit.score for hit in found if hit.pair == i), 0.0)
            other = next((hit.score for hit in found if self.pairs[hit.pair].answer != same), 0.0)
            verdicts[place] = mine - other >= MARGIN or (scene and other < STRANGE)
        return verdicts


_RUN = re.compile(r"[a-z0-9]+|[^\W_a-z0-9]+")
_FRAME = re.compile(
    "麻烦|请问|可不可以|可以|能不能|什么时候|时候|什么|怎么|怎样|如何|是否|有没有|是不是|你们|我们|我的|"
    "哪里|哪些|多久|多少|一下|需要|应该|为何|为什么|之后|[我你您的了吗呢吧啊哪几要想是有会在就都也还很不没"
    "跟和与及或以用到来去过给把被让好请]"
)
"""Words that a Chinese question holds whatever it is about, in Simplified."""


def _grams(text: str) -> list[str]:
    """Letters and neighbouring two, Latin words and their threes; what a question is about
    counts three times."""
    text = normalise(text)
    return [*_cut(text), *_cut(_FRAME.sub(" ", text)) * 2]


def _cut(text: str) -> list[str]:
    found: list[str] = []
    for run in _RUN.findall(text):
        if run.isascii():
            found += [run, *(run[i : i + 3] for i in range(len(run) - 2))]
        else:
            found += [*run, *map("".join, pairwise(run))]
    return found


class _Quick:
    """The best likeness to a row's own phrasings and to the other rows', in one product.

    Nearly what `recall` measures, without its list of hits: 15 times as fast for thousands of
    wordings, so that only close calls go there.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        import numpy

        self._numpy: Any = numpy
        texts = [text for pair in pairs for text in pair.phrasings]
        owner = [i for i, pair in enumerate(pairs) for _ in pair.phrasings]
        answers: dict[str, int] = {}
        same = [answers.setdefault(pair.answer, i) for i, pair in enumerate(pairs)]
        self._group = numpy.array([same[i] for i in owner])
        self._same = same
        self._tfidf = Tfidf(_grams, texts) if any(map(key, texts)) else None
        self._phrasings = self._tfidf.vectors(texts).T if self._tfidf else None

    def compare(self, wordings: Sequence[tuple[int, str, bool]]) -> list[tuple[float, float]]:
        if self._tfidf is None:
            return [(0.0, 0.0)] * len(wordings)
        numpy = self._numpy
        found: list[tuple[float, float]] = []
        for start in range(0, len(wordings), 256):  # bounds the dense block of likenesses
            part = wordings[start : start + 256]
            asked = self._tfidf.vectors([text for _, text, _ in part])
            likeness = (asked @ self._phrasings).toarray()
            mine = numpy.array([self._same[i] for i, _, _ in part])[:, None] == self._group
            own = numpy.where(mine, likeness, 0.0).max(axis=1)
            other = numpy.where(mine, 0.0, likeness).max(axis=1)
            found.extend(zip(own.tolist(), other.tolist(), strict=True))
        return found
