"""The questions that the project ships, and which side of a split may use each of them.

The side of a question is fixed by its own words, for every seed and every FAQ: what is
trained on anywhere is asked in no exam that kefu makes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from .likeness import fraction

Side = Literal["train", "held-out", "exam"]


def side(text: str) -> Side:
    """Half of all texts for the exam, four tenths for training, one tenth held out."""
    place = fraction("side", text)
    return "exam" if place < 0.5 else "train" if place < 0.9 else "held-out"


def side_of_place(place: int) -> Side:
    """The same by position in a short list, where chance would leave a side empty."""
    return ("exam", "train", "exam", "train", "held-out")[place % 5]


@dataclass(frozen=True, slots=True)
class Shipped:
    """A shipped question that a bot must hand over, with what would make it answerable."""

    question: str
    topic: str
    side: Side
    keys: tuple[str, ...] = ()
    """An FAQ row that holds all `+`-joined parts of one key may answer it: then leave it out."""
    near: tuple[str, ...] = ()
    """Words of the topic: an FAQ that holds one of them is asked near its own business."""


@dataclass(frozen=True, slots=True)
class Group:
    """Words that can stand in one another's place."""

    name: str
    members: tuple[tuple[str, ...], ...]
    """Each with its spellings, the one to write first."""
    covers: tuple[str, ...] = ()
    """Words that speak of the whole group: a row that holds one may answer for every member."""
    strict: bool = True
    """Whether an answer for one member may silently hold for its siblings (can I pay by ...?)."""
    not_before: str = ""
    """Regular expression of what must not follow a member, e.g. 路 after a district."""
    not_after: str = ""
    """Regular expression of what must not stand before a member."""
    only_after: str = ""
    """Regular expression of what must stand before a member."""
    only_with: str = ""
    """Regular expression that the question must hold."""
    not_with: str = ""
    """Regular expression that the question must not hold."""


def _rows(name: str) -> list[dict[str, Any]]:
    text = (files(__package__) / "data" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


@cache
def out_of_scope() -> tuple[Shipped, ...]:
    """Questions and commands that are no customer service's business."""
    return _plain("out_of_scope.jsonl")


@cache
def hostile() -> tuple[Shipped, ...]:
    """Attempts to make a bot obey, leak, promise or break."""
    return _plain("hostile.jsonl")


def _plain(name: str) -> tuple[Shipped, ...]:
    return tuple(
        Shipped(r["question"], r["topic"], side(r["question"]), tuple(r.get("keys", ())))
        for r in _rows(name)
    )


@cache
def service() -> tuple[Shipped, ...]:
    """What people ask any shop or institution, grouped by topic and aspect.

    A whole aspect lies on one side, so that the exam asks aspects that were never trained.
    """
    return tuple(
        Shipped(
            question, row["aspect"], side(row["aspect"]), tuple(row["keys"]), tuple(row["near"])
        )
        for row in _rows("service_questions.jsonl")
        for question in row["questions"]
    )


@cache
def groups() -> tuple[Group, ...]:
    """The sibling words with which near-misses are made."""
    return tuple(
        Group(
            row["group"],
            tuple(tuple(member) for member in row["members"]),
            tuple(row.get("covers", ())),
            bool(row.get("strict", True)),
            row.get("not_before", ""),
            row.get("not_after", ""),
            row.get("only_after", ""),
            row.get("only_with", ""),
            row.get("not_with", ""),
        )
        for row in _rows("siblings.jsonl")
    )
