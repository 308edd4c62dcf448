"""Makes wordings for every row until each has enough, and keeps only those that pass.

Knows the order in which families of rules work; what they say stands in `chinese`,
`english`, `scenes` and their data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..errors import KefuError
from ..records import Faq
from . import chinese, english
from .ask import asked
from .checks import Checker, is_chinese, key
from .registry import Draft, Generator, dice
from .scenes import Scenes

FAMILIES = tuple(dict.fromkeys((*chinese.FAMILIES, *english.FAMILIES)))
"""Every family of rules, in the order in which they work on a wording."""
SPARE = 2.0
"""Candidates made for each wording wanted, since some are refused."""


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
    checker = Checker(faq)
    wanted = [max(0, per_pair - len(pair.wordings)) for pair in faq.pairs]
    made: list[list[Draft]] = [[] for _ in faq.pairs]
    if ask is not None:
        for i, pair in enumerate(faq.pairs):
            if wanted[i]:
                made[i] = [Draft(text, ("asked",)) for text in asked(ask, pair, wanted[i])]
    scenes = Scenes(faq, generator) if "scene" in allowed else None
    for i in range(len(faq.pairs)):
        if wanted[i]:
            made[i] += _candidates(faq, i, wanted[i], seed, allowed, generator, scenes)
    return tuple(_chosen(faq, checker, made, wanted))


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


def _candidates(
    faq: Faq,
    i: int,
    wanted: int,
    seed: int,
    allowed: frozenset[str],
    generator: Generator,
    scenes: Scenes | None,
) -> list[Draft]:
    """Different wordings for one row, unchecked, as many as `SPARE` asks for or as are found."""
    pair = faq.pairs[i]
    rng = dice(seed, generator, pair.question)
    seen = {key(text) for text in pair.phrasings}
    used: set[str] = set()
    found: list[Draft] = []
    enough = round(wanted * SPARE) + 2
    for _ in range(enough * 3):
        base = pair.question
        if pair.wordings and rng.random() < 0.4:
            base = rng.choice(pair.wordings)
        if is_chinese(base):
            draft = chinese.wording(base, i, rng, allowed, generator, scenes, used)
        else:
            draft = english.wording(base, rng, allowed, generator, used)
        if draft is None or (letters := key(draft.text)) in seen:
            continue
        seen.add(letters)
        used.update(draft.rules)
        found.append(draft)
        if len(found) >= enough:
            break
    return found


def _chosen(
    faq: Faq, checker: Checker, made: list[list[Draft]], wanted: list[int]
) -> list[Rewording]:
    """The first `wanted` of each row that pass, none of them twice in the whole FAQ."""
    flat = [
        (i, draft)
        for i, drafts in enumerate(made)
        for draft in drafts
        if checker.keeps(i, draft.text)
    ]
    fit = checker.own([(i, draft.text, draft.scene) for i, draft in flat])
    taken: dict[str, int] = {}
    clash: set[str] = set()
    for (i, draft), good in zip(flat, fit, strict=True):
        letters = key(draft.text)
        if good and taken.setdefault(letters, i) != i:
            clash.add(letters)  # two rows would say it: neither may
    out: list[Rewording] = []
    count = [0] * len(made)
    for (i, draft), good in zip(flat, fit, strict=True):
        if good and count[i] < wanted[i] and key(draft.text) not in clash:
            clash.add(key(draft.text))
            count[i] += 1
            out.append(Rewording(faq.pairs[i].question, draft.text, draft.rules))
    return out
