"""What the studio says, in two languages, and how it looks. Knows words, no figures."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..records import Finding

Language = Literal["zh-TW", "en"]
LANGUAGES: tuple[Language, ...] = ("zh-TW", "en")


class Say:
    """Says in one language what a key of data/words.toml stands for: `say("row", 3)`."""

    def __init__(self, language: Language) -> None:
        self.language = language
        text = (files(__package__) / "data" / "words.toml").read_text("utf-8")
        self._words: dict[str, Any] = tomllib.loads(text)
        pictures = Environment(
            loader=PackageLoader(__package__, "data"), autoescape=True,
            undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        ).get_template("pictures.html")  # fmt: skip
        self._pictures = pictures.make_module({"say": self})

    def __call__(self, key: str, *parts: object) -> str:
        text: str = self._words[key][LANGUAGES.index(self.language)]
        return text.format(*parts) if parts else text

    def picture(self, name: str, *facts: object) -> str:
        """A picture of data/pictures.html; everything that is filled in is escaped."""
        return str(getattr(self._pictures, name)(*facts))

    def finding(self, found: Finding) -> str:
        """What is wrong and what to do about it; a defect with no words yet has its own."""
        known = self._words["findings"] if self.language == "zh-TW" else {}
        return str(known.get(found.code, f"{found.message} {found.remedy}"))

    def plan(self, field: str) -> tuple[str, str]:
        """The name of a number of the plan, and what it is in one line."""
        name, what = self._words["plan"][self.language].get(field, (field, ""))
        return name, what


def preferred(header: str) -> Language:
    """The language for an Accept-Language header: what is asked for first, else English."""
    for part in header.lower().split(","):
        if part.strip().startswith("zh"):
            return "zh-TW"
        if part.strip().startswith("en"):
            return "en"
    return "en"
