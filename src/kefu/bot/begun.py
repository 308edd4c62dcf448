"""The adapter that a run's own began from, and those beside it by which its bot reads.

On a base with a warm adapter they know more wordings than one that has learned an FAQ by heart
(LOG.md, "Read before, answered after", "A finder"). Whether to hand over is asked of the run's own:
only it has learned what not to answer.
"""

from __future__ import annotations

from ..errors import RunError
from ..plan import read_by
from ..weights import Warm, warm
from ..workspace import RunFolder


def warm_of(folder: RunFolder) -> Warm | None:
    """None where the run began with nothing learned.

    Raises RunError where it began from another version of the warm adapter than is here, or is read
    for by another: its threshold is worth nothing then.
    """
    plan = folder.plan()
    name = plan.reads_by
    if not name:
        return None
    if warm.another(name, folder.versions().get("warm_sha256")):
        raise RunError(
            f"The run {folder.name} reads by another version of the warm adapter {name} than "
            "this kefu brings.",
            f"Train anew: `kefu train --again {folder.name}`.",
        )
    return Warm(name) if plan.warm.value else None


def reading_of(folder: RunFolder) -> str:
    """SHA-256 of the adapters by which the run's bot reads questions and rows; empty where it reads
    no rows."""
    plan = folder.plan()
    return warm.reading_digest(plan.reads_by, read_by(plan))
