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

from ..records import Faq, Pair
from .registry import Generator, Rule, make, on_side
from .script import to_traditional


@dataclass(frozen=True, slots=True)
class Topic:
    """One intent: how its rows are known, and what people say who have it in mind."""

    name: str
    match: re.Pattern[str]
    """A row's question of this topic matches."""
    rival: re.Pattern[str]
    """A row that matches this is of the topic too, or too near it."""
    unless: re.Pattern[str] | None
    say: tuple[Rule[str], ...]


@cache
def topics() -> tuple[Topic, ...]:
    """The shipped topics."""
    raw = files(__package__).joinpath("data", "scenes_zh.toml").read_text("utf-8")
    made = []
    for item in tomllib.loads(raw)["topic"]:
        name, unless = item["name"], item.get("unless")
        made.append(
            Topic(
                name,
                re.compile(item["match"]),
                re.compile(item.get("rival", item["match"])),
                re.compile(unless) if unless else None,
                tuple(make("scene", f"{name}:{text}", text) for text in item["say"]),
            )
        )
    return tuple(made)


@cache
def _neutral() -> re.Pattern[str]:
    """Words that say nothing about what sets a row apart."""
    raw = files(__package__).joinpath("data", "scenes_zh.toml").read_text("utf-8")
    words = sorted(tomllib.loads(raw)["neutral"].split(), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words)))


class Scenes:
    """Which sentences each row of an FAQ may be asked with."""

    def __init__(self, faq: Faq, side: Generator) -> None:
        self._of: dict[int, list[Rule[str]]] = {}
        texts = [to_traditional(pair.question) for pair in faq.pairs]
        for topic in topics():
            rows = [i for i, text in enumerate(texts) if topic.rival.search(text)]
            rows = [i for i in rows if not (topic.unless and topic.unless.search(texts[i]))]
            answers = {faq.pairs[i].answer for i in rows}
            if len(answers) != 1:  # none, or several: then the sentence could mean either
                continue
            for i in rows:
                if topic.match.search(texts[i]) and _alone(topic, texts[i]):
                    self._of.setdefault(i, []).extend(on_side(topic.say, side))

    def of(self, row: int) -> list[Rule[str]]:
        """The sentences for one row, of all its topics."""
        return self._of.get(row, [])


def _alone(topic: Topic, text: str) -> bool:
    """Whether the question asks about the topic and nothing else.

    預購商品可以退貨嗎 holds 預購 beside the topic of returns: a plain sentence about returns
    would be asked of the wrong row.
    """
    left = _neutral().sub(" ", topic.match.sub(" ", text))
    return len(re.sub(r"[\W_]+", "", left)) <= 1


def pairs_with_scenes(faq: Faq) -> list[Pair]:
    """The rows that have any sentence of the training side; for figures."""
    scenes = Scenes(faq, "train")
    return [pair for i, pair in enumerate(faq.pairs) if scenes.of(i)]
