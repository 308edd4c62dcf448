"""A lexical index of an FAQ: TF-IDF over characters and words, cosine similarity.

Knows nothing of meaning: 運費 and 郵資 have nothing in common here. Holds the whole FAQ
in memory (a 1,500-row FAQ with 4 wordings each takes some 20 MB) and never writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..records import Faq, Pair
from .text import terms
from .tfidf import Tfidf

ANSWER_WEIGHT = 1.0
"""How much likeness to the answer counts beside likeness to the wording (1). See
bench/recall.py, which prints the figures for other weights."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One row that a search found."""

    pair: int
    """Position of the row in the FAQ, from 0."""
    question: str
    """The row's own question, whichever of its wordings matched."""
    score: float
    """Likeness, 0 (nothing in common) to 1 (the same words)."""
    wording: str = ""
    """The wording of the row that matched best."""


class Index:
    """Every phrasing of every pair, searchable. A pair counts by its best phrasing.

    Method: TF-IDF (Salton & Buckley 1988) on one and two neighbouring characters and on
    Latin words, what a question is about counting more than how it is put; cosine
    similarity. The answer lifts what the wording leaves open: score = phrasing + w x answer
    x (1 - phrasing) with w = `answer_weight`, so that 1 stays "the same words".
    """

    def __init__(self, faq: Faq | Sequence[Pair], *, answer_weight: float = ANSWER_WEIGHT) -> None:
        self.pairs: tuple[Pair, ...] = faq.pairs if isinstance(faq, Faq) else tuple(faq)
        self._weight = answer_weight
        self._texts = [text for pair in self.pairs for text in pair.phrasings]
        self._owner = [i for i, pair in enumerate(self.pairs) for _ in pair.phrasings]
        self._tfidf: Tfidf | None = None
        self._phrasings: Any = None
        self._answers: Any = None
        if any(True for text in self._texts for _ in terms(text)):
            self._fit()

    def _fit(self) -> None:
        answers = [pair.answer for pair in self.pairs] if self._weight else []
        self._tfidf = Tfidf(terms, self._texts + answers)
        self._answers = self._tfidf.vectors(answers) if self._weight else None
        self._phrasings = self._tfidf.vectors(self._texts)

    def __len__(self) -> int:
        return len(self.pairs)

    def search(self, question: str, k: int = 5) -> tuple[Hit, ...]:
        """The `k` rows nearest to `question`, nearest first; rows without likeness left out."""
        return self.search_all([question], k)[0]

    def search_all(
        self, questions: Sequence[str], k: int = 5, *, itself: bool = True
    ) -> list[tuple[Hit, ...]]:
        """`search` for many questions in one go; one tuple a question, in their order. Without
        `itself` the phrasings that are the very question do not count: what it finds as a new one.
        """
        if self._tfidf is None or not questions:
            return [() for _ in questions]
        found: list[tuple[Hit, ...]] = []
        for start in range(0, len(questions), 256):  # bounds the dense block of likenesses
            asked = self._tfidf.vectors(questions[start : start + 256])
            by_text = (asked @ self._phrasings.T).toarray()
            by_answer = (asked @ self._answers.T).toarray() if self._weight else None
            for row, likeness in enumerate(by_text):
                if not itself:
                    likeness[[text == questions[start + row] for text in self._texts]] = 0.0
                found.append(self._best(likeness, None if by_answer is None else by_answer[row], k))
        return found

    def _best(self, likeness: Any, answers: Any, k: int) -> tuple[Hit, ...]:
        best: dict[int, tuple[float, str]] = {}
        for place in likeness.nonzero()[0]:
            owner, score = self._owner[place], float(likeness[place])
            if score > best.get(owner, (0.0, ""))[0]:
                best[owner] = (score, self._texts[place])
        if answers is not None:
            for owner in answers.nonzero()[0]:
                best.setdefault(int(owner), (0.0, self.pairs[owner].question))
        hits = []
        for owner, (score, wording) in best.items():
            if answers is not None:
                score += self._weight * float(answers[owner]) * (1 - score)
            hits.append(Hit(owner, self.pairs[owner].question, min(1.0, score), wording))
        hits.sort(key=lambda hit: (-hit.score, hit.pair))
        return tuple(hits[:k])
