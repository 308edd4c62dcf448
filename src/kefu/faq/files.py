"""CSV text and xlsx workbooks as grids of cells.

Does not know what the cells mean (see `tables`).
"""

from __future__ import annotations

import csv
import datetime
import io
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

from ..errors import FaqError
from .tables import Grid, layout

DELIMITERS = (",", "\t", ";", "|", "，")
MAX_UNPACKED = 512 * 1024 * 1024
"""Bytes. A workbook that unpacks to more is a zip bomb or no FAQ."""
MAX_COLUMNS = 512


def csv_grid(
    text: str, where: str, suffix: str, question: str | None = None, answer: str | None = None
) -> tuple[Grid, str]:
    """The cells of delimited text, and the delimiter: the one whose header is understood."""
    declared = re.match(r'\s*"?sep=(.)"?\r?\n', text)
    if declared:  # Excel's own hint; Excel does not show that line, so it has no row number
        text = text[declared.end() :]
        return Grid(_records(text, declared.group(1), where)), declared.group(1)
    order = sorted(DELIMITERS, key=lambda d: (d != "\t") if suffix == ".tsv" else 0)
    sample = text[:65536]
    best, most = order[0], -1
    for delimiter in order:
        if delimiter not in sample:
            continue
        grid = Grid(_records(sample, delimiter, where, sample_only=True))
        if layout(grid, question, answer):
            best = delimiter
            break
        regular = sum(1 for _, cells in grid.rows if len(cells) == len(grid.rows[0][1]) > 1)
        if regular > most:
            best, most = delimiter, regular
    return Grid(_records(text, best, where)), best


def _records(
    text: str, delimiter: str, where: str, sample_only: bool = False
) -> list[tuple[int, list[str]]]:
    csv.field_size_limit(1 << 30)  # the module's own limit of 128 KiB would reject, not report
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[tuple[int, list[str]]] = []
    start = 1
    try:
        for cells in reader:
            rows.append((len(rows) + 1, cells))
            end, last_start, start = reader.line_num, start, reader.line_num + 1
    except csv.Error as error:
        raise FaqError(
            f"{where} cannot be read as a table after row {len(rows)}: {error}.",
            "Open it in a spreadsheet program and save it as CSV UTF-8 or xlsx.",
        ) from None
    if not sample_only and rows and end > last_start and _unclosed(text, delimiter):
        raise FaqError(
            f"{where} row {len(rows)} (line {last_start} in a text editor) opens a quotation "
            "mark that is never closed, so the rest of the file would become one cell.",
            "Close the quotation mark, or double it where it belongs to the text.",
        )
    return rows


def _unclosed(text: str, delimiter: str) -> bool:
    """Whether the last cell's opening quote lacks its partner; only strict mode tells."""
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            pass
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


def workbook(path: Path, where: str, **options: Any) -> Any:
    """An openpyxl workbook, or a FaqError. `options` go to `openpyxl.load_workbook`."""
    import openpyxl

    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(item.file_size for item in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _damaged(where, error) from None
    if size > MAX_UNPACKED:
        raise FaqError(
            f"{where} would unpack to {size / 1e6:,.0f} MB, which is no FAQ.",
            "Copy the questions and answers into a new workbook and save that.",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about styles and extensions that carry no text
        try:
            return openpyxl.load_workbook(path, **options)
        # A damaged workbook makes openpyxl, zlib and the XML parser raise almost anything.
        except Exception as error:
            raise _damaged(where, error) from None


def xlsx_grids(path: Path, where: str) -> list[Grid]:
    """One grid a worksheet, values as shown where the file keeps them (formulas: last result)."""
    book = workbook(path, where, data_only=True)
    try:
        return [sheet_grid(sheet) for sheet in book.worksheets]
    except Exception as error:  # as above: a damaged sheet may raise anything
        raise _damaged(where, error) from None
    finally:
        book.close()


def sheet_grid(sheet: Any) -> Grid:
    """The cells that exist. Stray formats may claim a million rows, so no walk by rows."""
    width = min(sheet.max_column, MAX_COLUMNS)
    found: dict[int, list[str]] = {}
    for (row, column), cell in sheet._cells.items():
        if column <= width and cell.value is not None:
            cells = found.setdefault(row, [""] * width)
            cells[column - 1] = shown(cell.value)
    banners: set[int] = set()
    for area in sheet.merged_cells.ranges:
        top = found.get(area.min_row)
        if top is None or area.min_col > width:
            continue
        value = top[area.min_col - 1]
        if area.max_col > area.min_col and sum(1 for c in top if c.strip()) == 1:
            banners.add(area.min_row)
        elif area.max_col == area.min_col and area.max_row - area.min_row < 1000:
            for row in range(area.min_row + 1, area.max_row + 1):
                if row in found:  # a merged cell holds for every row beside it
                    found[row][area.min_col - 1] = value
    return Grid([(row, found[row]) for row in sorted(found)], sheet.title, banners)


def shown(value: Any) -> str:
    """A cell's value as a person reads it."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.12g}"
    if isinstance(value, datetime.datetime):
        if value.time() == datetime.time():
            return value.date().isoformat()
        return value.isoformat(sep=" ", timespec="minutes")
    if isinstance(value, datetime.time):
        return value.isoformat(timespec="minutes")
    return str(value)


def _damaged(where: str, error: Exception) -> FaqError:
    return FaqError(
        f"{where} is not a readable xlsx workbook ({type(error).__name__}).",
        "Open it in a spreadsheet program, let it repair the file, and save it again as xlsx.",
    )
