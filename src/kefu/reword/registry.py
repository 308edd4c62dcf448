"""The rules by name, in families, and which of the two generators may use each of them.

Knows no language: a rule here is a name, a family and a payload that its family understands.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Generator = Literal["train", "exam"]
EXAM_SHARE = 0.25
"""Of the rules. The rest trains: training needs the variety more than the exam does."""


@dataclass(frozen=True, slots=True)
class Rule(Generic[T]):
    """One way to change a question. `side` is fixed by the rule's own words, for ever."""

    name: str
    """`family:what it says`, unique."""
    payload: T
    side: Generator

    @property
    def family(self) -> str:
        return self.name.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Draft:
    """A wording in the making."""

    text: str
    rules: tuple[str, ...] = ()
    scene: bool = False
    """Built from a topic's own sentence: it may lie far from the row in letters."""

    def after(self, text: str, rule: str) -> Draft:
        """The draft once `rule` has made `text` of it."""
        return replace(self, text=text, rules=(*self.rules, rule))

    def used(self, family: str) -> bool:
        return any(name.startswith(f"{family}:") for name in self.rules)


def fraction(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone, the same on every machine."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:7]) / 2**56


def dice(*parts: object) -> random.Random:
    """A random stream that depends on the parts alone."""
    return random.Random(int(fraction(*parts) * 2**56))


def make(family: str, what: str, payload: T, said: str | None = None) -> Rule[T]:
    """A rule. Its side follows from the letters that it makes people say (`said`), whatever its
    family, so that two rules which lead to the same wording lie on the same side."""
    letters = re.sub(r"\{\w*\}|[\W_]", "", what if said is None else said).lower()
    place = fraction("reword", letters)
    return Rule(f"{family}:{what}", payload, "exam" if place < EXAM_SHARE else "train")


def on_side(rules: Iterable[Rule[T]], side: Generator) -> list[Rule[T]]:
    """Those rules that the generator may use."""
    return [rule for rule in rules if rule.side == side]


def pick(rules: Sequence[Rule[T]], rng: random.Random, used: frozenset[str] | set[str]) -> Rule[T]:
    """One of the rules, a fresh one while there are any."""
    fresh = [rule for rule in rules if rule.name not in used]
    return rng.choice(fresh or list(rules))


@cache
def lines(name: str) -> tuple[str, ...]:
    """The lines of a shipped data file, without comments and empty ones."""
    text = files(__package__).joinpath("data", name).read_text("utf-8")
    return tuple(
        line for raw in text.splitlines() if (line := raw.strip()) and not line.startswith("#")
    )
