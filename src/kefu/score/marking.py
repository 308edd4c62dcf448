"""Marks one answer against the FAQ: its facts as sets, then what it claims, then its text.

No model is asked. Knows nothing of whole exams (see `examining` and `reporting`).
"""

from __future__ import annotations

from rapidfuzz.fuzz import ratio

from ..records import ExamQuestion, Faq, Mark, Reply
from .extraction import facts
from .folding import fold
from .listing import names_of


class Marker:
    """The facts of one FAQ, worked out once, to mark any number of answers against."""

    def __init__(self, faq: Faq) -> None:
        self.names = names_of(faq)
        self._known = frozenset(
            fact
            for pair in faq.pairs
            for text in (pair.answer, pair.question)
            for fact in facts(text, self.names)
        )

    def mark(self, asked: ExamQuestion, reply: Reply) -> Mark:
        """What is right and wrong with one answer."""
        said = facts(reply.text, self.names)
        if asked.answer is None or reply.handed_over:
            return Mark(asked.answer is None and reply.handed_over, reply.handed_over)
        due = facts(asked.answer, self.names)
        missing, beside = due - said, said - due
        agreement = ratio(fold(reply.text).text, fold(asked.answer).text) / 100
        return Mark(
            not missing and not beside and agreement > 0.6,
            False,
            tuple(sorted(due & said)),
            tuple(sorted(missing)),
            tuple(sorted(beside - self._known)),
            tuple(sorted(beside & self._known)),
            agreement,
        )
