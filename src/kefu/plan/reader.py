"""Which other bases read for the bot: a small one questions, a larger one rows where asked for.

Torch-free, and knows of that base only what the catalogue says.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from ..errors import BaseError
from ..records import Choice, Plan
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


def reranker(name: str) -> Choice[str]:
    """The larger base that reads rows, by what a person says: `auto` for one that is installed as
    packages, `none` for none. Raises BaseError for a base that cannot."""
    if name == "none":
        return Choice("", YOURS)
    if name == "auto":
        large = next(base for base in catalogue() if base.kind == "embedded" and base.cross)
        if _installed(large):
            return Choice(large.name, "It is here, and tells far better what a row covers.")
        other = next(base for base in catalogue() if base.kind == "hub" and base.cross)
        return Choice(
            "",
            "The base that compares questions reads rows, too. A larger one hands over half as "
            f"many: `--reranker {other.name}` (3 GB).",
        )
    rows_base(name)
    return Choice(resolve(name).name, YOURS)


def read_by(plan: Plan) -> str:
    """The name of the adapter by which a run's rows are read with a question; empty for none."""
    large = plan.reranker.value
    return rows_base(large).cross if large else plan.reads_by


def rows_base(name: str) -> Base:
    """The catalogue's base that reads rows and that `name`, or a folder of that name, is. Whether a
    folder holds the very base is seen when it is loaded. Raises BaseError for any other."""
    able = [base for base in catalogue() if base.cross]
    found = resolve(name)
    for base in able:
        same = found.kind == "folder" and base.shape == found.shape
        if base.name == found.name or same:
            return base
    raise BaseError(
        f"The base {name} cannot read rows for a bot: kefu has no adapter for it.",
        f"Set `reranker` to {' or '.join(b.name for b in able)}, to a folder with that base, "
        "or to `none`.",
    )
