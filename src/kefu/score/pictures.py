"""Pictures of a report: plain text and Markdown here, the HTML page in `page`."""

from __future__ import annotations

from ..records import Report
from .sentences import Language, sentence

__all__ = ["as_html", "as_markdown", "as_text", "sentence"]


def as_text(report: Report, language: Language = "en") -> str:
    """For a terminal."""
    return sentence(report, language)


def as_markdown(report: Report, language: Language = "en") -> str:
    """For a README or an issue."""
    return sentence(report, language)


def as_html(report: Report, language: Language = "en") -> str:
    """A self-contained page."""
    return sentence(report, language)
