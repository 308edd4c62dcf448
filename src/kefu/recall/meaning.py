"""The nearest rows by meaning, where somebody has a model that turns texts into vectors.

Knows no model: it is handed a callable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..records import Faq
from .index import Hit

Encode = Callable[[Sequence[str]], Any]
"""Texts -> a matrix (texts, d) of unit length in float32."""


class MeaningIndex:
    """Every phrasing of every pair by its vector. A pair counts by its best phrasing (cosine)."""

    def __init__(self, faq: Faq, encode: Encode) -> None:
        self.pairs, self._encode = faq.pairs, encode
        self._texts = [text for pair in faq.pairs for text in pair.phrasings]
        self._owner = [i for i, pair in enumerate(faq.pairs) for _ in pair.phrasings]
        self._vectors = encode(self._texts)

    def search_all(self, questions: Sequence[str], k: int = 5) -> list[tuple[Hit, ...]]:
        """The `k` rows nearest to each question, nearest first."""
        if not questions:
            return []
        return [self._best(row, k) for row in self._encode(questions) @ self._vectors.T]

    def _best(self, likeness: Any, k: int) -> tuple[Hit, ...]:
        found: dict[int, Hit] = {}
        for place in likeness.argsort()[::-1]:
            pair = self._owner[place]
            if pair not in found:
                score = float(likeness[place])
                found[pair] = Hit(pair, self.pairs[pair].question, score, self._texts[place])
            if len(found) == k:
                break
        return tuple(found.values())
