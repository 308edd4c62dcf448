"""Bots that stay in memory from one question to the next, for a face that asks again and again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from ..records import Reply, Turn
from ..workspace import RunFolder

if TYPE_CHECKING:
    from ..bot import Bot

_one_at_a_time = Lock()


@lru_cache(maxsize=2)
def _open(path: Path, born: float) -> Bot:
    from ..bot import Bot

    return Bot.open(RunFolder(path))


def reply(folder: RunFolder, question: str, history: Sequence[Turn] = ()) -> Reply:
    """A finished run's reply; at most two bots are kept, and one answers at a time."""
    folder.check_finished()
    with _one_at_a_time:
        bot = _open(folder.path, folder.file("run.json").stat().st_mtime)
        return bot.answer(question, tuple(history))


def let_go() -> None:
    """Lets go of the bots: their memory is wanted elsewhere."""
    _open.cache_clear()
