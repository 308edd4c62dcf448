"""Which other bases read for the bot: a small one questions, a larger one rows where asked for.

Torch-free, and knows of that base only what the catalogue says.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from ..errors import BaseError
from ..records import Choice
from .bases import Base, catalogue, resolve
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


def reranker(job: Job) -> Choice[str]:
    """The larger base that reads rows, or none. Raises BaseError for one that kefu has no adapter
    for; that a folder holds the very base is seen when it is loaded."""
    name = job.settings.reranker
    if name == "none":
        return Choice("", "The base that compares questions reads rows, too.")
    able = [base for base in catalogue() if base.cross]
    base = resolve(name)
    if base.cross or (base.kind == "folder" and base.shape in [b.shape for b in able]):
        return Choice(base.name, YOURS)
    raise BaseError(
        f"The base {name} cannot read rows for a bot: kefu has no adapter for it.",
        f"Set `reranker` to {' or '.join(b.name for b in able)}, to a folder with that base, "
        "or to `none`.",
    )


def rerankers(name: str) -> str:
    """The adapter by which the reranker `name`, a base or a folder with one, reads rows."""
    base = resolve(name)
    able = [b for b in catalogue() if b.cross and b.shape == base.shape]
    return base.cross or next((b.cross for b in able), "")
