"""Whether another base reads questions for the bot: a small one that has learned to.

Torch-free, and knows of that base only what the catalogue says.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from ..records import Choice
from .bases import Base, catalogue
from .job import YOURS, Job


def reader(job: Job) -> Choice[str]:
    """The embedded base that reads beside the job's own, or none, and why."""
    if job.base.warm:
        return Choice("", "The base reads by the adapters that kefu brings for it.")
    if job.settings.reader == "none":
        return Choice("", YOURS)
    other = next(base for base in catalogue() if base.kind == "embedded" and base.warm)
    if not _installed(other):
        return Choice(
            "",
            f"{other.name} could tell better what the FAQ does not cover, but it is not here: "
            f"`pip install {' '.join(other.packages)}`.",
        )
    return Choice(
        other.name,
        "This small base reads each question first, and the rows that it may mean: kefu brings "
        "adapters for it that have learned which questions an answer covers.",
    )


def _installed(base: Base) -> bool:
    try:
        return all(version(package) for package in base.packages)
    except PackageNotFoundError:
        return False
