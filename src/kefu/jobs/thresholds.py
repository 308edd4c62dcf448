"""A run's threshold set anew, without training: what its owner allows, and who reads its rows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace

from ..errors import RunError
from ..plan import read_by, reranker
from ..records import Calibration, Plan, Threshold
from ..weights import warm
from ..workspace import RunFolder, write_json, write_text
from .training import settle

SHOWN = (0.01, 0.02, 0.05, 0.1)
"""Shares of false answers for which the owner is told what would be answered."""


def set_threshold(
    folder: RunFolder,
    allowed: float,
    reranks: str | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Threshold:
    """Sets the threshold of a finished run by its own held-out questions.

    Nothing is loaded where the run has its curve and `reranks` changes nothing. With it the larger
    base of that name or folder reads rows from now on, `none` for no such base. Then, and where the
    run never got its curve or got it by another version of kefu that read or weighed otherwise, the
    held-out questions are asked; what fails leaves the run as it was.

    Raises RunError where the run has no curve, BaseError for a base that cannot read rows.
    """
    folder.check_finished()
    plan = folder.plan()
    reads = reranker(reranks) if reranks is not None else plan.reranker
    made = replace(plan, reranker=reads)
    found = folder.calibration()
    other = found.otherwise(warm.reading_digest(made.reads_by, read_by(made)))
    if other or reads.value != plan.reranker.value or not folder.calibration_file.is_file():
        say("asking the run's held-out questions anew: on a processor it takes minutes")
        _ask_anew(folder, made, allowed)
    found = folder.calibration()
    if not found.curve:
        raise RunError(
            f"The run {folder.name} has no curve of answers against errors: it never learned to "
            "hand over, or too few of its questions were held out.",
            "Train by the default recipe, with more rows or wordings.",
        )

    now = found.allowing(allowed)
    kept = replace(found, threshold=now.threshold, allowed=allowed)
    write_json(folder.calibration_file, kept, Calibration)
    return Threshold(folder.name, now, tuple(map(found.allowing, SHOWN)), reads.value)


def _ask_anew(folder: RunFolder, plan: Plan, allowed: float) -> None:
    """Writes the plan, and sets the threshold by asking the held-out questions."""
    calibration = folder.calibration_file
    files = [path for path in (folder.file("plan.json"), calibration) if path.is_file()]
    kept = {path: path.read_text("utf-8") for path in files}
    made = folder.file("plan.json").stat()
    try:
        write_json(folder.file("plan.json"), plan, Plan)
        calibration.unlink(missing_ok=True)  # it is of other evidence, which the bot would refuse
        settle(folder, allowed)
    except BaseException:
        for path, text in kept.items():
            write_text(path, text)
        raise
    finally:  # the run is as old as its training
        os.utime(folder.file("plan.json"), ns=(made.st_atime_ns, made.st_mtime_ns))
    shutil.rmtree(folder.file("exam"), ignore_errors=True)  # replies of the bot before
