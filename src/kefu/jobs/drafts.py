"""FAQs that are being mended: workbooks in the workspace's folder `studio`, seen as tables.

The owner's own file is read once and never written to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import FaqError
from ..faq import read, write
from ..records import Faq, Finding, Origin, Pair
from ..reword import Rewording, filled
from ..workspace import Workspace
from .preparing import init

FOLDER = "studio"
CELLS = ("finding", "question", "answer", "wordings", "topic", "must")
"""The cells of a row of the table; the first is for whoever looks, and is not kept."""
Rows = Sequence[Sequence[Any]]


def draft(workspace: Workspace) -> Path | None:
    """The draft that was saved last."""
    found = list((workspace.root / FOLDER).glob("[!.~]*.xlsx"))
    return max(found, key=lambda p: p.stat().st_mtime) if found else None


def draft_of(workspace: Workspace, file: Path, discard: bool = False) -> Path:
    """A new draft from any FAQ file; those that are there stay. `discard` removes the file then,
    also where it cannot be read: an upload, of which the draft is all that is kept."""
    try:
        faq = read(file)
        stem = re.sub(r"[^\w\-]+", "-", file.stem).strip("-")[:50] or "faq"
        to, number = workspace.root / FOLDER / f"{stem}.xlsx", 1
        while to.exists():
            number += 1
            to = to.with_name(f"{stem}-{number}.xlsx")
        return write(_in_order(faq), to)
    finally:
        if discard:
            file.unlink(missing_ok=True)


def sample_draft(workspace: Workspace) -> Path:
    """A new draft from the FAQ that kefu.toml names, or from the sample that `init` makes."""
    init(workspace.root)
    return draft_of(workspace, workspace.root / (workspace.settings().faq or "faq.csv"))


def cells(faq: Faq, findings: Sequence[Finding]) -> list[list[Any]]:
    """A draft as rows of CELLS; each begins with its number and the levels of what was found."""
    rows = []
    for pair in _in_order(faq):
        levels = list(dict.fromkeys(f.level for f in findings if pair.origin in f.origins))
        texts = (pair.question, pair.answer, "|".join(pair.wordings), pair.topic or "")
        rows.append([(pair.origin.row, levels), *texts, pair.must_pass])
    return rows


def mend(draft: Path, rows: Rows) -> None:
    """Writes rows of CELLS into a draft. Empty rows are left out; raises FaqError if all are."""
    pairs = []
    for number, (_, *texts, must) in enumerate(rows, start=2):
        question, answer, wordings, topic = (str(text or "").strip() for text in texts)
        if question or answer:
            others, origin = tuple(re.split(r"[|｜\n]", wordings)), Origin(draft.name, number)
            pairs.append(Pair(question, answer, origin, others, topic, _ticked(must)))
    if not pairs:
        raise FaqError("The table is empty.", "Write at least one question with its answer.")
    write(pairs, draft)


def accept(draft: Path, rows: Rows) -> None:
    """Writes wordings into a draft: of rows (whether to, the wording, its question) the ticked."""
    told = [(question, str(text or "").strip()) for use, text, question in rows if _ticked(use)]
    kept = [Rewording(question, text, ()) for question, text in told if text]
    if kept:
        write(filled(read(draft), kept).pairs, draft)


def _in_order(faq: Faq) -> list[Pair]:
    return sorted((*faq.pairs, *faq.incomplete), key=lambda p: (p.origin.file, p.origin.row))


def _ticked(cell: Any) -> bool:
    return str(cell).lower() == "true"
