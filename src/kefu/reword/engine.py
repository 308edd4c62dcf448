"""Makes wordings for every row until each has enough, and keeps only those that pass.

Knows the order in which families of rules work; what they say stands in `chinese`,
`english`, `scenes` and their data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from ..errors import KefuError
from ..records import Faq, Pair
from . import chinese, english
from .ask import asked
from .checks import Checker, is_chinese, key
from .registry import Draft, Generator, dice
from .scenes import Scenes

FAMILIES = tuple(dict.fromkeys((*chinese.FAMILIES, *english.FAMILIES)))
"""Every family of rules, in the order in which they work on a wording."""
OWNERS = 0.4
"""How often an owner's wording, rather than the question, is the one that is changed."""
PATIENCE = 25
"""Throws of the dice in vain after which a row's rules count as exhausted."""
TRAINED = 32
"""Of a row's training drafts, in the order of the dice, that the exam may not repeat."""
DRAWS = 4
"""Wordings drawn for each one wanted before a row is given up: its neighbours are too near."""


@dataclass(frozen=True, slots=True)
class Rewording:
    """Another way to ask one question of the FAQ, and the rules that made it."""

    pair_question: str
    wording: str
    rules: tuple[str, ...]
    """Names of rules, `family:what`, in the order in which they worked; `asked` for a model."""


def reword(
    faq: Faq,
    *,
    per_pair: int = 8,
    seed: int = 42,
    families: Sequence[str] | None = None,
    generator: Generator = "train",
    ask: Callable[[str], str] | None = None,
) -> tuple[Rewording, ...]:
    """New wordings, so that each row has `per_pair` of them together with those it has.

    A row gets fewer where the rules find no more that pass: a wording must keep the numbers,
    dates, places and names of its question, bring no new number, and lie nearer to its own
    row than to any other. Deterministic by `seed`. `families` limits the rules to those
    families. No rule belongs to both generators, so what "exam" makes was never trained on
    from "train". `ask` (see `endpoint`) is asked first; rules fill up what it leaves.

    Raises KefuError for an unknown family.
    """
    if families is not None and (unknown := sorted(set(families) - set(FAMILIES))):
        raise KefuError(
            f"There is no family of rules called {', '.join(unknown)}.",
            f"Choose among: {', '.join(FAMILIES)}.",
        )
    allowed = frozenset(FAMILIES if families is None else families)
    scenes = Scenes(faq, generator) if "scene" in allowed else None
    trained = Scenes(faq, "train") if scenes and generator == "exam" else None
    streams: dict[int, Iterator[Draft]] = {}
    for i, pair in enumerate(faq.pairs):
        wanted = per_pair - len(pair.wordings)
        if wanted > 0:
            offered = asked(ask, pair, wanted) if ask is not None else []
            first = [Draft(text, ("asked",)) for text in offered]
            made = _drafts(pair, i, seed, allowed, generator, scenes)
            if generator == "exam":
                made = _unlike(made, _drafts(pair, i, seed, allowed, "train", trained))
            streams[i] = chain(first, made)
    return tuple(_fill(faq, per_pair, streams))


def filled(faq: Faq, rewordings: Sequence[Rewording]) -> Faq:
    """The FAQ with the wordings added to their rows; the given FAQ is left as it is."""
    more: dict[str, list[str]] = {}
    for made in rewordings:
        more.setdefault(made.pair_question, []).append(made.wording)
    pairs = tuple(
        replace(p, wordings=tuple(dict.fromkeys((*p.wordings, *more.get(p.question, ())))))
        for p in faq.pairs
    )
    return replace(faq, pairs=pairs)


def _drafts(
    pair: Pair,
    row: int,
    seed: int,
    allowed: frozenset[str],
    generator: Generator,
    scenes: Scenes | None,
) -> Iterator[Draft]:
    """Different wordings for one row, unchecked, until the dice find nothing new."""
    rng = dice(seed, generator, pair.question)
    seen = {key(text) for text in pair.phrasings}
    used: set[str] = set()
    vain = 0
    while vain < PATIENCE:
        base = pair.question
        if pair.wordings and rng.random() < OWNERS:
            base = rng.choice(pair.wordings)
        if is_chinese(base):
            draft = chinese.wording(base, row, rng, allowed, generator, scenes, used)
        else:
            draft = english.wording(base, row, rng, allowed, generator, scenes, used)
        if draft is None or (letters := key(draft.text)) in seen:
            vain += 1
            continue
        vain = 0
        seen.add(letters)
        used.update(draft.rules)
        yield draft


def _unlike(exam: Iterator[Draft], train: Iterator[Draft]) -> Iterator[Draft]:
    """The exam's drafts without those that the training rules say too, by another way.

    A row's training drafts come in one order whatever `per_pair` is, so that leaving out the
    first `TRAINED` keeps the exam apart from every training run of that seed.
    """
    said = {key(draft.text) for draft in islice(train, TRAINED)}
    return (draft for draft in exam if key(draft.text) not in said)


def _fill(faq: Faq, per_pair: int, streams: dict[int, Iterator[Draft]]) -> list[Rewording]:
    """Draws from each row's stream until it has enough that pass, all rows checked together."""
    checker = Checker(faq)
    kept: dict[int, list[Draft]] = {i: [] for i in streams}
    drawn: dict[int, int] = dict.fromkeys(streams, 0)
    taken: set[str] = set()
    open_rows = list(streams)
    while open_rows:
        batch: list[tuple[int, Draft]] = []
        for i in open_rows:
            wanted = per_pair - len(faq.pairs[i].wordings)
            fresh = list(islice(streams[i], wanted - len(kept[i])))
            drawn[i] += len(fresh) or DRAWS * per_pair
            batch += [(i, draft) for draft in fresh if checker.keeps(i, draft.text)]
        verdicts = checker.own([(i, draft.text, draft.scene) for i, draft in batch])
        for (i, draft), good in zip(batch, verdicts, strict=True):
            if good and key(draft.text) not in taken:
                taken.add(key(draft.text))
                kept[i].append(draft)
        open_rows = [
            i
            for i in open_rows
            if len(faq.pairs[i].wordings) + len(kept[i]) < per_pair and drawn[i] < DRAWS * per_pair
        ]
    return [
        Rewording(faq.pairs[i].question, draft.text, draft.rules)
        for i, drafts in kept.items()
        for draft in drafts
    ]
