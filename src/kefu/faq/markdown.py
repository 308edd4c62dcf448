"""Markdown and plain text: headings with text below, `Q:`/`A:` lines, bold questions, tables.

Row numbers are lines of the file. Does not render Markdown: an answer keeps its marks, and
`check` says so.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from . import columns
from .parsed import Parsed, Row
from .tables import Grid, extract, layout

_HEADING = re.compile(r" {0,3}(#{1,6})\s+(.*)$")
_Q = re.compile(
    r"\s{0,4}(?:[-*+]\s{1,4}|#{1,6}\s{1,4}|>\s{0,4}|\d+[.)]\s{1,4})?(?:\*\*|__)?\s{0,4}"
    r"(?:Q|問題?|问题?|提問|提问|Question)\s{0,4}\d{0,4}\s{0,4}(?:\*\*|__)?\s{0,4}[:：.．、)）]\s{0,4}(?:\*\*|__)?(.*)$",
    re.IGNORECASE,
)
_A = re.compile(
    r"\s{0,4}(?:[-*+]\s{1,4}|#{1,6}\s{1,4}|>\s{0,4})?(?:\*\*|__)?\s{0,4}"
    r"(?:A|Ans|答案?|答覆|答复|回答|回覆|回复|Answer)\s{0,4}\d{0,4}\s{0,4}(?:\*\*|__)?\s{0,4}[:：.．、)）]\s{0,4}(?:\*\*|__)?(.*)$",
    re.IGNORECASE,
)
_BOLD = re.compile(r"\s*(?:[-*+]\s+|\d+[.)、]\s*)?(?:\*\*|__)(.+?)(?:\*\*|__)\s*$")
_NUMBER = re.compile(
    r"^(?:Q|問|问)?\s*\d{1,4}\s*[.．、:：)）]\s*|^[(（]?[一二三四五六七八九十]{1,3}[)）]?[、.．]\s*",
    re.I,
)
_WORDINGS = re.compile(
    r"\s*(?:[-*+]\s+)?(?:\*\*)?(wordings?|其他問法|其它問法|其他问法|相似問法?|相似问法?|問法|问法)(?:\*\*)?\s*[:：]\s*(.*)$",
    re.I,
)


@dataclass(slots=True)
class _Piece:
    """A question being gathered, with the lines of its answer."""

    question: str
    line: int
    topic: str | None
    answer: list[str]


def parse(text: str) -> Parsed | None:
    """Rows of a Markdown or plain text, or None when nothing in it looks like an FAQ."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for reader in (_labelled, _tables, _headings, _bold):
        parsed = reader(lines)
        if parsed:
            return parsed
    return None


def _has_labels(lines: list[str]) -> bool:
    """Whether a text is written as `Q:` and `A:` lines."""
    asked = sum(1 for line in lines if _Q.match(line))
    replied = sum(1 for line in lines if _A.match(line))
    return asked > 0 and replied * 2 >= asked


def _labelled(lines: list[str]) -> Parsed | None:
    if not _has_labels(lines):
        return None
    pieces: list[_Piece] = []
    topic: str | None = None
    answering = False
    for number, line in enumerate(lines, start=1):
        asked, replied, heading = _Q.match(line), _A.match(line), _HEADING.match(line)
        if asked:
            pieces.append(_Piece(_bare(asked.group(1)), number, topic, []))
            answering = False
        elif replied and pieces and not answering:
            pieces[-1].answer.append(replied.group(1).removesuffix("**"))
            answering = True
        elif heading and (answering or not pieces):
            topic = _title(heading)
            answering = False
        elif answering:
            pieces[-1].answer.append(line)
        elif pieces and line.strip() and not pieces[-1].answer:
            pieces[-1].question = f"{pieces[-1].question}\n{line.strip()}".strip()
    return _finish(pieces, "Q: lines", "A: lines")


def _tables(lines: list[str]) -> Parsed | None:
    """Markdown tables whose header names a question and an answer."""
    rows: list[Row] = []
    names = ("", "")
    block: list[tuple[int, list[str]]] = []
    for number, line in enumerate([*lines, ""], start=1):
        if line.strip().startswith("|"):
            if not re.fullmatch(r"[\s|:\-]+", line):
                cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
                block.append((number, [c.strip().replace("\\|", "|") for c in cells]))
            continue
        at = layout(Grid(block)) if block else None
        if at and at.header:
            rows += extract(Grid(block), at)
            names = (at.name(at.question), at.name(at.answer))
        block = []
    return Parsed(rows, "markdown table", "", *names) if rows else None


def _headings(lines: list[str]) -> Parsed | None:
    """Headings of one level are the questions: the level that asks most, else has most text."""
    found: list[tuple[int, int, str]] = []
    fenced = False
    plain = list(lines)
    for number, line in enumerate(lines, start=1):
        fenced ^= line.lstrip().startswith(("```", "~~~"))
        heading = None if fenced else _HEADING.match(line)
        if heading:
            found.append((number, len(heading.group(1)), _title(heading)))
        elif number > 1 and not fenced and re.fullmatch(r"(={3,}|-{3,})\s*", line):
            title = lines[number - 2].strip()
            if title:
                found.append((number - 1, 1 if line[0] == "=" else 2, title))
                plain[number - 1] = ""
    if not found:
        return None
    ends = [number for number, _, _ in found[1:]] + [len(lines) + 1]
    texts = Counter[int]()
    asking = Counter[int]()
    for (number, level, title), end in zip(found, ends, strict=True):
        if any(line.strip() for line in plain[number : end - 1]):
            texts[level] += 1
            asking[level] += columns.asks(title)
    if not texts:
        return None
    best = (
        asking.most_common(1)[0][0] if asking.total() else max(texts, key=lambda k: (texts[k], k))
    )
    pieces: list[_Piece] = []
    topic: str | None = None
    for (number, level, title), end in zip(found, ends, strict=True):
        body = plain[number : end - 1]
        if level == best:
            pieces.append(_Piece(_bare(title), number, topic, body))
        elif level < best:
            topic = title if level > 1 or best == 2 else None
            if columns.asks(title) and any(line.strip() for line in body):
                pieces.append(_Piece(_bare(title), number, None, body))
        elif pieces:
            pieces[-1].answer += [lines[number - 1], *body]
    return _finish(pieces, "headings", "text below")


def _bold(lines: list[str]) -> Parsed | None:
    """Bold lines that ask, with the text below as the answer."""
    pieces: list[_Piece] = []
    for number, line in enumerate(lines, start=1):
        bold = _BOLD.match(line)
        if bold and columns.asks(bold.group(1)):
            pieces.append(_Piece(_bare(bold.group(1)), number, None, []))
        elif pieces:
            pieces[-1].answer.append(line)
    return _finish(pieces, "bold lines", "text below") if len(pieces) > 1 else None


def _finish(pieces: list[_Piece], question: str, answer: str) -> Parsed | None:
    rows: list[Row] = []
    for piece in pieces:
        wordings: list[str] = []
        kept: list[str] = []
        for line in piece.answer:
            other = _WORDINGS.match(line)
            if other:
                wordings += columns.split_wordings(other.group(2))
            elif not re.fullmatch(r"\s*(-{3,}|\*{3,}|_{3,})\s*", line):
                kept.append(line.rstrip())
        body = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
        rows.append(
            Row(piece.question, body, piece.line, wordings=tuple(wordings), topic=piece.topic)
        )
    return Parsed(rows, "markdown", "", question, answer) if rows else None


def _title(heading: re.Match[str]) -> str:
    """A heading's text without the closing hashes."""
    return heading.group(2).rstrip().rstrip("#").rstrip()


def _bare(title: str) -> str:
    """A title without bold marks and numbering."""
    title = title.strip().strip("*_").strip()
    return _NUMBER.sub("", title).strip() or title
