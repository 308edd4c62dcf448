"""Sentences of everyday life that mean a common question of customer service.

A scene says what happened or what the person wants, without the words of the FAQ:
鞋底開口了怎麼處理 for a warranty row. Topics and sentences are data (`data/scenes_zh.toml`).
Used only where exactly one row of the FAQ has the topic and asks nothing beside it; knows
topics by their words alone.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ..records import Faq, Pair
from .registry import Generator, Rule, make, on_side
from .script import to_traditional


@dataclass(frozen=True, slots=True)
class Topic:
    """One intent: how its rows are known, and what people say who have it in mind."""

    name: str
    match: tuple[re.Pattern[str], ...]
    """A question of this topic holds something of each."""
    also: re.Pattern[str] | None
    """What else a question of this topic may hold without asking for more."""
    unless: re.Pattern[str] | None
    """A question that holds this is of another topic."""
    say: tuple[Rule[str], ...]

    def of(self, text: str) -> bool:
        """Whether a question is of this topic."""
        if self.unless and self.unless.search(text):
            return False
        return all(pattern.search(text) for pattern in self.match)


@cache
def topics() -> tuple[Topic, ...]:
    """The shipped topics."""
    return tuple(
        Topic(
            item["name"],
            tuple(re.compile(pattern) for pattern in item["match"]),
            re.compile(item["also"]) if "also" in item else None,
            re.compile(item["unless"]) if "unless" in item else None,
            tuple(make("scene", f"{item['name']}:{text}", text, text) for text in item["say"]),
        )
        for item in _data()["topic"]
    )


@cache
def _data() -> dict[str, Any]:
    raw = files(__package__).joinpath("data", "scenes_zh.toml").read_text("utf-8")
    return tomllib.loads(raw)


@cache
def _neutral() -> re.Pattern[str]:
    """Words that say nothing about what sets a row apart."""
    words = sorted(_data()["neutral"].split(), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words)))


class Scenes:
    """Which sentences each row of an FAQ may be asked with."""

    def __init__(self, faq: Faq, side: Generator) -> None:
        self._of: dict[int, list[Rule[str]]] = {}
        texts = [to_traditional(pair.question) for pair in faq.pairs]
        for topic in topics():
            rows = [i for i, text in enumerate(texts) if topic.of(text)]
            if len({faq.pairs[i].answer for i in rows}) != 1:
                continue  # of no row, or of several: then the sentence could mean either
            for i in rows:
                if _alone(topic, texts[i]):
                    self._of.setdefault(i, []).extend(on_side(topic.say, side))

    def of(self, row: int) -> list[Rule[str]]:
        """The sentences for one row, of all its topics."""
        return self._of.get(row, [])


def _alone(topic: Topic, text: str) -> bool:
    """Whether the question asks about the topic and nothing else.

    預購商品可以退貨嗎 holds 預購 beside the topic of returns: a plain sentence about returns
    would be asked of the wrong row.
    """
    left = text
    for pattern in topic.match:
        left = pattern.sub(" ", left)
    if topic.also:
        left = topic.also.sub(" ", left)
    left = _neutral().sub(" ", left)
    return len(re.sub(r"[\W_]+", "", left)) <= 1


def pairs_with_scenes(faq: Faq) -> list[Pair]:
    """The rows that have any sentence of the training side; for figures."""
    scenes = Scenes(faq, "train")
    return [pair for i, pair in enumerate(faq.pairs) if scenes.of(i)]
