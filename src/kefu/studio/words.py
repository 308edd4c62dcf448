"""What the studio says, in two languages, and how it looks. Knows words, no figures."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..score import Language

LANGUAGES: tuple[Language, ...] = ("zh-TW", "en")


class Say:
    """Says in one language what a key of data/words.toml stands for: `say("row", 3)`."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.place = LANGUAGES.index(language)
        self.twin = LANGUAGES[1 - self.place]
        data = files(__package__) / "data"
        self._words: dict[str, Any] = tomllib.loads((data / "words.toml").read_text("utf-8"))
        self._remedies = json.loads((data / "remedies.json").read_text("utf-8"))
        pictures = Environment(
            loader=PackageLoader(__package__, "data"), autoescape=True,
            undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        ).get_template("pictures.html")  # fmt: skip
        self._pictures = pictures.make_module({"say": self})

    def __call__(self, key: str, *parts: object) -> str:
        text: str = self._words[key][self.place]
        return text.format(*parts) if parts else text

    def picture(self, name: str, *facts: object) -> str:
        """A picture of data/pictures.html; everything that is filled in is escaped."""
        return str(getattr(self._pictures, name)(*facts))

    def told(self, of: str, code: str, own: str) -> str:
        """What a finding or a cause is and what to do about it; without words here its `own`."""
        return own if self.place else str(self._words[of].get(code, own))

    def remedy(self, what: str, anchor: str) -> str:
        """What the troubleshooting guide of this language says of an error, or nothing."""
        known = {} if self.place else self._remedies.get(anchor, {})
        told = [p for p in known if re.search(re.escape(p).replace("…", ".*"), what, re.DOTALL)]
        return str(known.get(max(told, key=len, default=None), ""))

    def plan(self, field: str) -> tuple[str, str]:
        """The name of a number of the plan, and what it is in one line."""
        name, what = self._words["plan"][self.language].get(field, (field, ""))
        return name, what


def preferred(header: str) -> Language:
    """The language for an Accept-Language header: what is asked for first, else English."""
    found = re.search(r"\b(zh|en)\b", header.lower())
    return "zh-TW" if found and found[1] == "zh" else "en"
