"""The exam questions that a run missed, each with what the bot had in mind.

Judges nothing: which cause is behind a miss is the business of `advice`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ..recall import normalise
from ..records import Example, Finding, Pair, Verdict
from .nouns import Evidence

ANSWERABLE = 0.75
"""Of the questions that customers ask, how many the FAQ answers: the threshold is set under the
same assumption (bot/calibration.py)."""
ALIKE = 0.6
"""Questions with so large a share of letters in common, in order, are near rows."""
JOINED = ("near-duplicate", "look-alike")
"""Findings of `check` that say of rows that they are hard to tell apart."""


@dataclass(frozen=True, slots=True)
class Miss:
    """A question that was not marked right."""

    verdict: Verdict
    row: Pair | None
    """The row that answers it, where one does."""
    meant: Pair | None
    """The row whose answer was given or, handed over, came first; None where that is unknown."""

    @property
    def handed_over(self) -> bool:
        return self.verdict.mark.handed_over

    @property
    def first(self) -> bool:
        """Whether the right answer came first in the bot's mind."""
        return bool(self.row and self.meant and self.row.answer == self.meant.answer)


class Seen:
    """The evidence, in the forms that are asked for again and again.

    `own` counts for each row its trained wordings, the question among them, without those made by
    rules; `made` counts these.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.of = evidence
        self._by_question = {p.question: p for p in reversed(self.of.pairs)}
        self._by_answer = {_bare(p.answer): p for p in reversed(self.of.pairs)}
        self._by_origin = {p.origin: p for p in self.of.pairs}
        self.own, self.made = counted(self.of.examples)
        self.misses = [
            Miss(v, self._row(v), self._meant(v))
            for v in self.of.report.verdicts
            if not v.mark.right
        ]

    def _row(self, verdict: Verdict) -> Pair | None:
        if verdict.asked.answer is None:
            return None  # what lies near a row has a source too, and no row that answers it
        found = self._by_question.get(verdict.asked.source or "")
        return found or self._by_answer.get(_bare(verdict.asked.answer))

    def _meant(self, verdict: Verdict) -> Pair | None:
        reply = verdict.reply
        if verdict.mark.handed_over:
            return self._by_question.get(reply.offered[0]) if reply.offered else None
        if reply.source is not None:
            return self._by_question.get(reply.source)
        return self._by_answer.get(_bare(reply.text))

    def rows_of(self, finding: Finding) -> list[Pair]:
        """The rows that a finding names."""
        return [self._by_origin[o] for o in finding.origins if o in self._by_origin]

    def in_mind(self, miss: Miss) -> list[Pair]:
        """All rows that the bot had in mind: what it answered with, or what it offered."""
        offered = [self._by_question.get(text) for text in miss.verdict.reply.offered]
        return [p for p in (miss.meant, *offered) if p is not None]

    def near(self, one: Pair, other: Pair) -> bool:
        """Whether two rows are hard to tell apart by their words."""
        joined = (self.rows_of(f) for f in self.of.findings if f.code in JOINED)
        if any(one in rows and other in rows for rows in joined):
            return True
        return likeness(one.question, other.question) >= ALIKE

    def lowest_sound(self, allowed: float) -> float:
        """The lowest threshold at which a share `allowed` of the exam's answers is wrong at most.

        Questions weigh as in setting the threshold. inf where there is none.
        """
        counted = []
        verdicts = self.of.report.verdicts
        answerable = sum(v.asked.answer is not None for v in verdicts)
        weights = (
            ANSWERABLE / max(1, answerable),
            (1 - ANSWERABLE) / max(1, len(verdicts) - answerable),
        )
        for v in verdicts:
            right = v.mark.right and not v.mark.handed_over
            if v.mark.handed_over and v.asked.answer is not None:
                meant = self._meant(v)
                right = meant is not None and meant.answer == v.asked.answer
            counted.append((v.reply.confidence, right, weights[v.asked.answer is None]))
        counted.sort(key=lambda c: -c[0])
        answered = wrong = 0.0
        lowest = float("inf")
        for number, (confidence, right, weight) in enumerate(counted, start=1):
            answered += weight
            wrong += 0.0 if right else weight
            last = number == len(counted) or counted[number][0] < confidence
            if last and wrong <= allowed * answered:
                lowest = confidence
        return lowest


def counted(examples: Sequence[Example]) -> tuple[dict[str, int], dict[str, int]]:
    """For each row the trained wordings that its owner wrote, and those that rules made."""
    own: dict[str, set[str]] = defaultdict(set)
    made: dict[str, set[str]] = defaultdict(set)
    for row in examples:
        if row.wording and row.source is not None:
            (made if row.brief else own)[row.source].add(row.question)
    return {k: len(v) for k, v in own.items()}, {k: len(v) for k, v in made.items()}


def likeness(one: str, other: str) -> float:
    """Of two questions, the share of letters that they have in common in order, 0 to 1."""
    from rapidfuzz.fuzz import ratio

    return float(ratio(_bare(one), _bare(other))) / 100


def _bare(text: str) -> str:
    return "".join(c for c in normalise(text) if c.isalnum())
