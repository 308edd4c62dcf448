"""Sets an answer beside the right one, clause by clause: what lacks, what is added, what is turned.

Knows two texts taken apart (see `wording`), and nothing of the FAQ that they come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from .lexicon import FACT, Rival
from .wording import Clause, Item, Wording, clash

ALIKE = 0.4
"""Clauses at least this alike speak of one thing, so that they can contradict each other."""
KEPT = 0.5
"""A clause is there when so much of it stands in one place."""
TRACE = 0.25
"""A clause of which less is known is a claim of its own."""
MERGED = 0.6
"""A clause makes one of two when it says at least so much of each."""
FACTS = 0.1
"""What shared facts add to the likeness of clauses."""
NEARLY = 0.15
"""A clause may belong to any clause that is less alike than the most alike by at most this."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How an answer agrees with the right one. Content is counted in Chinese characters and
    Latin words."""

    covered: float
    """Of the right one's content, the share that the answer says."""
    supported: float
    """Of the answer's content, the share that the right one says."""
    lacking: float
    """Content that the answer leaves out of one clause, at most."""
    added: float
    """Content that one clause of the answer adds, at most."""
    replaced: int
    """Content that one clause puts in another's place, at most."""
    contradiction: str
    """In words; empty when there is none."""


def agree(said: Wording, due: Wording, asked: Wording | None = None) -> Agreement:
    """Compares an answer with the right one. `asked`: the question, as a statement: its words claim
    nothing, and where the right answer begins with yes, they are part of it."""
    asked = asked or Wording((), None)
    whole = Wording((*due.clauses, *asked.clauses), due.lead) if due.lead else due
    covered = [_support(clause, said.grams) for clause in due.clauses]
    supported = [
        _support(clause, due.grams if clause.denials else due.grams | asked.grams)
        for clause in said.clauses
    ]
    told, replaced = [], 0
    if said.lead is not None and due.lead is not None and said.lead != due.lead:
        told.append("yes and no are exchanged")
    for own, its in ((said, whole), (due, said)):
        same = {(c.raw, c.stated) for c in its.clauses}
        for clause in own.clauses:
            if (clause.raw, clause.stated) in same:
                continue
            if own is said and due.lead and _only_affirms(clause, asked, due):
                continue
            found, instead = _turned(clause, own, its, whole=own is said)
            told += [found] if found else []
            replaced = max(replaced, instead)
    told += [*_joined(said, due), *_otherwise_bound(said, due), *_listed(said, due)]
    turned = (said.denied & due.affirmed - due.denied) | (due.denied & said.affirmed - said.denied)
    told += [_turn(turned)] if turned else []
    told += [f"says what the FAQ does not: {c.raw}" for c in _unfounded(said, due, asked)]
    told += [f"nothing of: {c.raw.replace(FACT, '…').strip()}" for c in _dropped(due, said)]
    return Agreement(
        _share(covered),
        _share(supported),
        max((n - s for s, n in covered), default=0.0),
        max((n - s for s, n in supported), default=0.0),
        replaced,
        told[0] if told else "",
    )


def _only_affirms(clause: Clause, asked: Wording, due: Wording) -> bool:
    """Whether a clause says only what the question asked, undenied."""
    return (
        not clause.denials
        and any(clause.grams <= c.grams and not c.denials for c in asked.clauses)
        and (not clause.facts or any(set(clause.facts) <= set(c.facts) for c in due.clauses))
    )


def _joined(said: Wording, due: Wording) -> Iterator[str]:
    """Where the right answer joins with `or`, and the answer with `and`, or the other way round."""
    fewer_or, fewer_and = due.ors - said.ors, due.ands - said.ands
    if (fewer_or > 0 > fewer_and) or (fewer_and > 0 > fewer_or):
        yield "and and or are exchanged"


def _otherwise_bound(said: Wording, due: Wording) -> Iterator[str]:
    """Facts that stand once in each text, in whatever clause, bounded in ways that clash."""
    mine, theirs = said.bounds, due.bounds
    for fact in mine.keys() & theirs.keys():
        if clash(mine[fact], theirs[fact]):
            yield f"another bound: {fact}"


def _listed(said: Wording, due: Wording) -> Iterator[str]:
    """Things in a row of which the other text knows nothing."""
    for own, its, words in ((said, due, "adds"), (due, said, "leaves out")):
        known = {t for c in its.clauses for t in c.tokens}
        for item in own.listed:
            if not known & set(item):
                yield f"{words} one of a row: {''.join(item)}"


def _unfounded(said: Wording, due: Wording, asked: Wording) -> Iterator[Clause]:
    """Clauses of which neither the right answer nor the question knows more than a trace."""
    known = due.grams | asked.grams
    for clause in said.clauses:
        support, size = _support(clause, known)
        if size >= 3 and support < TRACE * size:
            yield clause


def _dropped(due: Wording, said: Wording) -> Iterator[Clause]:
    """Clauses of which no clause of the answer, and no three in a row, says as much as half."""
    same = {(c.raw, c.stated) for c in said.clauses}
    for clause in due.clauses:
        if (clause.raw, clause.stated) in same or (len(clause.tokens) < 3 and not clause.denials):
            continue
        best = 0
        for i in said.near(clause):
            here = clause.grams & said.clauses[i].grams
            after = frozenset(g for c in said.clauses[i + 1 : i + 3] for g in c.grams)
            best = max(best, len(here | (clause.grams & after)))
        if best < KEPT * len(clause.grams):
            yield clause


def _support(clause: Clause, grams: frozenset[Item]) -> tuple[float, int]:
    """How much of a clause's content is among `grams`, and how much there is."""
    total = 0.0
    tokens = clause.tokens
    for i, token in enumerate(tokens):
        if (i and (tokens[i - 1], token) in grams) or (
            i + 1 < len(tokens) and (token, tokens[i + 1]) in grams
        ):
            total += 1
        elif (token,) in grams:
            total += 1 if token.isascii() or len(tokens) == 1 else 0.5
    return total, len(tokens)


def _share(parts: Sequence[tuple[float, int]]) -> float:
    size = sum(n for _, n in parts)
    return sum(s for s, _ in parts) / size if size else 1.0


def _turned(clause: Clause, own: Wording, its: Wording, *, whole: bool) -> tuple[str, int]:
    """How a clause contradicts the one that it belongs to, and how much content it replaces.

    Where several are nearly as alike, it belongs to the one that it contradicts least. `whole`:
    the clause may state no fact beside those of the one that it belongs to.
    """
    if not clause.grams:
        return "", 0
    likeness: list[tuple[float, tuple[Clause, ...]]] = []
    bare = []
    for i in its.near(clause):
        other = its.clauses[i]
        likeness.append((_likeness(clause, (other,)), (other,)))
        if clause.facts and not other.tokens and set(clause.facts) <= set(other.facts):
            bare.append((other,))  # facts may stand in a clause of their own
        for pair in (its.clauses[max(0, i - 1) : i + 1], its.clauses[i : i + 2]):
            if len(pair) == 2 and _makes_one(clause, pair):
                likeness.append((_likeness(clause, pair), pair))
    alone = max((score for score, pair in likeness if len(pair) == 1), default=0.0)
    likeness = [x for x in likeness if len(x[1]) == 1 or x[0] > alone]
    best = max((score for score, _ in likeness), default=0.0)
    if best < ALIKE:
        return "", 0
    near = [
        pair
        for score, pair in sorted(likeness, key=lambda x: -x[0])
        if score >= best - NEARLY
        # or it states the very same facts, and more than one
        or (
            score >= ALIKE
            and len(pair) == 1
            and clause.stated == pair[0].stated
            and len(clause.facts) > 1
        )
    ]
    told = [
        next(_contradictions(clause, pair, its.facts if whole else frozenset()), "")
        or _moved(clause, pair, own, its)
        for pair in near + bare
    ]
    return ("" if "" in told else told[0]), min(_replaced(clause, pair) for pair in near)


def _makes_one(clause: Clause, pair: tuple[Clause, ...]) -> bool:
    """Whether a paraphrase may have made this one clause of those two."""
    facts = {f for c in pair for f in c.facts}
    return facts <= set(clause.facts) and all(
        c.grams and len(c.grams & clause.grams) >= MERGED * len(c.grams) for c in pair
    )


def _turn(items: frozenset[Item]) -> str:
    return "denied or affirmed the wrong way: " + " ".join(sorted("".join(i) for i in items))


def _likeness(clause: Clause, pair: tuple[Clause, ...]) -> float:
    """By the words, half of it without those that exclude others. Facts only break ties: they
    are what may be exchanged."""
    facts = {f for c in pair for f in c.facts}
    mine = set(clause.facts)
    shared = len(mine & facts) / max(1, len(mine | facts))
    whole = _dice(clause.grams, frozenset(g for c in pair for g in c.grams))
    frame = _dice(clause.frame, frozenset(g for c in pair for g in c.frame))
    return max(whole, (whole + frame) / 2) + FACTS * shared


def _dice(a: frozenset[Item], b: frozenset[Item]) -> float:
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 0.5


def _replaced(clause: Clause, pair: tuple[Clause, ...]) -> int:
    theirs = {t for c in pair for t in c.tokens}
    mine = set(clause.tokens)
    return min(len(mine - theirs), len(theirs - mine))


def _moved(clause: Clause, pair: tuple[Clause, ...], own: Wording, its: Wording) -> str:
    """Two or more words of each stand in the other text too, but elsewhere: exchanged."""
    theirs = frozenset(g for c in pair for g in c.grams)
    came, went = _alone(clause.grams, theirs), _alone(theirs, clause.grams)
    if came & its.grams and went & own.grams:
        return "exchanged: " + " ".join(sorted("".join(g) for g in came & its.grams))
    return ""


def _alone(grams: frozenset[Item], others: frozenset[Item]) -> frozenset[Item]:
    return frozenset(g for g in grams - others if len(g) == 2 and not {(g[0],), (g[1],)} <= others)


def _contradictions(
    clause: Clause, pair: tuple[Clause, ...], elsewhere: frozenset[str]
) -> Iterator[str]:
    denied = frozenset(i for c in pair for i in c.denied)
    affirmed = frozenset(i for c in pair for i in c.affirmed)
    turned = (clause.denied & (affirmed - denied)) | (denied & (clause.affirmed - clause.denied))
    if not turned and sum(c.denials for c in pair) != clause.denials:
        said = frozenset(i for c in pair for i in c.grams)
        turned = (clause.denied & said - denied) | (denied & clause.grams - clause.denied)
    if turned:
        yield _turn(turned)
    if len(pair) == 1 and clause.bald == pair[0].bald and clause.nots != pair[0].nots:
        yield "a negation is put in or left out"
    theirs = sum((c.rivals for c in pair), Counter[Rival]())
    if {group for group, _ in clause.rivals - theirs} & {g for g, _ in theirs - clause.rivals}:
        yield "one thing is put in another's place"
    for c in pair:
        for fact in clause.bounds.keys() & set(c.facts):
            if clash(clause.bounds[fact], c.bounds.get(fact, frozenset())):
                yield f"another bound: {fact}"
    facts = {f for c in pair for f in c.facts}
    mine_only = {f.partition(":")[0] for f in set(clause.facts) - facts}
    if mine_only & {f.partition(":")[0] for f in facts - set(clause.facts)} or (
        set(clause.facts) & facts and (set(clause.facts) - facts) & elsewhere
    ):
        yield "a fact stands in another's place"
    for rival in clause.attached.keys() & pair[0].attached.keys():
        if clause.attached[rival] != pair[0].attached[rival]:
            yield "what belongs to one thing is said of another"
    yield from _exchanged(clause, pair[0])
    same = len(pair) == 1 and set(clause.facts) == set(pair[0].facts)
    if same and (swap := _substituted(clause.tokens, pair[0].tokens)):
        yield swap


def _exchanged(clause: Clause, other: Clause) -> Iterator[str]:
    """Two facts of one kind whose contexts are exchanged within a clause."""
    both = sorted(clause.before.keys() & other.before.keys())
    for i, f in enumerate(both[:20]):
        for g in both[i + 1 : 20]:
            if f.partition(":")[0] != g.partition(":")[0]:
                continue
            a, b, c, d = clause.before[f], clause.before[g], other.before[f], other.before[g]
            if _jaccard(a, d) + _jaccard(b, c) > _jaccard(a, c) + _jaccard(b, d) + 0.5:
                yield f"exchanged: {f} and {g}"


def _substituted(mine: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    """One stretch that is wholly another while all around it is the same."""
    if len(mine) > 200 or mine == theirs:
        return ""
    codes = [code for code in Levenshtein.opcodes(mine, theirs) if code.tag != "equal"]
    start, end = min(c.src_start for c in codes), max(c.src_end for c in codes)
    first, last = min(c.dest_start for c in codes), max(c.dest_end for c in codes)
    here, there = mine[start:end], theirs[first:last]
    around = len(mine) - len(here)
    if not here or not there or max(len(here), len(there)) > 4 or around < 2:
        return ""
    if set(here) & set(there):
        return ""
    return f"one thing is put in another's place: {''.join(here)}, {''.join(there)}"


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.5
