"""What was asked and answered, with votes and hand-overs, in SQLite.

Phone numbers, e-mail addresses and card numbers of customers are blacked out before a question is
written, by pattern: a number that is written in words is not seen. Answers come from the shop.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from pathlib import Path
from typing import Literal

from ..workspace import now

_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
_PHONE = re.compile(r"(?<!\d)(?:\+\d{1,3}[ -]?\d{1,4}|\(0\d{1,3}\)|0\d{1,3})(?:[ -]?\d){5,8}(?!\d)")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS asked (
  id TEXT PRIMARY KEY, at TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL,
  handed_over INTEGER NOT NULL, confidence REAL NOT NULL, source TEXT, failed INTEGER NOT NULL,
  vote TEXT);
CREATE INDEX IF NOT EXISTS asked_at ON asked (at);
"""


def redacted(text: str) -> str:
    """`text` without what would tell who asked."""
    for pattern, word in ((_MAIL, "[mail]"), (_CARD, "[card]"), (_PHONE, "[phone]")):
        text = pattern.sub(word, text)
    return text


class Log:
    """The log in one file; safe to use from several threads. `days` old rows are deleted."""

    def __init__(self, file: Path, *, days: int = 90, redact: bool = True) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._days, self._redact, self._cleaned = days, redact, 0.0
        self._lock = threading.Lock()
        self._base = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.executescript(_SCHEMA)

    def add(
        self,
        number: str,
        question: str,
        answer: str,
        *,
        handed_over: bool = False,
        confidence: float = 0.0,
        source: str | None = None,
        failed: bool = False,
    ) -> None:
        question = _whole(redacted(question) if self._redact else question)
        row = (number, now(), question, answer, handed_over, confidence, source, failed)
        with self._lock:
            self._base.execute("INSERT INTO asked VALUES (?,?,?,?,?,?,?,?,NULL)", row)
            if time.monotonic() - self._cleaned > 3600 or not self._cleaned:
                self._cleaned = time.monotonic()
                self._base.execute(
                    "DELETE FROM asked WHERE at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', ?)",
                    (f"-{self._days} days",),
                )

    def vote(self, number: str, vote: Literal["up", "down"]) -> bool:
        """False when nothing was answered under this number."""
        with self._lock:
            done = self._base.execute("UPDATE asked SET vote=? WHERE id=?", (vote, number))
            return done.rowcount > 0

    def close(self) -> None:
        with self._lock:
            self._base.close()


def _whole(text: str) -> str:
    """The text as it is, but for halves of characters, which no file can hold."""
    return text.encode("utf-8", "replace").decode()
