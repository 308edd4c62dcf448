"""`read`: any FAQ file or folder to an `Faq`, or a FaqError that says what to do.

Decides by content first and by name second, as files are often misnamed. Row numbers: for CSV and
spreadsheets the row that a spreadsheet program shows (a plain file's header is row 1, and a line
break inside a cell starts no new row); for JSONL and Markdown the line; for JSON the item's
1-based number in file order.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..errors import FaqError
from ..records import Faq, Origin, Pair, Place, Source
from . import files, jsons, markdown, tables
from .decode import decode
from .parsed import Parsed, finish

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("csv", "tsv", "tab", "txt", "xlsx", "xlsm"),
        *("json", "jsonl", "ndjson", "md", "markdown"),
    )
)
MAX_BYTES = 200 * 1024 * 1024
_SAVE_AS = "Open it in the program that made it, save it as xlsx or CSV (UTF-8), and give that."
_OTHER_FORMATS = {
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"{\\rtf": "an RTF document",
    b"PAR1": "a Parquet file",
    b"SQLite format 3": "an SQLite database",
}


class _NoQuestions(FaqError):
    """A readable file without question and answer: in a folder, it is passed over with a remark."""


def read(
    path: Path,
    *,
    question: str | None = None,
    answer: str | None = None,
    sheet: str | None = None,
) -> Faq:
    """All pairs of a file, or of every FAQ file in a folder, in file order.

    `question` and `answer` name columns (or JSON fields) by hand, by name or spreadsheet letter;
    `sheet` takes one sheet only. Raises FaqError.
    """
    path = Path(path)
    if "\0" in str(path):
        raise FaqError("A file name cannot hold a NUL character.", "Give the name without it.")
    try:
        if path.is_dir():
            found = _folder(path, question, answer, sheet)
        else:
            found = _faq([(path.name, _file(path, path.name, question, answer, sheet))])
        return replace(found, place=Place(str(path.absolute()), question, answer, sheet))
    except PermissionError:
        raise FaqError(
            f"{path} may not be read by this user.", f"Allow it, for example: chmod u+r '{path}'."
        ) from None
    except FileNotFoundError:
        raise FaqError(
            f"{path} does not exist.", f"Check the name; the current folder is {Path.cwd()}."
        ) from None
    except OSError as error:
        reason = error.strerror or error
        raise FaqError(
            f"{path} cannot be read: {reason}.", "Check the file and the disk."
        ) from None


def _folder(folder: Path, question: str | None, answer: str | None, sheet: str | None) -> Faq:
    done: list[tuple[str, Parsed]] = []
    passed: list[Source] = []
    last: FaqError | None = None
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__")))
        for name in sorted(names):
            path = Path(root, name)
            if name.startswith((".", "~$")) or path.suffix.lower() not in SUFFIXES:
                if path.suffix.lower() in (".xls", ".ods", ".docx", ".doc", ".pdf", ".numbers"):
                    remark = f"not read: {path.suffix} files are not understood; save it as xlsx"
                    passed.append(Source(name, path.suffix[1:], "", 0, "", "", remark))
                continue
            label = path.relative_to(folder).as_posix()
            try:
                done.append((label, _file(path, label, question, answer, sheet)))
            except _NoQuestions as error:
                last = error
                passed.append(
                    Source(label, path.suffix[1:], "", 0, "", "", f"not read: {error.what}")
                )
    if not done:
        raise last or FaqError(
            f"The folder {folder} holds no FAQ file.",
            f"Put one there; kefu reads {', '.join(sorted(SUFFIXES))}.",
        )
    faq = _faq(done)
    return Faq(faq.pairs, (*faq.sources, *passed), faq.incomplete)


def _faq(files_read: list[tuple[str, Parsed]]) -> Faq:
    pairs: list[Pair] = []
    incomplete: list[Pair] = []
    sources: list[Source] = []
    for label, parsed in files_read:
        count = 0
        for row in parsed.rows:
            pair = Pair(
                row.question,
                row.answer,
                Origin(label, row.row, row.sheet),
                row.wordings,
                row.topic,
                row.must_pass,
            )
            if row.question and row.answer:
                pairs.append(pair)
                count += 1
            elif row.question or row.answer:
                incomplete.append(pair)
        sources.append(
            Source(
                label,
                parsed.format,
                parsed.encoding,
                count,
                parsed.question_column,
                parsed.answer_column,
                "; ".join(r for r in parsed.remarks if r),
            )
        )
    return Faq(tuple(pairs), tuple(sources), tuple(incomplete))


def _file(
    path: Path, where: str, question: str | None, answer: str | None, sheet: str | None
) -> Parsed:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise FaqError(
            f"{where} has {size / 1e6:,.0f} MB, which is no FAQ.", "Give a file under 200 MB."
        )
    data = path.read_bytes()
    if not data.strip(b" \t\r\n\xef\xbb\xbf\xff\xfe"):
        raise FaqError(f"{where} is empty.", "Put questions and answers into it and save it.")
    if data.startswith(b"PK\x03\x04"):
        parsed = _xlsx(path, where, data, question, answer, sheet)
    else:
        parsed = _text(path, where, data, question, answer, sheet)
    parsed = finish(parsed)
    if not any(row.question and row.answer for row in parsed.rows):
        raise _NoQuestions(
            f"{where} has a question column {parsed.question_column!r} and an answer column "
            f"{parsed.answer_column!r}, but no row with both filled.",
            "Fill in the rows, or name other columns: --question COLUMN --answer COLUMN.",
        )
    return parsed


def _xlsx(
    path: Path, where: str, data: bytes, question: str | None, answer: str | None, sheet: str | None
) -> Parsed:
    for mark, kind in (
        (b"word/document", "a Word document"),
        (b"ppt/presentation", "a PowerPoint file"),
        (b"opendocument", "an OpenDocument file"),
        (b"xl/workbook.bin", "a binary workbook (xlsb)"),
        (b"Index/Document.iwa", "an Apple Numbers file"),
    ):
        if mark in data and b"xl/workbook.xml" not in data:
            raise FaqError(f"{where} is {kind}, which kefu does not read.", _SAVE_AS)
    grids = files.xlsx_grids(path, where)
    if sheet is not None:
        names = [grid.sheet for grid in grids]
        grids = [grid for grid in grids if grid.sheet == sheet]
        if not grids:
            raise FaqError(
                f"{where} has no sheet {sheet!r}; its sheets are {', '.join(map(repr, names))}.",
                "Give one of these with --sheet.",
            )
    parsed = Parsed([], "xlsx", "xlsx", "", "")
    used: list[str] = []
    unused: list[str] = []
    columns: tuple[dict[str, None], dict[str, None]] = ({}, {})
    for grid in grids:
        at = tables.layout(grid, question, answer)
        if at is None or (at.remark and used):
            if grid.rows:
                unused.append(repr(grid.sheet))
            continue
        used.append(repr(grid.sheet))
        parsed.rows += tables.extract(grid, at)
        parsed.remarks.append(at.remark)
        columns[0][at.name(at.question)] = columns[1][at.name(at.answer)] = None
    if not used:
        if not any(grid.rows for grid in grids):
            raise FaqError(f"{where} has no filled cell.", "Put questions and answers into it.")
        error = tables.complain(where, grids, question, answer)
        raise _NoQuestions(error.what, error.fix)
    parsed.format = f"xlsx, sheet{'s' if len(used) > 1 else ''} {', '.join(used)}"
    if unused:
        parsed.remarks.append(f"no questions found in sheet {', '.join(unused)}")
    parsed.question_column, parsed.answer_column = (" / ".join(names) for names in columns)
    return parsed


def _text(
    path: Path, where: str, data: bytes, question: str | None, answer: str | None, sheet: str | None
) -> Parsed:
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise _ole(path, where)
    for magic, kind in _OTHER_FORMATS.items():
        if data.startswith(magic):
            raise FaqError(f"{where} is {kind}, which kefu does not read.", _SAVE_AS)
    suffix = path.suffix.lower()
    if suffix in (".xlsx", ".xlsm") or data.startswith(b"PK"):
        raise FaqError(f"{where} is not a readable xlsx workbook; it may be cut off.", _SAVE_AS)
    if sheet is not None and path.is_file() and suffix not in SUFFIXES - {".xlsx", ".xlsm"}:
        raise FaqError(f"{where} has no sheets.", "Leave --sheet out.")
    decoded = decode(data)
    if decoded is None:
        raise FaqError(
            f"{where} is no text in any encoding that kefu knows (is it a binary file?).",
            "Save it as CSV UTF-8, xlsx, JSON or Markdown.",
        )
    text = decoded.text
    start = text.lstrip()[:200].lower()
    if start.startswith(("<!doctype", "<html", "<?xml", "<table")):
        raise FaqError(f"{where} is a web page or XML, which kefu does not read.", _SAVE_AS)
    if suffix in (".json", ".jsonl", ".ndjson") or (
        start.startswith(("{", "[{")) and suffix not in (".csv", ".tsv", ".md", ".markdown")
    ):
        parsed = _json(text, where, suffix, question, answer)
    elif suffix in (".md", ".markdown"):
        parsed = _markdown(text, where)
    else:
        parsed = _table_or_prose(text, where, suffix, question, answer)
    parsed.encoding = decoded.encoding
    parsed.remarks.insert(0, decoded.remark)
    return parsed


def _json(text: str, where: str, suffix: str, question: str | None, answer: str | None) -> Parsed:
    try:
        return jsons.parse(text, where, suffix in (".jsonl", ".ndjson"), question, answer)
    except FaqError as error:
        if " is broken JSON " in error.what or " nested " in error.what:
            raise
        raise _NoQuestions(error.what, error.fix) from None


def _markdown(text: str, where: str) -> Parsed:
    parsed = markdown.parse(text)
    if parsed is None:
        raise _NoQuestions(
            f"{where} has no heading with text below, no `Q:` and `A:` lines and no table of "
            "questions and answers.",
            "Write each question as a heading (`## …`) with its answer below.",
        )
    return parsed


def _table_or_prose(
    text: str, where: str, suffix: str, question: str | None, answer: str | None
) -> Parsed:
    """A table where there is a header; a plain text may also be prose with `Q:` and `A:`."""
    try:
        return _csv(text, where, suffix, question, answer)
    except FaqError:
        parsed = markdown.parse(text) if suffix in ("", ".txt") and not question else None
        if parsed is None:
            raise
        return parsed


def _csv(text: str, where: str, suffix: str, question: str | None, answer: str | None) -> Parsed:
    grid, delimiter = files.csv_grid(text, where, suffix, question, answer)
    at = tables.layout(grid, question, answer)
    if at is None:
        error = tables.complain(where, [grid], question, answer)
        raise _NoQuestions(error.what, error.fix)
    kind = {"\t": "tab-separated text", ",": "csv"}.get(
        delimiter, f"text separated by {delimiter!r}"
    )
    return Parsed(
        tables.extract(grid, at), kind, "", at.name(at.question), at.name(at.answer), [at.remark]
    )


def _ole(path: Path, where: str) -> FaqError:
    """Old Office container: an encrypted xlsx, or an old .xls or .doc."""
    import msoffcrypto

    try:
        with path.open("rb") as file:
            locked = bool(msoffcrypto.OfficeFile(file).is_encrypted())
    # The library raises many kinds for damaged containers; then it is simply not readable.
    except Exception:
        locked = b"E\0n\0c\0r\0y\0p\0t\0e\0d\0P\0a\0c\0k\0a\0g\0e" in path.read_bytes()
    if locked:
        return FaqError(
            f"{where} is encrypted with a password.",
            "Open it, save it without a password under another name, and give that.",
        )
    return FaqError(f"{where} is an old .xls or .doc file, which kefu does not read.", _SAVE_AS)
