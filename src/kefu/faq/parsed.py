"""What every file reader hands to `reader`: rows as found, before they become pairs.

Also the tidying that all formats share: outer blanks, line ends, halves of surrogate pairs,
and the separators and stop words of old fine-tuning files. Does not know any file format.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace

_SURROGATES = re.compile("[\ud800-\udfff]")
_SEPARATOR = re.compile(r"\s*(?:#{2,}|-{1,2}>|=+>|→|-{3,}|={3,}|\|{2,}|<\|?sep\|?>|\[SEP\])\s*$")
_LABEL = re.compile(
    r"\s*\n\s*(?:A|Answer|Response|Assistant|答|答案|回答|### ?Response|### ?回應)\s*[:：]\s*$"
)
_STOP = re.compile(
    r"\s*(?:\bEND|\bSTOP|\bDONE|#{2,}(?:\s*(?:END|STOP)\s*#*)?|<\|[A-Za-z_]+\|>|</s>|\[(?:END|STOP|EOS)\]|<(?:END|EOS)>)\s*$"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row as found. `input` is the second field of instruction/input/output files."""

    question: str
    answer: str
    row: int
    sheet: str | None = None
    input: str = ""
    wordings: tuple[str, ...] = ()
    topic: str | None = None
    must_pass: bool = False


@dataclass(slots=True)
class Parsed:
    """One file's rows and how they were understood."""

    rows: list[Row]
    format: str
    encoding: str
    question_column: str
    answer_column: str
    remarks: list[str] = field(default_factory=list)


def tidy(text: str) -> str:
    """A cell's text with plain line feeds and no outer blanks; `check` sees what is invisible."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("_x000D_", "")
    return _SURROGATES.sub("\ufffd", text).strip(" \t\n\u3000\u00a0\ufeff")


def finish(parsed: Parsed) -> Parsed:
    """Joins instruction and input, and takes away separators and stop words that all rows carry."""
    rows = _join_inputs(parsed)
    rows, separator = _strip(rows, "question")
    rows, stop = _strip(rows, "answer")
    if separator:
        parsed.remarks.append(
            f"the separator {separator!r} at the end of each question was removed"
        )
    if stop:
        parsed.remarks.append(f"the stop word {stop!r} at the end of each answer was removed")
    parsed.rows = [
        replace(
            row,
            question=tidy(row.question),
            answer=tidy(row.answer),
            wordings=_distinct(row),
            topic=tidy(row.topic) or None if row.topic else None,
        )
        for row in rows
    ]
    return parsed


def _distinct(row: Row) -> tuple[str, ...]:
    """Wordings in their order, without empties and without the question itself."""
    question = tidy(row.question)
    return tuple(dict.fromkeys(w for w in map(tidy, row.wordings) if w and w != question))


def _join_inputs(parsed: Parsed) -> list[Row]:
    """`input` belongs to the question; if one instruction serves all rows, it is the question."""
    rows = parsed.rows
    filled = [row for row in rows if row.input.strip()]
    if not filled:
        return rows
    instructions = {row.question.strip() for row in filled}
    if len(filled) >= 0.9 * len(rows) and len(instructions) <= max(1, len(filled) // 10):
        if any(instructions):
            parsed.remarks.append(
                "the input is the question, as the instruction is always the same"
            )
        return [replace(row, question=row.input) if row.input.strip() else row for row in rows]
    parsed.remarks.append("where a row has an input, it was joined to the instruction")
    return [
        replace(row, question=f"{row.question.strip()}\n{row.input.strip()}".strip())
        for row in rows
    ]


def _strip(rows: list[Row], part: str) -> tuple[list[Row], str]:
    """Removes the mark that at least four of five texts end in; gives the mark back."""
    patterns = (_SEPARATOR, _LABEL) if part == "question" else (_STOP,)
    for pattern in patterns:
        found = [_at_end(pattern, getattr(row, part)) for row in rows]
        marks = Counter(hit for hit in found if hit)
        if not marks:
            continue
        # Trailing blanks differ where an editor trimmed them, so the marks are compared bare.
        bare = Counter(mark.strip() for mark in marks.elements())
        mark, count = bare.most_common(1)[0]
        texts = sum(1 for row in rows if getattr(row, part).strip())
        if count >= 0.8 * texts:
            cut = [
                _with(row, part, getattr(row, part)[: -len(hit)])
                if hit and hit.strip() == mark
                else row
                for row, hit in zip(rows, found, strict=True)
            ]
            return cut, marks.most_common(1)[0][0]
    return rows, ""


def _at_end(pattern: re.Pattern[str], text: str) -> str:
    """The mark that a text ends in, or nothing; only the last 80 characters are looked at."""
    hit = pattern.search(text[-80:])
    return hit.group() if hit else ""


def _with(row: Row, part: str, text: str) -> Row:
    return replace(row, question=text) if part == "question" else replace(row, answer=text)
