"""Whether a bot knows its answers by heart or looks them up, and how many rows it then reads.

Knows what was measured (LOG.md, "Open book"), and nothing of how rows are found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SettingsError
from ..records import Book, Choice, Faq
from .job import YOURS
from .rows import guess

if TYPE_CHECKING:
    from ..settings import Settings

ROWS, FEWEST, TOKENS = 3, 2, 600
"""Rows of a prompt at most and at least, and the tokens that they may take together: every one is
read anew for every answer."""
LARGE = 1_000_000_000
"""Parameters from which on a base was not measured."""


def book(settings: Settings, parameters: int) -> Choice[Book]:
    """Which book. Raises SettingsError where the recipe has none that is open."""
    if settings.book == "open" and settings.recipe == "tutorial":
        raise SettingsError(
            'The recipe "tutorial" has no open book.',
            'Write `recipe = "default"`, or `book = "closed"`.',
        )
    if settings.book == "open":
        return Choice("open", f"{YOURS} Edited rows are answered newly without training.")
    if settings.book == "closed":
        return Choice("closed", YOURS)
    edited = 'Where answers change often, write `book = "open"`.'
    if parameters >= LARGE:
        return Choice("closed", f"Open book was not measured with a base of this size. {edited}")
    return Choice(
        "closed",
        "By heart: with a small base, reading the rows answered no more questions rightly, and "
        f"training takes 1.4 times the steps, of longer rows. {edited}",
    )


def shown(chosen: Book, faq: Faq, vocab: int) -> Choice[int]:
    """How many rows a prompt carries. Counted by letters, so that it is the same in every call."""
    if chosen == "closed":
        return Choice(0, "Closed book: the prompt carries no rows.")
    count = guess(vocab)
    mean = sum(count(p.question) + count(p.answer) for p in faq.pairs) / len(faq.pairs)
    number = min(len(faq.pairs), max(FEWEST, min(ROWS, int(TOKENS / mean))))
    return Choice(
        number,
        f"A row has about {mean:.0f} tokens, and all of them are read for every answer: at most "
        f"{ROWS}, and {TOKENS} tokens.",
    )
