"""What customers ask anywhere, in many wordings, grouped by what they want: a corpus.

The project's own (`data/*.txt`, Apache-2.0), in Traditional Chinese and some English, written
without sight of any FAQ or exam; `aside/*.txt` is of the same kind, and nothing is trained on it.
From the others the adapters that kefu brings for a base have learned that very different words can
ask for one thing, very similar words for different things, and what an answer covers. kefu itself
does not read it. One block an intent, blocks parted by an empty line:

# topic | the intent in a few words
a wording
another wording
= the answer that a shop might give
! a near-miss: alike in letters or topic, and the same answer would be wrong
+ a question that this very answer covers
- a question beside it that this answer does not cover, worded like those above
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DATA, ASIDE = (Path(__file__).parent / name for name in ("data", "aside"))


@dataclass(frozen=True, slots=True)
class Intent:
    """Questions that one answer would serve."""

    topic: str
    name: str
    """What the asker wants, in a few words."""
    wordings: tuple[str, ...]
    """Plain ones first, as they stand in the file."""
    near: tuple[str, ...] = ()
    """Near-misses: questions that the same answer would not serve."""
    answer: str = ""
    """What a shop or office might answer, where the corpus has it."""
    covered: tuple[str, ...] = ()
    """Questions beyond the intent's own that the answer covers all the same."""
    beside: tuple[str, ...] = ()
    """Questions that the answer does not cover, alike in style, length and words to `covered`: what
    tells the two apart is the answer alone."""


@cache
def intents(folder: Path = DATA) -> tuple[Intent, ...]:
    """All intents of the corpus, or of what lies aside, in the order of their files."""
    found: list[Intent] = []
    for file in sorted(folder.glob("*.txt")):
        found += parse(file.read_text(encoding="utf-8"), file.name)
    return tuple(found)


def parse(text: str, where: str = "corpus") -> Iterator[Intent]:
    """The intents of one file's text. Raises ValueError with `where` and the block's first line."""
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        if not lines:
            continue
        topic, bar, name = lines[0].removeprefix("#").partition("|")
        if not lines[0].startswith("#") or not bar or not topic.strip() or not name.strip():
            raise ValueError(f"{where}: a block must begin with `# topic | intent`: {lines[0]}")
        if inside := next((line for line in lines[1:] if line[0] == "#"), None):
            raise ValueError(f"{where}: no empty line stands before a block: {inside}")
        marked = {mark: tuple(x[1:].strip() for x in lines[1:] if x[0] == mark) for mark in "=!+-"}
        wordings = tuple(line for line in lines[1:] if line[0] not in marked)
        if len(wordings) < 2:
            raise ValueError(f"{where}: an intent needs two wordings: {lines[0]}")
        yield Intent(
            topic.strip(),
            name.strip(),
            wordings,
            marked["!"],
            "".join(marked["="]),
            marked["+"],
            marked["-"],
        )


def dealt(all_of: Sequence[Intent], parts: int, salt: str = "") -> list[list[Intent]]:
    """The intents in `parts` lists of about equal size, each topic whole in one of them.

    So that no sibling of an intent in one list stands in another. Which list a topic goes to
    follows from its name (and `salt`) alone: new topics move no old one.
    """
    hands: list[list[Intent]] = [[] for _ in range(parts)]
    for intent in all_of:
        digest = hashlib.sha256(f"{salt}:{intent.topic}".encode()).digest()
        hands[int.from_bytes(digest[:8], "big") % parts].append(intent)
    return hands
