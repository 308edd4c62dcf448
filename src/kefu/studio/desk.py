"""The owner's table on the desk: taken in, mended, filled up with wordings, planned.

An adapter between a table of texts and the doors of the rooms. The owner's own file is never
written to: the table is a workbook in the workspace's folder `studio`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import jobs
from ..errors import FaqError
from ..faq import read, write
from ..plan import probe
from ..records import Faq, Finding, Origin, Pair
from ..reword import Rewording, filled, reword
from ..settings import parse
from ..workspace import Workspace
from .words import Say, finding_in_chinese

FOLDER = "studio"
WORDINGS = 5
"""Wordings that a question is filled up to, for a person to read; see the design's figures."""
YES = ("yes", "y", "1", "true", "是", "✓", "v", "x")
SIGNS = {"stop": "✗", "warn": "▲", "note": "●"}


def on_desk(workspace: Workspace) -> Path | None:
    """The table in work: the one that was saved last."""
    found = list((workspace.root / FOLDER).glob("[!.~]*.xlsx"))
    return max(found, key=lambda p: p.stat().st_mtime) if found else None


def take_in(workspace: Workspace, file: Path) -> Path:
    """Reads any FAQ file and lays its table on the desk; tables that lie there stay."""
    faq = read(file)
    pairs = sorted((*faq.pairs, *faq.incomplete), key=lambda p: (p.origin.file, p.origin.row))
    stem = re.sub(r"[^\w\-]+", "-", file.stem).strip("-")[:50] or "faq"
    to, number = workspace.root / FOLDER / f"{stem}.xlsx", 1
    while to.exists():
        number += 1
        to = to.with_name(f"{stem}-{number}.xlsx")
    return write(pairs, to)


def sample(workspace: Workspace) -> Path:
    """The FAQ that kefu.toml names, or the sample that `kefu init` makes."""
    jobs.init(workspace.root)
    return take_in(workspace, workspace.root / (workspace.settings().faq or "faq.csv"))


def save(file: Path, rows: Sequence[Sequence[Any]]) -> None:
    """The table as it stands in the browser: columns of `table`. Empty rows are left out."""
    pairs = []
    for i, cells in enumerate(rows, start=2):
        _, question, answer, wordings, topic, must = (str(c or "").strip() for c in cells[:6])
        if question or answer:
            others = tuple(w.strip() for w in re.split(r"[|｜\n]", wordings) if w.strip())
            must_pass = must.lower() in YES
            origin = Origin(file.name, i)
            pairs.append(Pair(question, answer, origin, others, topic or None, must_pass))
    if not pairs:
        raise FaqError("The table is empty.", "Write at least one question with its answer.")
    write(pairs, file)


def table(faq: Faq, findings: Sequence[Finding], say: Say) -> list[list[str]]:
    """Rows for the browser: row and what was found, question, answer, wordings, topic, must."""
    found: dict[int, dict[str, None]] = {}
    for finding in findings:
        for origin in finding.origins:
            label = f"{SIGNS[finding.level]} {say('level_' + finding.level)}"
            found.setdefault(origin.row, {})[label] = None
    pairs = sorted((*faq.pairs, *faq.incomplete), key=lambda p: p.origin.row)
    return [
        [
            f"{p.origin.row}  " + " ".join(found.get(p.origin.row, ("✓",))),
            p.question,
            p.answer,
            "|".join(p.wordings),
            p.topic or "",
            "✓" if p.must_pass else "",
        ]
        for p in pairs
    ]


def in_words(finding: Finding, chinese: bool) -> str:
    """What is wrong and what to do about it."""
    own = f"{finding.message} {finding.remedy}"
    return (finding_in_chinese(finding.code) or own) if chinese else own


def checked(workspace: Workspace, file: Path) -> tuple[Faq, list[Finding]]:
    """The table read back from disk, and what is wrong with it."""
    faq = read(file)
    return faq, jobs.check_faq(faq, workspace.settings())


def proposals(workspace: Workspace, file: Path) -> list[list[Any]]:
    """Wordings to read: whether to use it, the wording, the question."""
    made = reword(read(file), per_pair=WORDINGS, seed=workspace.settings().seed)
    return [[True, r.wording, r.pair_question] for r in made]


def accept(file: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Writes the ticked wordings into the table."""
    kept = [
        Rewording(str(question), str(wording).strip(), ())
        for use, wording, question in rows
        if use in (True, "true", "True") and str(wording or "").strip()
    ]
    if kept:
        write(filled(read(file), kept).pairs, file)


def prepared(workspace: Workspace, file: Path, thorough: str, steps: int) -> jobs.Prepared:
    """What `kefu train` would do with the table at this dial."""
    settings = parse({**workspace.settings().model_dump(), "thorough": thorough}, "the dial")
    return jobs.prepare(read(file), settings, probe(), steps=steps or None)


def free_name(workspace: Workspace, file: Path) -> str:
    """A name that no run has yet: the table's, and a number."""
    stem = re.sub(r"[^\w.\-]+", "-", file.stem).strip("-.")[:60] or "run"
    taken = {run.name for run in workspace.runs()}
    return next(n for i in range(1, len(taken) + 2) if (n := f"{stem}-{i}") not in taken)
