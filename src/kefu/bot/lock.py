"""What text of the model's own may be shown in `locked` and in `free`.

In `locked` the row that is meant is chosen as in `verbatim`; the text is held against that row by
what marks exams, and must have exactly its facts. So a text that an exam would mark wrong is not
shown, and what the marks cannot see (score/marking.py says what) is not seen here either. In `free`
no row is meant, and each fact must stand somewhere in the FAQ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..records import ExamQuestion, Faq, Pair, Reply
from ..score import FactFilter, Marker, facts


class Lock:
    """The facts of some rows, worked out once, to hold any number of texts against."""

    def __init__(self, pairs: Sequence[Pair], hand_over: str) -> None:
        self._marker = Marker(Faq(tuple(pairs), ()))
        self.filter = FactFilter(self._marker, hand_over)
        self._due: dict[str, frozenset[str]] = {}

    def holds(self, answer: str) -> bool:
        """Whether the answer has facts: text without any gives nothing to hold against."""
        return bool(self._facts(answer))

    def sound(self, reply: Reply, question: str, answer: str) -> bool:
        """Whether the reply, whole and no hand-over, says to the row's `question` what the row's
        `answer` says."""
        asked = ExamQuestion(question, "known", answer, source=question)
        said = facts(reply.text, self._marker.names)
        return said == self._facts(answer) and self._marker.mark(asked, reply).right

    def free(self, reply: Reply) -> Reply:
        """The reply, or the hand-over where it has a fact that stands nowhere in these rows."""
        foreign = self.filter.foreign(reply.text)
        if not foreign:
            return reply
        note = f"not in the FAQ: {', '.join(sorted(foreign))}"
        return replace(reply, text=self.filter.instead, handed_over=True, note=note)

    def _facts(self, answer: str) -> frozenset[str]:
        if answer not in self._due:
            self._due[answer] = facts(answer, self._marker.names)
        return self._due[answer]
