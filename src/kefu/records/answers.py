"""Replies, their marks, and what is reported of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .faq import ExamQuestion


@dataclass(frozen=True, slots=True)
class Reply:
    """What a bot said to one question."""

    text: str
    handed_over: bool = False
    confidence: float = 1.0
    """Calibrated probability, 0 to 1, that `text` is the right answer."""
    source: str | None = None
    """The FAQ question whose answer this is, where the mode knows it."""
    stopped: bool = True
    """False when the answer was cut off before its terminator."""
    first_token: float = 0.0
    """Seconds to the first token."""
    last_token: float = 0.0
    """Seconds to the last token."""
    tokens: int = 0
    note: str = ""
    read: int = 0
    """Tokens of the prompts that the model read for it, where the mode knows them."""
    offered: tuple[str, ...] = ()
    """Handed over: the FAQ questions that were probably meant, likeliest first, at most three."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What is right and wrong with one answer. Facts are canonical, e.g. `phone:0800123456`."""

    right: bool
    handed_over: bool
    facts_right: tuple[str, ...] = ()
    facts_missing: tuple[str, ...] = ()
    facts_invented: tuple[str, ...] = ()
    """In the answer, nowhere in the FAQ."""
    facts_misplaced: tuple[str, ...] = ()
    """In the FAQ, but of another answer."""
    agreement: float = 0.0
    """Of the texts, 0 to 1; see `score`."""
    because: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One exam question, the reply to it, and its mark."""

    asked: ExamQuestion
    reply: Reply
    mark: Mark


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over the questions of one kind."""

    kind: str
    asked: int
    right: int
    wrong: int
    handed_over: int
    false_answers: int
    """Answered what it should have handed over."""
    false_hand_overs: int
    """Handed over what the FAQ answers."""
    invented: int
    """Answers with at least one invented fact."""
    offered: int = 0
    """Of the false hand-overs, those that offered the FAQ question that was meant."""
    low: float = 0.0
    """Of the share right: lower end of the 95 % interval (Wilson)."""
    high: float = 0.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """One examinee in a report: the run itself or a control."""

    name: str
    tallies: tuple[Tally, ...]
    overall: Tally
    first_token: float = 0.0
    """Median seconds."""
    last_token: float = 0.0
    """Median seconds."""
    last_token_p95: float = 0.0
    gained: int = 0
    """Of a control: questions that the run got right and it got wrong."""
    lost: int = 0
    """Of a control: questions that it got right and the run got wrong."""


@dataclass(frozen=True, slots=True)
class Stale:
    """A row that was edited after the training, and that the bot still answers in its old form."""

    question: str
    old: str
    new: str
    """Empty where the row is gone."""
    origin: str
    """Where it stands, or stood, in the owner's file."""


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of an exam. Data only: the terminal, Markdown and HTML are pictures of it."""

    run: str
    exam_digest: str
    faq_digest: str
    created: str
    """ISO 8601, UTC."""
    candidates: tuple[Candidate, ...]
    """The run first, then the controls."""
    verdicts: tuple[Verdict, ...]
    """Of the run, in the exam's order."""
    sentence: str
    """Whether fine-tuning earned its keep on this FAQ, in one plain sentence."""
    mode: str = ""
    threshold: float = 0.0
    curve: tuple[tuple[float, float, float], ...] = ()
    """(threshold, share of questions answered, share of those answered wrongly)."""
    versions: dict[str, str] = field(default_factory=dict)
    stale: tuple[Stale, ...] = ()
    """Rows of today's FAQ file that the bot answers as they were when it was trained."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs on one exam."""

    a: str
    b: str
    changed: tuple[tuple[str, str, str], ...]
    """(what, in a, in b): differences of data and plan."""
    fixed: tuple[str, ...]
    """Questions that a got wrong and b got right."""
    broken: tuple[str, ...]
    right_a: int
    right_b: int
    asked: int
    p_value: float
    """Exact two-sided McNemar test on the questions on which they differ."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Release:
    """A run that was let out, by whom, when."""

    run: str
    by: str
    at: str
    """ISO 8601, UTC."""
    report_digest: str
    reasons: tuple[str, ...] = ()
    back: bool = False
    """True when this record returns to an earlier release."""


def as_dict(record: Any) -> Any:
    """A record as plain JSON-able containers."""
    return asdict(record)
