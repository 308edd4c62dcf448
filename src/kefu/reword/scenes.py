"""Sentences of everyday life that mean a common question of customer service.

A scene says what happened or what the person wants, without the words of the FAQ:
鞋底開口了怎麼處理 for a warranty row. Topics and sentences are data (`data/scenes_zh.toml`).
Used only where exactly one row of the FAQ has the topic and asks nothing beside it; knows
topics by their words alone.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from ..records import Faq
from .checks import is_chinese
from .registry import Generator, Rule, make, on_side
from .script import to_traditional
from .shells import bare

_NAME = re.compile(
    r"(?:(?!有關|關於|如何|附近|期間|向)[^，,。？?！!；;：:/、的是在可要有無何哪為會能及與並或「」《》\s]){0,14}"
    r"(?:館|中心|園|場|街|站|院|診所|銀行|分行|門市|店|季|節|音樂會|晚會|演唱會|展|營|市集|遊行|路跑|"
    r"課程|講座|班|泳池|球場|夜市|古道|碼頭|教室|健身房|餐廳|飯店|[「《][^「」《》]+[」》](?:特展)?)"
)
"""A place, an event or something quoted, alone: what people say they want to go to."""
LONGEST = 20
"""Letters of a name that a sentence still bears."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One intent: how its rows are known, and what people say who have it in mind."""

    name: str
    language: str
    match: tuple[re.Pattern[str], ...]
    """A question of this topic holds something of each."""
    also: re.Pattern[str] | None
    """What else a question of this topic may hold without asking for more."""
    unless: re.Pattern[str] | None
    """A question that holds this is of another topic."""
    say: tuple[Rule[str], ...]
    named: tuple[Rule[str], ...]
    """The same of something that the row names first, {x}: 信義館的開放時間."""

    def of(self, text: str) -> bool:
        """Whether a question is of this topic."""
        if self.unless and self.unless.search(text):
            return False
        return all(pattern.search(text) for pattern in self.match)


@cache
def topics(language: str) -> tuple[Topic, ...]:
    """The shipped topics of a language, `zh` or `en`."""
    return tuple(
        Topic(
            item["name"],
            language,
            tuple(re.compile(pattern, re.I) for pattern in item["match"]),
            re.compile(item["also"], re.I) if "also" in item else None,
            re.compile(item["unless"], re.I) if "unless" in item else None,
            _rules(item, "say"),
            _rules(item, "named"),
        )
        for item in _data(language)["topic"]
    )


def _rules(item: dict[str, Any], which: str) -> tuple[Rule[str], ...]:
    texts = item.get(which, ())
    return tuple(make("scene", f"{item['name']}:{text}", text, text) for text in texts)


@cache
def _data(language: str) -> dict[str, Any]:
    raw = files(__package__).joinpath("data", f"scenes_{language}.toml").read_text("utf-8")
    return tomllib.loads(raw)


@cache
def _neutral(language: str) -> re.Pattern[str]:
    """Words that say nothing about what sets a row apart."""
    words = sorted(_data(language)["neutral"].split(), key=len, reverse=True)
    either = "|".join(map(re.escape, words))
    return re.compile(rf"\b(?:{either})\b" if language == "en" else either, re.I)


class Scenes:
    """Which sentences each row of an FAQ may be asked with."""

    def __init__(self, faq: Faq, side: Generator) -> None:
        self._of: dict[int, list[Rule[str]]] = {}
        texts = [to_traditional(pair.question) for pair in faq.pairs]
        chinese = [is_chinese(text) for text in texts]
        for topic in (*topics("zh"), *topics("en")):
            rows = [
                i
                for i, text in enumerate(texts)
                if chinese[i] == (topic.language == "zh") and topic.of(text)
            ]
            if topic.named:
                self._name(faq, topic, side, {i: bare(texts[i]) for i in rows})
            if len({faq.pairs[i].answer for i in rows}) != 1:
                continue  # of no row, or of several: then the sentence could mean either
            for i in rows:
                if _alone(topic, texts[i]):
                    self._of.setdefault(i, []).extend(on_side(topic.say, side))

    def _name(self, faq: Faq, topic: Topic, side: Generator, rows: dict[int, str]) -> None:
        """The sentences about something named, where one row asks this of that name."""
        for i, text in rows.items():
            name = _name_in(topic, text)
            if not name:
                continue
            if len({faq.pairs[j].answer for j, other in rows.items() if name in other}) == 1:
                said = [
                    replace(r, payload=r.payload.format(x=name)) for r in on_side(topic.named, side)
                ]
                self._of.setdefault(i, []).extend(said)

    def of(self, row: int) -> list[Rule[str]]:
        """The sentences for one row, of all its topics."""
        return self._of.get(row, [])


def _alone(topic: Topic, text: str, most: int = 1) -> bool:
    """Whether the question asks about the topic and nothing else.

    預購商品可以退貨嗎 holds 預購 beside the topic of returns: a plain sentence about returns
    would be asked of the wrong row.
    """
    left = text
    for pattern in topic.match:
        left = pattern.sub(" ", left)
    if topic.also:
        left = topic.also.sub(" ", left)
    left = _neutral(topic.language).sub(" ", left)
    return len(re.sub(r"[\W_]+", "", left)) <= most


def _name_in(topic: Topic, text: str) -> str:
    """What a question names before it asks of the topic: 信義館 in 信義館的開放時間; "" if nothing.

    Up to the first place from where on the question holds nothing beside the topic.
    """
    for at in range(2, min(len(text) - 1, LONGEST)):
        rest = text[at:]
        if topic.of(rest) and _alone(topic, rest, 0):
            name = text[:at].rstrip("的之")
            return name if _NAME.fullmatch(name) else ""
    return ""
