"""When two questions count as the same question, and which group together.

Looks at letters, not at meaning: 運費多少 and 郵資幾元 are strangers here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from rapidfuzz.fuzz import ratio
from rapidfuzz.process import cdist

from ..recall import normalise

T = TypeVar("T")

NEAR = 0.8
"""Questions at least this alike are near-identical and stay on one side of a split."""
_MANNERS = re.compile(
    r"请问一?下?|想问一?下?|您好|你好|谢谢|麻烦|[吗呢啊吧哦喔耶欸呀嘛]|\bplease\b|\bhello\b|\bhi\b"
)
_BESIDE = re.compile(r"[\W_]+")


def key(question: str) -> str:
    """The letters of a question that count: normalised, without manners and punctuation."""
    text = normalise(question)
    return _BESIDE.sub("", _MANNERS.sub("", text)) or _BESIDE.sub("", text) or text


def highest(asked: Sequence[str], against: Sequence[str]) -> list[float]:
    """For each text of `asked`, its likeness to the nearest text of `against` (0 if none)."""
    if not asked or not against:
        return [0.0] * len(asked)
    keys = [key(t) for t in against]
    return [float(row.max()) / 100 for row in pairwise([key(t) for t in asked], keys)]


def apart(texts: Sequence[str], others: Sequence[str]) -> frozenset[str]:
    """Those of `texts` that are near-identical to none of `others`."""
    near = zip(texts, highest(texts, others), strict=True)
    return frozenset(text for text, likeness in near if likeness < NEAR)


def families(texts: Sequence[str]) -> list[int]:
    """A group number for every text; near-identical ones, directly or by a chain, share it."""
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    keys = [key(t) for t in texts]
    for i, row in enumerate(pairwise(keys, keys)):
        for j in (row >= NEAR * 100).nonzero()[0]:
            if j < i:
                parent[root(i)] = root(int(j))
    return [root(i) for i in range(len(texts))]


def pairwise(asked: Sequence[str], against: Sequence[str]) -> Iterator[Any]:
    """For each key of `asked` an array: its likeness (0 to 100) to every key of `against`.

    Likeness is twice the longest common subsequence over both lengths; below 30 counts as 0.
    """
    for start in range(0, len(asked), 512):  # bounds the memory: 512 rows of floats at once
        yield from cdist(asked[start : start + 512], against, scorer=ratio, score_cutoff=30)


def fraction(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone: the same on every machine, for ever."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:7]) / 2**56


def shuffled(items: Iterable[T], by: Callable[[T], str], *salt: object) -> list[T]:
    """The items in an order that looks random and depends on each item alone.

    Unlike a shuffle from one random stream, adding a row to the FAQ leaves the others
    where they were, so that two versions of an FAQ are asked nearly the same exam.
    """
    return sorted(items, key=lambda item: (fraction(*salt, by(item)), by(item)))
