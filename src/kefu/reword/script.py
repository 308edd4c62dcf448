"""Traditional and Simplified through OpenCC, each converter made once and late.

Knows characters and Taiwan's vocabulary as OpenCC's dictionaries have them, nothing else.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any


@cache
def _converter(name: str) -> Any:
    from opencc import OpenCC  # reads its dictionaries: 0.1 s that `--help` need not pay

    return OpenCC(name)


@lru_cache(maxsize=65536)
def convert(text: str, how: str) -> str:
    """The text by one of OpenCC's configurations, e.g. `t2s`, `tw2sp`, `s2twp`."""
    return str(_converter(how).convert(text))


def is_simplified(text: str) -> bool:
    """Whether the text holds characters that only Simplified has, and none that it has not."""
    return convert(text, "t2s") == text != convert(text, "s2t")


def to_traditional(text: str) -> str:
    """Simplified text in Traditional characters; Traditional text as it is."""
    return convert(text, "s2tw") if is_simplified(text) else text
