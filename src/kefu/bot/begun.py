"""The adapter that a run's own began from, by which its bot reads questions.

On a base with a warm adapter that knows more wordings than the one that has learned an FAQ by heart
(LOG.md, "Read before, answered after"). Whether to hand over is asked of the run's own: only it has
learned what not to answer.
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


def cross_of(folder: RunFolder) -> str:
    """SHA-256 of the adapter by which the run's bot reads questions after rows; empty for none."""
    return warm.cross_digest(read_by(folder.plan()))
