"""`write`: pairs back into a file, above all their wordings, without losing what else is there.

With `like`, the owner's own file is the model: every other column, sheet, format, line order and
(where it can hold the new text) encoding stays. Without it, a plain file of five columns is made.
The file appears whole or not at all.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import FaqError
from ..records import Pair
from . import columns, files, tables
from .decode import decode, encoded
from .parsed import tidy

COLUMNS = ("question", "answer", "wordings", "topic", "must_pass")
_Wanted = dict[tuple[str | None, int], Pair]


def write(pairs: Iterable[Pair], to: Path, *, like: Path | None = None) -> Path:
    """Writes `pairs` to `to` (.csv, .tsv, .xlsx, .json or .jsonl) and gives `to` back.

    `like` is the file that the pairs were read from: each pair's wordings go to its own row there
    and nothing else changes; a pair whose origin is row 0 becomes a new row at the end. A file
    whose shape has no place for them (Markdown, conversations of several turns, nested JSON)
    raises FaqError, as does a place that cannot be written to.
    """
    pairs, to = tuple(pairs), Path(to)
    if like is not None:
        data = _like(pairs, Path(like), to)
    elif to.suffix.lower() in (".xlsx", ".xlsm"):
        data = _new_workbook(pairs)
    elif to.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        records = [_record(pair) for pair in pairs]
        data = (_lines(records) if to.suffix.lower() != ".json" else _document(records)).encode()
    elif to.suffix.lower() in (".csv", ".tsv"):
        rows = [list(COLUMNS), *([*map(_text, _record(pair).values())] for pair in pairs)]
        data = _table(rows, "\t" if to.suffix.lower() == ".tsv" else ",").encode("utf-8-sig")
    else:
        raise FaqError(
            f"kefu cannot write an FAQ as {to.name}.", "Name a .csv, .xlsx, .jsonl or .json file."
        )
    _replace(to, data)
    return to


def _like(pairs: tuple[Pair, ...], like: Path, to: Path) -> bytes:
    wanted: _Wanted = {}
    new = [pair for pair in pairs if pair.origin.row == 0]
    for pair in pairs:
        if pair.origin.row == 0:
            continue
        key = (pair.origin.sheet, pair.origin.row)
        if key in wanted:
            raise _no_place(like, f"several pairs stand at {pair.origin}")
        wanted[key] = pair
    if to.suffix.lower() != like.suffix.lower():
        raise FaqError(
            f"{to.name} is to be like {like.name}, but has another ending.",
            f"Name a file that ends in {like.suffix}.",
        )
    try:
        data = like.read_bytes()
    except OSError as error:
        raise FaqError(f"{like} cannot be read: {error.strerror}.", "Check the file.") from None
    if data.startswith(b"PK\x03\x04"):
        return _like_workbook(wanted, new, like)
    decoded = decode(data)
    if decoded is None:
        raise _no_place(like, "it is no text")
    suffix = like.suffix.lower()
    if suffix in (".json", ".jsonl", ".ndjson"):
        text = _like_json(wanted, new, like, decoded.text, suffix)
    elif suffix in (".csv", ".tsv", ".tab", ".txt"):
        text = _like_table(wanted, new, like, decoded.text, suffix)
    else:
        raise _no_place(like, "Markdown has no columns")
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(decoded.encoding, b"")
    body = encoded(text, decoded.encoding)
    # New wordings may hold characters that Big5 lacks; spreadsheet programs know this UTF-8 mark.
    return mark + body if body is not None else text.encode("utf-8-sig")


def _like_table(wanted: _Wanted, new: list[Pair], like: Path, text: str, suffix: str) -> str:
    grid, delimiter = files.csv_grid(text, like.name, suffix)
    at = tables.layout(grid)
    if at is None or not at.header:
        raise _no_place(like, "it has no header row that kefu knows")
    column = at.wordings[0] if at.wordings else None
    width = max(len(cells) for _, cells in grid.rows)
    rows: list[list[str]] = []
    for number, cells in grid.rows:
        pair = wanted.pop((None, number), None)
        if column is None and number == at.header:
            cells = [*cells, *[""] * (width - len(cells)), "wordings"]
        elif pair is not None:
            place = width if column is None else column
            cells = [*cells, *[""] * (place + 1 - len(cells))]
            cells[place] = _joined(pair)
            for other in at.wordings[1:]:  # `相似問1`, `相似問2` …: all stand in the first now
                cells[other : other + 1] = [""] if other < len(cells) else []
        rows.append(cells)
    _all_placed(wanted, like)
    for pair in new:
        cells = [""] * (width + (column is None))
        for place, text_ in _cells(at, pair, width):
            cells[place] = text_
        rows.append(cells)
    head = "" if not text.lower().startswith("sep=") else text[: text.index("\n") + 1]
    ending = "\r\n" if "\r\n" in text else "\n"
    return head + _table(rows, delimiter, ending)


def _like_workbook(wanted: _Wanted, new: list[Pair], like: Path) -> bytes:
    book = files.workbook(like, like.name, keep_vba=like.suffix.lower() == ".xlsm")
    for sheet in book.worksheets:
        at = tables.layout(files.sheet_grid(sheet))
        mine = [p for p in new if p.origin.sheet in (None, sheet.title)]
        if at is None or not at.header:
            continue
        if not mine and not any(key[0] == sheet.title for key in wanted):
            continue
        column = at.wordings[0] if at.wordings else sheet.max_column
        if not at.wordings:
            sheet.cell(at.header, column + 1, "wordings")
        for title, number in [key for key in wanted if key[0] == sheet.title]:
            pair = wanted.pop((title, number))
            for other in at.wordings[1:]:
                sheet.cell(number, other + 1).value = None
            try:
                sheet.cell(number, column + 1).value = _joined(pair) or None
            except AttributeError:  # the lower part of a merged cell has no value of its own
                raise _no_place(like, f"the cell for {pair.origin} is merged") from None
        for pair in mine:
            new.remove(pair)
            bottom = sheet.max_row + 1
            for place, value in _cells(at, pair, column):
                cell = sheet.cell(bottom, place + 1, value)
                cell.data_type = "s"  # a text that begins with = is no formula here
    _all_placed(wanted, like)
    if new:
        raise _no_place(like, "no sheet of it has a header row that kefu knows")
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def _like_json(wanted: _Wanted, new: list[Pair], like: Path, text: str, suffix: str) -> str:
    by_line = suffix != ".json"
    try:
        if by_line:
            records = [
                (n, json.loads(line))
                for n, line in enumerate(text.split("\n"), start=1)
                if line.strip()
            ]
            whole: Any = None
        else:
            whole = json.loads(text)
            items = whole
            if isinstance(whole, dict):
                lists = [value for value in whole.values() if isinstance(value, list)]
                items = lists[0] if len(lists) == 1 else []
            records = list(enumerate(items, start=1))
    except (ValueError, TypeError, RecursionError):
        raise _no_place(like, "its JSON is of another shape") from None
    for number, record in records:
        pair = wanted.get((None, number))
        if pair is None or not isinstance(record, dict) or not _holds(record, pair):
            continue
        del wanted[None, number]
        found = columns.find([str(key) for key in record]).get("wordings", [])
        names = [list(record)[place] for place in found]
        for name in names[1:]:
            del record[name]
        record[names[0] if names else "wordings"] = list(pair.wordings)
    _all_placed(wanted, like)
    for pair in new:
        record = _new_record(records, pair, like)
        records.append((0, record))
        if not by_line:
            items.append(record)
    return _lines([record for _, record in records]) if by_line else _document(whole)


def _cells(at: tables.Layout, pair: Pair, wordings: int) -> list[tuple[int, str]]:
    """Where the texts of a new row go; `wordings` is the column for them where none is named."""
    found = [(at.question, pair.question), (at.answer, pair.answer)]
    found.append((at.wordings[0] if at.wordings else wordings, _joined(pair)))
    return found if at.topic is None else [*found, (at.topic, pair.topic or "")]


def _new_record(records: list[tuple[int, Any]], pair: Pair, like: Path) -> dict[str, Any]:
    """A record with the names that the others have."""
    for _, record in records:
        keys = [str(key) for key in record] if isinstance(record, dict) else []
        found = columns.find(keys)
        if found.get("question") and found.get("answer"):
            wordings = [keys[i] for i in found.get("wordings", [])] or ["wordings"]
            ask, reply = keys[found["question"][0]], keys[found["answer"][0]]
            return {ask: pair.question, reply: pair.answer, wordings[0]: list(pair.wordings)}
    raise _no_place(like, "its items do not name a question and an answer")


def _holds(record: dict[str, Any], pair: Pair) -> bool:
    """Whether the record is the pair's own, so that no wording lands beside a stranger."""
    flat = json.dumps(record, ensure_ascii=False)
    return json.dumps(tidy(pair.question), ensure_ascii=False)[1:-1] in flat


def _all_placed(wanted: _Wanted, like: Path) -> None:
    if wanted:
        pair = next(iter(wanted.values()))
        raise _no_place(like, f"the row of {pair.origin} was not found again")


def _no_place(like: Path, why: str) -> FaqError:
    return FaqError(
        f"Wordings and rows cannot be written back into {like.name}: {why}.",
        "Write them to a new .csv or .jsonl file instead.",
    )


def _joined(pair: Pair) -> str:
    return "|".join(" ".join(wording.replace("|", "｜").split()) for wording in pair.wordings)


def _record(pair: Pair) -> dict[str, Any]:
    values = (pair.question, pair.answer, list(pair.wordings), pair.topic or "", pair.must_pass)
    return dict(zip(COLUMNS, values, strict=True))


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(" ".join(str(v).replace("|", "｜").split()) for v in value)
    return ("yes" if value else "") if isinstance(value, bool) else str(value)


def _table(rows: list[list[str]], delimiter: str, ending: str = "\r\n") -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator=ending).writerows(rows)
    return buffer.getvalue()


def _lines(records: list[Any]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _document(records: Any) -> str:
    return json.dumps(records, ensure_ascii=False, indent=1) + "\n"


def _new_workbook(pairs: tuple[Pair, ...]) -> bytes:
    import openpyxl
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(COLUMNS)
    for pair in pairs:
        sheet.append([ILLEGAL_CHARACTERS_RE.sub("", _text(v)) for v in _record(pair).values()])
        for cell in sheet[sheet.max_row]:
            cell.data_type = "s"  # a text that begins with = is no formula here
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def _replace(to: Path, data: bytes) -> None:
    """Writes beside the place and moves it there, so that no half file can be met."""
    temporary = ""
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mode = to.stat().st_mode & 0o777 if to.exists() else 0o666 & ~_umask()
        Path(temporary).chmod(mode)
        Path(temporary).replace(to)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise FaqError(
            f"{to} cannot be written: {error.strerror or error}.",
            "Choose another place, or free space and allow writing there.",
        ) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
