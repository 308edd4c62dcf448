"""How findings are worded: examples short enough for a line, and findings about several rows."""

from __future__ import annotations

from collections.abc import Iterable

from ..records import Finding, Level, Pair


def quote(text: str, length: int = 30) -> str:
    """A text short enough for a message, on one line."""
    line = " ".join(text.split())
    return f"「{line if len(line) <= length else line[: length - 1] + '…'}」"


def finding(level: Level, code: str, message: str, remedy: str, pairs: Iterable[Pair]) -> Finding:
    """A finding about these pairs, each place once."""
    return Finding(level, code, message, remedy, tuple(dict.fromkeys(p.origin for p in pairs)))
