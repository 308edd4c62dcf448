"""Rows of cells to FAQ rows: where the header is, which columns count, what merged cells mean.

Serves CSV, spreadsheets and Markdown tables alike. Row numbers are those of the owner's
spreadsheet program: the header of a plain file is row 1, and a blank line counts. Does not know
how the cells were stored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..errors import FaqError
from . import columns
from .parsed import Row, tidy

HEADER_DEPTH = 40
"""So many filled rows are searched for a header: title, date and remarks may stand above it."""


@dataclass(slots=True)
class Grid:
    """A sheet's cells. `banners` are rows merged across columns: titles, not data."""

    rows: list[tuple[int, list[str]]]
    sheet: str | None = None
    banners: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things stand in a grid. Columns are 0-based; `header` is a row number (0: none)."""

    header: int
    names: tuple[str, ...]
    question: int
    answer: int
    input: int | None = None
    wordings: tuple[int, ...] = ()
    topic: int | None = None
    must_pass: int | None = None
    remark: str = ""

    def name(self, column: int) -> str:
        """A column's name, or its letter where it has none."""
        named = self.names[column].strip() if column < len(self.names) else ""
        return " ".join(named.split()) or f"column {letter(column)}"


def letter(column: int) -> str:
    """A, B, … Z, AA as spreadsheets count; `column` is 0-based."""
    text = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        text = chr(65 + rest) + text
    return text


def layout(grid: Grid, question: str | None = None, answer: str | None = None) -> Layout | None:
    """Finds the header and the columns, or None when this grid has no question and answer."""
    filled = [(n, cells) for n, cells in grid.rows if any(c.strip() for c in cells)]
    head = [(n, cells) for n, cells in filled[:HEADER_DEPTH] if n not in grid.banners]
    for number, cells in head:
        found = _from_header(cells, number, question, answer)
        if found:
            return found
    if question or answer:
        return _by_letter(head, question, answer)
    return _without_header(head)


def extract(grid: Grid, at: Layout) -> list[Row]:
    """All rows under the header that have a question or an answer, in order."""
    rows: list[Row] = []
    banner: str | None = None
    topic: str | None = None
    body = [(n, cells) for n, cells in grid.rows if n > at.header]
    sparse = _sparse(body, at)
    for number, cells in body:
        if number in grid.banners:
            banner = next((c for c in cells if c.strip()), None)
            continue
        if at.header and _repeats_header(cells, at):
            continue
        own = _cell(cells, at.topic)
        topic = own or (topic if sparse else None)
        row = Row(
            question=_cell(cells, at.question),
            answer=_cell(cells, at.answer),
            row=number,
            sheet=grid.sheet,
            input=_cell(cells, at.input),
            wordings=tuple(w for c in at.wordings for w in columns.split_wordings(_cell(cells, c))),
            topic=topic or banner,
            must_pass=columns.true(_cell(cells, at.must_pass)),
        )
        if row.question or row.answer or row.input:
            rows.append(row)
    return rows


def complain(where: str, grids: list[Grid], question: str | None, answer: str | None) -> FaqError:
    """The error for a file in which no grid has a layout: what is there, and how to name it."""
    named = [name for name in (question, answer) if name]
    listed: list[str] = []
    for grid in grids:
        cells = next((c for n, c in grid.rows if n not in grid.banners and any(c)), [])
        names = [" ".join(c.split())[:30] or letter(i) for i, c in enumerate(cells[:20])]
        if names:
            prefix = f"sheet {grid.sheet!r}: " if grid.sheet else ""
            listed.append(prefix + ", ".join(names))
    there = f" The columns found are: {'; '.join(listed[:6])}." if listed else " It has no columns."
    if named:
        wanted = " or ".join(repr(name) for name in named)
        return FaqError(
            f"{where} has no column {wanted}, or nothing beside it.{there}",
            "Name the columns as they stand in the file: --question COLUMN --answer COLUMN.",
        )
    return FaqError(
        f"{where} has no question column with an answer column that kefu knows by name.{there}",
        "Name them: --question COLUMN --answer COLUMN, or rename them in the file to "
        "`question` and `answer` (問題, 答案).",
    )


def _cell(cells: list[str], column: int | None) -> str:
    return tidy(cells[column]) if column is not None and column < len(cells) else ""


def _same(a: str, b: str) -> bool:
    return a.strip() == b.strip() or (columns.plain(a) == columns.plain(b) != "")


def _pick(cells: list[str], name: str | None, known: list[int], taken: int | None) -> int | None:
    """The column called `name`, or without a name the first known one that is not `taken`."""
    if name is not None:
        return next((i for i, c in enumerate(cells) if _same(c, name)), None)
    return next((i for i in known if i != taken), None)


def _from_header(
    cells: list[str], number: int, question: str | None, answer: str | None
) -> Layout | None:
    found = columns.find(cells)
    ask = _pick(cells, question, found.get("question", []), None)
    context = next(iter(found.get("input", [])), None)
    if ask is None and question is None:
        ask, context = context, None
    reply = _pick(cells, answer, found.get("answer", []), ask)
    if ask is None or reply is None or ask == reply:
        return None
    other = {ask, reply}
    free = {role: [i for i in places if i not in other] for role, places in found.items()}
    return Layout(
        header=number,
        names=tuple(cells),
        question=ask,
        answer=reply,
        input=context if context not in other else None,
        wordings=tuple(sorted(free.get("wordings", []))),
        topic=next(iter(free.get("topic", [])), None),
        must_pass=next(iter(free.get("must_pass", [])), None),
    )


def _by_letter(
    head: list[tuple[int, list[str]]], question: str | None, answer: str | None
) -> Layout | None:
    """Columns given by hand as letters or numbers (`--question A`), for files without a header."""
    width = max((len(cells) for _, cells in head), default=0)
    places = [_position(name, width) for name in (question, answer)]
    ask, reply = places
    if ask is None or reply is None or ask == reply:
        return None
    first, cells = head[0]
    titles = [_cell(cells, ask), _cell(cells, reply)]
    if len(head) > 1 and all(
        t and len(t) <= 12 and not re.search(r"[?？。！!]", t) for t in titles
    ):
        return Layout(first, tuple(cells), ask, reply)
    return Layout(0, (), ask, reply, remark="the file has no header row")


def _position(name: str | None, width: int) -> int | None:
    if name is None:
        return None
    name = name.strip().upper()
    if name.isascii() and name.isdigit() and len(name) < 4:
        place = int(name) - 1
    else:
        place = next((i for i in range(width) if letter(i) == name), -1)
    return place if 0 <= place < width else None


def _without_header(head: list[tuple[int, list[str]]]) -> Layout | None:
    """No header at all: the first column that reads like questions, and the texts to its right."""
    if len(head) < 2:
        return None
    width = max(len(cells) for _, cells in head)
    for ask in range(width - 1):
        texts = [_cell(cells, ask) for _, cells in head]
        if not columns.asks(texts[0]) or sum(map(columns.asks, texts)) < 0.6 * len(texts):
            continue
        for reply in range(ask + 1, width):
            answers = [_cell(cells, reply) for _, cells in head]
            wordy = sum(1 for a in answers if len(a) > 3 and not columns.asks(a))
            if answers[0] and wordy >= 0.5 * len(answers):
                remark = (
                    f"the file has no header row; column {letter(ask)} reads like questions and "
                    f"column {letter(reply)} was taken for the answers"
                )
                return Layout(0, (), ask, reply, remark=remark)
    return None


def _sparse(body: list[tuple[int, list[str]]], at: Layout) -> bool:
    """Whether the topic is written only in the first row of each group."""
    cells = [_cell(c, at.topic) for _, c in body if _cell(c, at.question) or _cell(c, at.answer)]
    return bool(cells) and bool(cells[0]) and sum(1 for c in cells if not c) * 3 >= len(cells)


def _repeats_header(cells: list[str], at: Layout) -> bool:
    names = list(at.names)
    return all(
        _cell(cells, c) == tidy(names[c]) and _cell(cells, c) for c in (at.question, at.answer)
    )
