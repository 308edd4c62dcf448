"""What was asked and answered, with votes and hand-overs, in SQLite.

Phone numbers, e-mail addresses and card numbers of customers are blacked out before a question is
written, by pattern: a number that is written in words is not seen. Answers come from the shop.
Knows nothing of what is made of it.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .workspace import now

_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
_PHONE = re.compile(r"(?<!\d)(?:\+\d{1,3}[ -]?\d{1,4}|\(0\d{1,3}\)|0\d{1,3})(?:[ -]?\d){5,8}(?!\d)")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS asked (
  id TEXT PRIMARY KEY, at TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL,
  handed_over INTEGER NOT NULL, confidence REAL NOT NULL, source TEXT, failed INTEGER NOT NULL,
  vote TEXT, model TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS asked_at ON asked (at);
CREATE TABLE IF NOT EXISTS dealt (id TEXT PRIMARY KEY, how TEXT NOT NULL, at TEXT NOT NULL);
"""
PLACE = Path(".serve") / "log.sqlite"
"""Where a workspace keeps its log."""


@dataclass(frozen=True, slots=True)
class Open:
    """A question that was handed over or voted down, and that nobody has dealt with."""

    id: str
    question: str
    answer: str
    handed_over: bool
    down: bool
    source: str | None
    model: str = ""
    """The run that was asked; empty in a log that was begun before a server had several."""


def redacted(text: str) -> str:
    """`text` without what would tell who asked."""
    for pattern, word in ((_MAIL, "[mail]"), (_CARD, "[card]"), (_PHONE, "[phone]")):
        text = pattern.sub(word, text)
    return text


class Log:
    """The log in one file; safe to use from several threads. Rows older than `days` are deleted,
    none where it is None."""

    def __init__(self, file: Path, *, days: int | None = 90, redact: bool = True) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._days, self._redact, self._cleaned = days, redact, 0.0
        self._lock = threading.Lock()
        self._base = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.executescript(_SCHEMA)
        columns = {row[1] for row in self._base.execute("PRAGMA table_info(asked)")}
        if "model" not in columns:  # a log that was begun before a server had several
            self._base.execute("ALTER TABLE asked ADD COLUMN model TEXT NOT NULL DEFAULT ''")

    def add(
        self,
        number: str,
        question: str,
        answer: str,
        *,
        model: str = "",
        handed_over: bool = False,
        confidence: float = 0.0,
        source: str | None = None,
        failed: bool = False,
    ) -> None:
        question = _whole(redacted(question) if self._redact else question)
        row = (number, now(), question, answer, handed_over, confidence, source, failed, model)
        with self._lock:
            self._base.execute("INSERT INTO asked VALUES (?,?,?,?,?,?,?,?,NULL,?)", row)
            due = time.monotonic() - self._cleaned > 3600 or not self._cleaned
            if self._days is not None and due:
                self._cleaned = time.monotonic()
                self._base.execute(
                    "DELETE FROM asked WHERE at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', ?)",
                    (f"-{self._days} days",),
                )
                self._base.execute("DELETE FROM dealt WHERE id NOT IN (SELECT id FROM asked)")

    def vote(self, number: str, vote: Literal["up", "down"]) -> bool:
        """False when nothing was answered under this number."""
        with self._lock:
            done = self._base.execute("UPDATE asked SET vote=? WHERE id=?", (vote, number))
            return done.rowcount > 0

    def open(self) -> tuple[Open, ...]:
        """What was handed over or voted down and not dealt with, oldest first."""
        with self._lock:
            found = self._base.execute(
                "SELECT id, question, answer, handed_over, vote = 'down', source, model FROM asked "
                "WHERE (handed_over OR vote = 'down') AND NOT failed AND trim(question) != '' "
                "AND id NOT IN (SELECT id FROM dealt) ORDER BY at, rowid"
            ).fetchall()
        return tuple(Open(i, q, a, bool(h), bool(d), s, m) for i, q, a, h, d, s, m in found)

    def deal(self, numbers: Iterable[str], how: Literal["accepted", "skipped"]) -> None:
        """These questions need not be shown again."""
        rows = [(number, how, now()) for number in numbers]
        with self._lock:
            self._base.executemany("INSERT OR REPLACE INTO dealt VALUES (?,?,?)", rows)

    def close(self) -> None:
        with self._lock:
            self._base.close()


def _whole(text: str) -> str:
    """The text as it is, but for halves of characters, which no file can hold."""
    return text.encode("utf-8", "replace").decode()
