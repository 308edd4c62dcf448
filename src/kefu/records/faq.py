"""An FAQ, and what is trained and asked of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Literal

Level = Literal["stop", "warn", "note"]
Kind = Literal["known", "reworded", "near-miss", "out-of-scope", "multi-turn", "hostile"]
Mode = Literal["sample", "free", "locked", "verbatim"]
Turn = tuple[str, str]
"""One past exchange of a conversation: (what the user asked, what the bot answered)."""
Shown = tuple[str, str]
"""A row of the FAQ as a prompt carries it: (its question, which may be empty, and its answer)."""
Book = Literal["closed", "open"]
"""Whether a bot knows its answers by heart, or looks them up and has them in its prompt."""

KINDS: tuple[Kind, ...] = (
    "known",
    "reworded",
    "near-miss",
    "out-of-scope",
    "multi-turn",
    "hostile",
)
MODES: tuple[Mode, ...] = ("sample", "free", "locked", "verbatim")


def digest(value: object) -> str:
    """SHA-256 (hex) of a JSON-able value, independent of key order and of platform."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row stands in the owner's file, as the owner's own program counts."""

    file: str
    row: int
    """1-based line or spreadsheet row; for JSON the 1-based number of the item."""
    sheet: str | None = None

    def __str__(self) -> str:
        unit = "item" if self.file.endswith((".json", ".jsonl")) else "row"
        sheet = f" sheet {self.sheet!r}" if self.sheet else ""
        return f"{self.file}{sheet} {unit} {self.row}"


@dataclass(frozen=True, slots=True)
class Pair:
    """One question of the FAQ with its one answer, and other ways to ask it."""

    question: str
    answer: str
    origin: Origin
    wordings: tuple[str, ...] = ()
    topic: str | None = None
    must_pass: bool = False

    @property
    def phrasings(self) -> tuple[str, ...]:
        """The question itself, then its other wordings."""
        return (self.question, *self.wordings)


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read, and how it was understood."""

    file: str
    format: str
    encoding: str
    pairs: int
    question_column: str
    answer_column: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an FAQ was read and by which columns, so that it can be read again."""

    path: str
    question: str | None = None
    answer: str | None = None
    sheet: str | None = None


@dataclass(frozen=True, slots=True)
class Faq:
    """All pairs of an FAQ file (or folder), in file order."""

    pairs: tuple[Pair, ...]
    sources: tuple[Source, ...]
    incomplete: tuple[Pair, ...] = ()
    """Rows with only a question or only an answer: `check` complains about them."""
    place: Place | None = None

    @property
    def digest(self) -> str:
        """Changes when a question, wording or answer changes; not when a file is renamed."""
        return digest([[p.question, p.answer, list(p.wordings)] for p in self.pairs])


def trained_part(faq: Faq, rows: Iterable[Example]) -> Faq:
    """The FAQ with only those other wordings that stand in `rows`: what may be known in an exam."""
    wordings: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.wording and row.source is not None:
            wordings.setdefault(row.source, {})[row.question] = None
    pairs = []
    for pair in faq.pairs:
        found = [text for text in wordings.get(pair.question, ()) if text != pair.question]
        pairs.append(replace(pair, wordings=tuple(found)))
    return replace(faq, pairs=tuple(pairs))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with an FAQ, where, and what to do about it."""

    level: Level
    code: str
    """The class of defect, kebab-case, e.g. `empty-cell`, `near-duplicate`."""
    message: str
    remedy: str
    origins: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """One row of training or calibration data. `answer` None means: hand over to a person."""

    question: str
    answer: str | None
    source: str | None = None
    """The FAQ question that it belongs to, or lies near."""
    history: tuple[Turn, ...] = ()
    kind: str = "known"
    brief: bool = False
    """Trained on the answer's beginning only, see prompt.py: for wordings made by rules."""
    shown: tuple[Shown, ...] = ()
    """Rows that its prompt carries, in this order: open book."""

    @property
    def wording(self) -> bool:
        """Whether it is one wording of a question of the FAQ, asked by itself."""
        answered = self.source is not None and self.answer is not None
        return answered and not self.history and not self.shown and self.kind != "answer"


@dataclass(frozen=True, slots=True)
class ExamQuestion:
    """One question of an exam, with the only answer that counts as right."""

    question: str
    kind: Kind
    answer: str | None
    """The FAQ's answer, or None where the question must be handed to a person."""
    source: str | None = None
    history: tuple[Turn, ...] = ()
    must_not: str | None = None
    must_pass: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """An FAQ divided into what is trained, what sets the threshold, and what is asked.

    No two wordings of one question, and no two near-identical questions, lie on two sides.
    """

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    """Never trained on: sets the hand-over threshold and stops training early."""
    exam: tuple[ExamQuestion, ...] = ()
    leak: float = 0.0
    """The highest similarity (0 to 1) between a reworded exam question and a trained one."""
    notes: tuple[str, ...] = ()
    """What the person should know about this split, in whole sentences."""

    @property
    def digest(self) -> str:
        return digest([asdict(e) for e in (*self.train, *self.held_out)])
