"""Rows that repeat or contradict one another: duplicates, two answers, contradicting facts.

Does not know single rows' faults (see `faults`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from ..records import Finding, Pair
from .compare import bare, digits, facts, question_key
from .contradict import (
    contradictions,
    disagreement,
    first_difference,
    number_difference,
    other_thing,
)
from .words import finding, quote

BLOCK = 512
"""Questions compared at once; bounds memory to BLOCK × rows bytes."""


def compare(pairs: tuple[Pair, ...]) -> list[Finding]:
    """Every finding about two or more rows; each row pair is spoken of once, by its worst fault."""
    seen: set[tuple[int, int]] = set()
    return [
        *_same_question(pairs, seen),
        *_same_wording(pairs, seen),
        *contradictions(pairs, seen),
        *_near(pairs, seen),
    ]


def _mark(group: list[int], seen: set[tuple[int, int]]) -> None:
    seen.update((a, b) for a in group for b in group if a < b)


def _same_question(pairs: tuple[Pair, ...], seen: set[tuple[int, int]]) -> Iterator[Finding]:
    groups: dict[str, list[int]] = defaultdict(list)
    for i, pair in enumerate(pairs):
        groups[question_key(pair.question)].append(i)
    for group in groups.values():
        if len(group) < 2:
            continue
        _mark(group, seen)
        rows = [pairs[i] for i in group]
        copies: dict[tuple[str, str], list[Pair]] = defaultdict(list)
        for row in rows:
            copies[_as_read(row.question), _as_read(row.answer)].append(row)
        for same in copies.values():
            if len(same) > 1:
                yield finding(
                    "warn",
                    "exact-duplicate",
                    f"The question {quote(same[0].question)} stands {len(same)} times with one "
                    "answer.",
                    "Delete all but one of these rows.",
                    same,
                )
        distinct = [same[0] for same in copies.values()]
        meanings: list[list[Pair]] = []
        for row in distinct:
            home = next((m for m in meanings if _same_in_substance(m[0], row)), None)
            if home is None:
                meanings.append([row])
            else:
                home.append(row)
        for meaning in meanings:
            if len(meaning) > 1:
                yield _near_duplicate(meaning)
        if len(meanings) > 1:
            yield finding(
                "stop",
                "two-answers",
                f"The question {quote(rows[0].question)} has {len(meanings)} different answers.",
                "Keep the right answer and delete the other rows, or word the questions so that "
                "they tell the cases apart.",
                rows,
            )


def _as_read(text: str) -> str:
    """A text without blanks: what a copy has in common with its original."""
    return re.sub(r"\s+", "", text)


def _same_in_substance(one: Pair, other: Pair) -> bool:
    """Whether answers differ in wording only: alike, with the very same facts and numbers."""
    from rapidfuzz import fuzz

    if bare(one.answer) == bare(other.answer):
        return True
    return (
        digits(one.answer) == digits(other.answer)
        and {f.value for f in facts(one.answer)} == {f.value for f in facts(other.answer)}
        and fuzz.ratio(bare(one.answer), bare(other.answer)) >= 85
    )


def _same_wording(pairs: tuple[Pair, ...], seen: set[tuple[int, int]]) -> Iterator[Finding]:
    """A wording that leads to two answers, though the questions themselves differ."""
    owners: dict[str, dict[int, str]] = defaultdict(dict)
    for i, pair in enumerate(pairs):
        for text in pair.phrasings:
            owners[question_key(text)].setdefault(i, text)
    for owner in owners.values():
        group = sorted(owner)
        if len(group) < 2 or all((group[0], other) in seen for other in group[1:]):
            continue
        rows = [pairs[i] for i in group]
        _mark(group, seen)
        if len({bare(row.answer) for row in rows}) > 1:
            yield finding(
                "stop",
                "two-answers",
                f"The wording {quote(owner[group[0]])} belongs to {len(rows)} questions with "
                "different answers.",
                "Delete the wording from all rows but the one whose answer is right.",
                rows,
            )
        else:
            yield _near_duplicate(rows)


def _near_duplicate(rows: list[Pair]) -> Finding:
    return finding(
        "warn",
        "near-duplicate",
        f"The questions {quote(rows[0].question)} and {quote(rows[1].question)} are nearly the "
        "same, and so are their answers.",
        "Keep one row and put the other question into its `wordings`.",
        rows,
    )


# --- near duplicates -------------------------------------------------------------


def _near(pairs: tuple[Pair, ...], seen: set[tuple[int, int]]) -> Iterator[Finding]:
    from rapidfuzz import fuzz

    found: list[tuple[int, int]] = []
    like: list[tuple[int, int]] = []
    answers = [bare(pair.answer)[:4000] for pair in pairs]
    for i, j, score in _close(pairs, 40):
        one, other = pairs[i], pairs[j]
        if (i, j) in seen or digits(one.question) != digits(other.question):
            continue
        same = fuzz.ratio(answers[i], answers[j], score_cutoff=75)
        clash = _clash(one.answer, other.answer) if same >= 85 else None
        if clash:
            if score >= 75 and not other_thing(one.question, other.question):
                yield disagreement(one, other, *clash)
        elif (
            (score >= 90 and same >= 75)
            or (score >= 75 and same >= 90)
            or (same >= 97 and len(answers[i]) >= 12 and _same_letters(one, other) >= 55)
        ):
            found.append((i, j))
        elif score >= 92:
            like.append((i, j))
    for group in _joined(found):
        yield _near_duplicate([pairs[i] for i in group])
    for i, j in like:
        yield finding(
            "note",
            "look-alike",
            f"The questions {quote(pairs[i].question)} and {quote(pairs[j].question)} are almost "
            "the same, but their answers differ.",
            "If they mean the same, keep one; if not, word them so that a customer sees the "
            "difference.",
            (pairs[i], pairs[j]),
        )


def _close(pairs: tuple[Pair, ...], cutoff: int) -> Iterator[tuple[int, int, float]]:
    """Pairs of rows whose questions are at least `cutoff` (0 to 100) alike, by edit distance."""
    import numpy as np
    from rapidfuzz import fuzz, process

    keys = [question_key(pair.question)[:300] for pair in pairs]
    for start in range(0, len(keys), BLOCK):
        block = keys[start : start + BLOCK]
        scores = process.cdist(
            block, keys[start:], scorer=fuzz.ratio, score_cutoff=cutoff, dtype=np.uint8, workers=2
        )
        for a, b in zip(*np.nonzero(scores), strict=True):
            if a < b:
                yield start + int(a), start + int(b), float(scores[a, b])


def _clash(one: str, other: str) -> tuple[str, str, str] | None:
    """(value in one, value in the other, what it is) where two like answers differ in a fact."""
    facts_differ = first_difference(facts(one), facts(other))
    if facts_differ:
        a, b = facts_differ
        about = f"a {a.kind} under nearly the same question"
        return one[a.start : a.end], other[b.start : b.end], about
    numbers = number_difference(one, other)
    return (*numbers, "a number under nearly the same question") if numbers else None


def _same_letters(one: Pair, other: Pair) -> float:
    """Likeness (0 to 100) of two questions by their characters in any order."""
    from rapidfuzz import fuzz

    a, b = question_key(one.question), question_key(other.question)
    return float(fuzz.ratio(sorted(a), sorted(b)))


def _joined(links: list[tuple[int, int]]) -> list[list[int]]:
    """Rows that hang together, each group in file order."""
    group_of: dict[int, list[int]] = {}
    for i, j in links:
        one, other = group_of.get(i, [i]), group_of.get(j, [j])
        if one is not other:
            one = sorted({*one, *other})
        for k in one:
            group_of[k] = one
    return [group for i, group in sorted(group_of.items()) if group[0] == i]
