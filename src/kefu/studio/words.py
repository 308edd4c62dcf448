"""What the studio says, in two languages. Knows words, no figures."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Language = Literal["zh-TW", "en"]
LANGUAGES: tuple[Language, ...] = ("zh-TW", "en")
Say = Callable[..., str]


@cache
def _words() -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "data" / "words.toml").read_text("utf-8"))


def sayer(language: Language) -> Say:
    """A function from a key, and what fills its gaps, to a sentence in that language."""
    place = LANGUAGES.index(language)

    def say(key: str, *parts: object) -> str:
        text: str = _words()[key][place]
        return text.format(*parts) if parts else text

    return say


def finding_in_chinese(code: str) -> str:
    """What a class of defect is and what to do about it; empty where it has no words yet."""
    text: str = _words()["findings"].get(code, "")
    return text


def plan_words(language: Language) -> dict[str, tuple[str, str]]:
    """Fields of a plan: (name, what it is in one line)."""
    return {field: (name, what) for field, (name, what) in _words()["plan"][language].items()}


def preferred(header: str) -> Language:
    """The language for an Accept-Language header: what is asked for first, else English."""
    for part in header.lower().split(","):
        if part.strip().startswith("zh"):
            return "zh-TW"
        if part.strip().startswith("en"):
            return "en"
    return "en"
