"""What Tune says of its trials, passed on. Imported late: it needs Ray at once.

A class of a module, and not of a function, since Tune keeps its callbacks on disk with a sweep and
takes them from there when the sweep goes on: kept is the name alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from ray import tune

from ..workspace import read_json
from .trials import Trial


class Tell(tune.Callback):  # type: ignore[misc, unused-ignore]
    """Reads what a trial has written of itself, and tells it."""

    place: ClassVar[Path]
    tell: ClassVar[Callable[[Trial], None]]

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any
    ) -> None:
        type(self).tell(read_json(self.place / "trials" / f"{result['name']}.json", Trial))
