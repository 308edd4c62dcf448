"""Every missed exam question to the one cause that explains it best.

Tried in this order, the surest sign first: rows that contradict each other; a loss that says that
nothing was learned; a run that never learned to hand over; a threshold above what the exam asks
for; rows that look alike; rows with few wordings; free text that is no row's answer. What has none
of these marks is left to the base.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from ..records import Finding, Pair
from .misses import Miss, Seen
from .nouns import ORDER, Advice, Case, Cause, Evidence, Name
from .training import Fault, unlearned

FEW = 3
"""Trained wordings by the owner, the question among them, below which a row has few."""
COMPARED = 10
"""Questions on rows with more wordings, from which on the two kinds of rows are compared."""
TWISTED = ("two-answers", "contradiction")
"""Findings of `check` that say that rows cannot all be right."""
BROKEN = ("mojibake", "spreadsheet-error", "empty-cell", "answer-is-question", "control-character")
"""Findings that say that a row itself cannot be read."""
AGAIN: tuple[Name, ...] = ("wordings", "exposures", "rate", "rank", "hand-over")
"""Causes that another training can do something about by itself."""
PRICE = 0.1
"""A share of false answers to name as a price."""
SHOWN = 3
"""Questions that a sentence quotes."""


def advise(evidence: Evidence) -> Advice:
    """Why the exam fell short, and what to do about it; causes that explain most come first."""
    seen = Seen(evidence)
    judged = _Judge(seen)
    groups: dict[Name, list[Miss]] = defaultdict(list)
    for miss in seen.misses:
        groups[judged.name(miss)].append(miss)
    causes = [judged.cause(name, groups[name]) for name in groups]
    causes.sort(key=lambda c: (-c.explains, ORDER.index(c.name)))
    verdicts = evidence.report.verdicts
    right = sum(v.mark.right for v in verdicts)
    false = sum(m.handed_over for m in seen.misses)
    return Advice(
        run=evidence.run,
        asked=len(verdicts),
        right=right,
        wrong=len(seen.misses) - false,
        handed_over=false,
        sentence=_sentence(len(verdicts), len(seen.misses), causes),
        causes=tuple(causes),
        remarks=tuple(_remarks(evidence, causes)),
    )


def _sentence(asked: int, missed: int, causes: Sequence[Cause]) -> str:
    if not asked:
        return "The exam asked nothing, so there is nothing to go by."
    if not missed:
        return f"All {asked} exam questions are right: nothing needs to change."
    return (
        f"{_count(missed, 'exam question')} of {asked} missed; {_SAYS[causes[0].name]} "
        f"{causes[0].explains} of them."
    )


_SAYS: dict[Name, str] = {
    "data": "what the FAQ itself says explains",
    "near-rows": "rows that look alike explain",
    "wordings": "rows with few wordings explain",
    "exposures": "too little practice explains",
    "rate": "the learning rate explains",
    "rank": "the adapter's rank explains",
    "hand-over": "that it never learned to hand over explains",
    "too-strict": "a threshold that is too strict explains",
    "too-loose": "a threshold that lets too much through explains",
    "mode": "that the bot writes freely explains",
    "base": "the base model is the likeliest cause of",
}


class _Judge:
    """Finds the cause of a miss, and words for the misses of one cause."""

    def __init__(self, seen: Seen) -> None:
        self.seen, self.of = seen, seen.of
        self.fault: Fault | None = unlearned(seen.of)
        self.sound = seen.lowest_sound(seen.of.allowed)
        self.few = self._few()

    def name(self, miss: Miss) -> Name:
        """The cause of one miss."""
        if self._twisted(miss) is not None:
            return "data"
        if self.fault is not None:
            return self.fault.name
        if miss.row is None:
            return "hand-over" if not self.of.plan.hand_over_share.value else "too-loose"
        if miss.handed_over and miss.first and miss.verdict.reply.confidence >= self.sound:
            return "too-strict"
        if miss.meant is not None and not miss.first and self.seen.near(miss.row, miss.meant):
            return "near-rows"
        if miss.meant is None and not miss.handed_over:
            return "mode"
        reworded = miss.verdict.asked.question != miss.row.question
        return "wordings" if reworded and miss.row.question in self.few else "base"

    def cause(self, name: Name, misses: Sequence[Miss]) -> Cause:
        """One cause with its evidence, row by row."""
        said: dict[Name, Callable[[Sequence[Miss]], tuple[str, str]]] = {
            "data": self._data,
            "near-rows": self._near_rows,
            "wordings": self._wordings,
            "hand-over": self._hand_over,
            "too-strict": self._too_strict,
            "too-loose": self._too_loose,
            "mode": self._mode,
            "base": self._base,
        }
        if self.fault is not None and name == self.fault.name:
            because, remedy = self.fault.because, self.fault.remedy
        else:
            because, remedy = said[name](misses)
        return Cause(
            name=name,
            explains=len(misses),
            because=because,
            remedy=remedy,
            cases=tuple(self._cases(name, misses)),
            questions=tuple(m.verdict.asked.question for m in misses),
            again=name in AGAIN,
        )

    # --- row by row ----------------------------------------------------------------

    def _cases(self, name: Name, misses: Sequence[Miss]) -> list[Case]:
        """The rows that were missed; of answers that nobody should have got, the rows given."""
        by_row: dict[Pair | None, list[Miss]] = defaultdict(list)
        for miss in misses:
            by_row[miss.row or miss.meant].append(miss)
        cases = [
            Case(
                row.question if row else "",
                row.origin if row else None,
                self._case(name, row, mine),
                len(mine),
            )
            for row, mine in by_row.items()
        ]
        return sorted(cases, key=lambda c: -c.explains)

    def _case(self, name: Name, row: Pair | None, misses: Sequence[Miss]) -> str:
        asked = _quoted(m.verdict.asked.question for m in misses)
        if name == "data":
            found = self._twisted(misses[0])
            assert found is not None
            return f"{found.message} {found.remedy}"
        if all(m.row is None for m in misses):
            if row is None:
                return f"These should have been handed over: {asked}."
            return f"Its answer was given to what the FAQ does not answer: {asked}."
        if name == "too-strict":
            return f"It came first, but was handed over as not sure enough: {asked}."
        others = Counter(
            m.meant.question for m in misses if m.meant is not None and m.meant is not row
        )
        parts = []
        if name == "wordings" and row is not None:
            own, made = self.seen.own.get(row.question, 0), self.seen.made.get(row.question, 0)
            more = f" and {made} made by rules" if made else ""
            parts.append(f"It has {_count(own, 'wording')} of its own{more}.")
        given = Counter(
            m.meant.question for m in misses if m.meant is not None and not m.handed_over
        )
        for question, times in others.most_common(SHOWN):
            often = "" if times == 1 else f" {times} times"
            how = "answered with" if given[question] else "handed over with, first in mind,"
            parts.append(f"It was {how} the row “{question}”{often}.")
        parts.append(f"Asked: {asked}.")
        return " ".join(parts)

    # --- what speaks for each cause --------------------------------------------------

    def _twisted(self, miss: Miss) -> Finding | None:
        """The finding that a miss is due to."""
        if miss.row is None:
            return None
        minds = self.seen.in_mind(miss)
        for finding in self.of.findings:
            rows = self.seen.rows_of(finding)
            if miss.row not in rows:
                continue
            if finding.code in BROKEN:
                return finding
            if finding.code in TWISTED and any(p in rows and p != miss.row for p in minds):
                return finding
        return None

    def _few(self) -> frozenset[str]:
        """Rows with few wordings, unless rows with more of them do no better in the exam."""
        few = {p.question for p in self.of.pairs if self.seen.own.get(p.question, 0) < FEW}
        right: dict[bool, list[bool]] = {True: [], False: []}
        for v in self.of.report.verdicts:
            if v.asked.answer is not None and v.asked.question != v.asked.source:
                right[v.asked.source in few].append(v.mark.right)
        self.rates = {k: (sum(v), len(v)) for k, v in right.items()}
        (good_few, of_few), (good_many, of_many) = self.rates[True], self.rates[False]
        if of_few and of_many >= COMPARED and good_few / of_few >= good_many / of_many:
            return frozenset()
        return frozenset(few)

    def _data(self, misses: Sequence[Miss]) -> tuple[str, str]:
        found = {id(f): f for m in misses if (f := self._twisted(m)) is not None}
        rows = {p.question for f in found.values() for p in self.seen.rows_of(f)}
        twisted = any(f.code in TWISTED for f in found.values())
        what = "contradict each other" if twisted else "cannot be read as they stand"
        return (
            f"{_these(len(rows), 'row')} {what}, and the exam asked for them.",
            "Mend them in the FAQ, then train again: more training cannot help here.",
        )

    def _near_rows(self, misses: Sequence[Miss]) -> tuple[str, str]:
        pairs = {frozenset((m.row.question, m.meant.question)) for m in misses if m.row and m.meant}
        return (
            f"{_these(len(pairs), 'pair')} of rows read nearly alike, and one was taken for the "
            "other.",
            "Give each of them wordings that say what the other is not; or, where one answer can "
            "serve both, make them one row.",
        )

    def _wordings(self, misses: Sequence[Miss]) -> tuple[str, str]:
        rows = {m.row.question for m in misses if m.row}
        counts = Counter(self.seen.own.get(q, 0) for q in rows)
        told = ", ".join(f"{n} with {_count(own, 'wording')}" for own, n in sorted(counts.items()))
        if len(counts) == 1:
            own = next(iter(counts))
            told = f"{_count(own, 'wording')}{' each' if len(rows) > 1 else ''}"
        (good_few, of_few), (good_many, of_many) = self.rates[True], self.rates[False]
        beside = (
            f" Asked in other words, rows like these had {good_few} of {of_few} right, rows with "
            f"more wordings {good_many} of {of_many}."
            if of_many
            else ""
        )
        has = "has" if len(rows) == 1 else "have"
        return (
            f"{_these(len(rows), 'question')} {has} {told} to learn from.{beside}",
            f"Write other ways to ask them, at least {FEW}, into the column `wordings`, as "
            "customers say it; `kefu reword` proposes some.",
        )

    def _hand_over(self, misses: Sequence[Miss]) -> tuple[str, str]:
        return (
            f"{_count(len(misses), 'question')} that the FAQ does not answer "
            f"{'was' if len(misses) == 1 else 'were'} answered, and the run was trained on no row "
            "to hand over.",
            "Train by the default recipe, in which one row in five hands over.",
        )

    def _too_strict(self, misses: Sequence[Miss]) -> tuple[str, str]:
        now = self.of.report.threshold
        surer = (
            ""
            if self.of.plan.reranker.value
            else "Let a larger base read the rows, if this machine can: `kefu threshold --reranker "
            "BASE` (the guide to choosing a base says which). "
        )
        return (
            f"{_count(len(misses), 'question')} had the right row first and "
            f"{'was' if len(misses) == 1 else 'were'} handed over as not sure enough. The "
            f"threshold is {now:.2f}; at {self.sound:.2f} they are answered, and no more than "
            f"{self.of.allowed:.0%} of this exam's answers are wrong.",
            f"{surer}Allow more false answers than {self.of.allowed:.0%}: `kefu threshold` "
            "shows what each share would mean, and sets it. Or add rows to the FAQ, so that the "
            "threshold is set on more questions, and train again.",
        )

    def _too_loose(self, misses: Sequence[Miss]) -> tuple[str, str]:
        answered = [v for v in self.of.report.verdicts if not v.mark.handed_over]
        lost = sum(v.mark.right and v.reply.confidence < self.sound for v in answered)
        price = f"a threshold of {self.sound:.2f} would do, and cost {_count(lost, 'right answer')}"
        if self.sound == float("inf"):
            price = "no threshold would do"
        if self.sound <= self.of.report.threshold:
            price = "that is no more than you allow"
        return (
            f"{_count(len(misses), 'question')} that the FAQ does not answer "
            f"{'was' if len(misses) == 1 else 'were'} answered at the threshold "
            f"{self.of.report.threshold:.2f}. With {self.of.allowed:.0%} of false answers allowed "
            f"{price}.",
            "Where customers ask such things, give them rows of their own, also if the answer is "
            "no; or allow fewer false answers: `kefu threshold --allowed SHARE`.",
        )

    def _mode(self, misses: Sequence[Miss]) -> tuple[str, str]:
        invented = sum(bool(m.verdict.mark.facts_invented) for m in misses)
        more = f", {invented} with an invented fact" if invented else ""
        return (
            f"{_count(len(misses), 'answer')} in the mode `{self.of.report.mode}` "
            f"{'is' if len(misses) == 1 else 'are'} no row's text{more}.",
            "Answer with the FAQ's own text: `kefu eval --mode verbatim`, and `mode` in kefu.toml.",
        )

    def _base(self, misses: Sequence[Miss]) -> tuple[str, str]:
        kinds = {t.kind: t for t in self.of.report.candidates[0].tallies}
        known = kinds.get("known")
        parts = []
        if known is not None:
            parts.append(f"{known.right} of {known.asked} trained questions are right")
        losses = [s.loss for s in self.of.steps[-8:]]
        if losses:
            parts.append(f"the loss ended at {sum(losses) / len(losses):.3f}")
        few = any(m.row and self.seen.own.get(m.row.question, 0) < FEW for m in misses)
        parts.append(
            "rows with few wordings do no worse than others"
            if few
            else "these rows have wordings enough"
        )
        parts.append("and none was taken for one that looks like it")
        first = sum(m.first for m in misses)
        told = f"{', '.join(parts)}: what is left is that {self.of.plan.base.value} does not see "
        told += "surely enough that these other words mean the same."
        if first:
            sound = self.seen.lowest_sound(PRICE)
            paid = sum(m.first and m.verdict.reply.confidence >= sound for m in misses)
            told += (
                f" {first} of the {len(misses)} had the right row first, but no surer than "
                f"questions that nobody can answer; with {PRICE:.0%} of false answers allowed "
                f"{paid} would be answered."
            )
        larger = self.of.larger
        way = f"`--base {larger[0]}`" if larger else "a larger base"
        # Of 0.5B one answered no more of a shop's questions than the embedded base (LOG.md).
        return (
            told[0].upper() + told[1:],
            "Give these rows more wordings, as far as possible from those that they have. Or try "
            f"{way}, on a machine that holds it (`kefu plan --machine`), and let the exam decide: "
            "a larger base need not find more.",
        )


def _remarks(evidence: Evidence, causes: Sequence[Cause]) -> Iterable[str]:
    kinds = Counter(v.asked.kind for v in evidence.report.verdicts)
    if evidence.report.verdicts and not kinds["reworded"]:
        yield (
            "The exam asks nothing in words that were not trained, so it proves little: write "
            "other wordings, or an exam of your own (`kefu eval --exam`)."
        )
    told = {c for cause in causes if cause.name == "data" for c in (x.said for x in cause.cases)}
    open_ones = [
        f for f in evidence.findings if f.level != "note" and f"{f.message} {f.remedy}" not in told
    ]
    if open_ones:
        yield (
            f"`kefu check` has {_count(len(open_ones), 'warning')} about this FAQ that no exam "
            f"question was lost to; the first: {open_ones[0].message}"
        )


def _quoted(texts: Iterable[str]) -> str:
    every = list(dict.fromkeys(texts))
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(f"“{t}”" for t in every[:SHOWN]) + more


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _these(number: int, noun: str) -> str:
    return f"{'This' if number == 1 else 'These'} {_count(number, noun)}"
