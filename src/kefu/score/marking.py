"""Marks one answer against the FAQ: its facts as sets, then what it claims, then its text.

No model is asked. What it cannot see: a claim that is turned round in words that stand in none of
the lists (see `lexicon`), and an answer that is right but put in quite other words, which it marks
wrong. Knows nothing of whole exams (see `examining` and `reporting`).
"""

from __future__ import annotations

import re

from ..records import ExamQuestion, Faq, Mark, Reply
from .agreement import Agreement, agree
from .extraction import facts
from .folding import fold
from .listing import names_of
from .wording import stated, wording

THRESHOLD = 0.41
"""Of the agreement, from which texts say the same. `python bench/marking.py` fits it on one half
of data/marked.jsonl and prints how often mark and hand agree on the other half."""
HALF = 3.0
"""So much content too little or too much in one clause halves the agreement."""
SEEN = 20_000
"""Characters of a reply that are looked at; what follows cannot make it right."""


class Marker:
    """The facts of one FAQ, worked out once, to mark any number of answers against."""

    def __init__(self, faq: Faq) -> None:
        self.names = names_of(faq)
        self._asked: dict[str, set[str]] = {}
        known: set[str] = set()
        for pair in faq.pairs:
            asked = facts(pair.question, self.names)
            self._asked.setdefault(pair.answer, set()).update(asked)
            known |= asked | facts(pair.answer, self.names)
        self._known = frozenset(known)

    def foreign(self, text: str) -> frozenset[str]:
        """The facts of a text that stand nowhere in the FAQ."""
        return facts(text[:SEEN], self.names) - self._known

    def mark(self, asked: ExamQuestion, reply: Reply) -> Mark:
        """What is right and wrong with one answer."""
        if reply.handed_over:
            right = asked.answer is None
            because = "" if right else "handed over what the FAQ answers"
            return Mark(right, True, because=because)
        said = facts(reply.text[:SEEN], self.names)
        due = facts(asked.answer or "", self.names)
        beside = said - due - self._asked.get(asked.answer or "", set())
        beside -= facts(asked.source or "", self.names)
        agreement, because = 0.0, "answered what it should have handed over"
        if asked.answer is not None:
            agreement, because = self._compared(reply.text, asked.answer, asked.question)
        missing, invented = due - said, beside - self._known
        misplaced = beside & self._known
        if not reply.stopped:
            because = "cut off before its end"
        if asked.answer is not None and reply.text.strip():
            because = "facts missing" if missing else because
            because = "facts of another answer" if misplaced else because
        because = "facts invented" if invented else because
        if asked.must_not is not None and self._gives(reply.text, asked.must_not, said):
            because = "gives the answer that must not be given"
        return Mark(
            right=not because,
            handed_over=False,
            facts_right=tuple(sorted(due & said)),
            facts_missing=tuple(sorted(missing)),
            facts_invented=tuple(sorted(invented)),
            facts_misplaced=tuple(sorted(misplaced)),
            agreement=agreement,
            because=because,
        )

    def _gives(self, text: str, answer: str, said: frozenset[str]) -> bool:
        """Whether a text gives an answer: its facts and its words."""
        return facts(answer, self.names) <= said and not self._compared(text, answer)[1]

    def _compared(self, text: str, answer: str, question: str = "") -> tuple[float, str]:
        """Agreement of two texts, 0 to 1, and why they do not say the same, or nothing."""
        one, other = _letters(text), _letters(answer)
        if one == other and text.strip():
            return 1.0, ""
        if not one:
            return 0.0, "empty"
        if len(one) > 4 * len(other) + 400:
            return 0.0, "says much that the FAQ does not"
        if len(one) == len(other) and _DIGIT.sub("0", one) == _DIGIT.sub("0", other):
            return 1.0, "a digit differs"
        found = agree(wording(text, self.names), wording(answer, self.names), stated(question))
        score = agreement(found)
        if found.contradiction:
            return score, f"contradicts the FAQ: {found.contradiction}"
        if score >= THRESHOLD:
            return score, ""
        more = found.added > found.lacking
        return score, "says what the FAQ does not" if more else "leaves out what the FAQ says"


def agreement(found: Agreement) -> float:
    """One figure, 0 to 1: the share of content that both texts have, halved for every `HALF`
    characters (or words) that the worst clause lacks or adds."""
    worst = max(found.lacking, found.added)
    return min(found.covered, found.supported) * float(0.5 ** (worst / HALF))


_DIGIT = re.compile(r"\d")
_BETWEEN = re.compile(r"[^\w%°+/@#$€£¥<>=~.:-]+|[.:-](?=\s|$)")


def _letters(text: str) -> str:
    """A text without spaces, punctuation and width: what is the same in this says the same."""
    return _BETWEEN.sub("", fold(text).text)
