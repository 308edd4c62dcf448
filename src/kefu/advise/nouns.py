"""What advice is made from, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..records import Example, Finding, Origin, Pair, Plan, Report, Step

Name = Literal[
    "data", "near-rows", "wordings", "exposures", "rate", "rank", "hand-over", "too-strict",
    "too-loose", "mode", "base",
]  # fmt: skip
ORDER: tuple[Name, ...] = (
    "data", "rate", "exposures", "rank", "hand-over", "too-strict", "near-rows", "wordings",
    "too-loose", "mode", "base",
)  # fmt: skip
"""Of causes that explain equally much, the one that is mended most surely comes first."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a run and its exam left behind."""

    run: str
    plan: Plan
    pairs: tuple[Pair, ...]
    """The FAQ as it was when the run was made, with the places of its rows."""
    examples: tuple[Example, ...]
    """What was trained."""
    steps: tuple[Step, ...]
    report: Report
    findings: tuple[Finding, ...] = ()
    """What `check` says about the FAQ of the run."""
    allowed: float = 0.02
    """The share of false answers that the threshold was set for."""
    usual: Plan | None = None
    """What kefu plans for these rows on that base by itself."""
    larger: tuple[str, ...] = ()
    """Bases that are larger and fit the run's machine, the next larger first."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the FAQ with what happened to it in the exam."""

    question: str
    origin: Origin | None
    said: str
    """What is the matter, in a sentence."""
    explains: int
    """Exam questions that were lost by it."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One likely cause, the evidence for it, and the remedy."""

    name: Name
    explains: int
    """Exam questions that were answered wrongly or handed over by this cause."""
    because: str
    """The evidence, in whole sentences."""
    remedy: str
    cases: tuple[Case, ...]
    """Row by row, those that explain most first."""
    questions: tuple[str, ...]
    """The exam questions."""
    again: bool
    """Whether `kefu train --again` can do something about it by itself."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about a run. Every missed exam question is explained by one cause."""

    run: str
    asked: int
    right: int
    wrong: int
    handed_over: int
    """Handed over, though the FAQ answers it."""
    sentence: str
    causes: tuple[Cause, ...]
    """Those that explain most first; none where all is well."""
    remarks: tuple[str, ...] = ()
    """What the exam cannot show, in whole sentences."""
