"""One trial of a sweep: a run like any other, seen on the way by questions that it never trains on.

It is held to the held-out wordings, which set the threshold too, and never to the exam: that stays
for the one run which is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from ..errors import FaqError
from ..records import Example, Plan
from ..workspace import RunFolder, Workspace
from .preparing import Prepared
from .training import settle, take_up

if TYPE_CHECKING:
    from ..bot import Bot
    from ..train import Look

PARTS = (1, 2, 4)
"""Quarters of a training after which its bot is asked; the last is its end."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a bot does on the held-out wordings after `part` quarters of its training."""

    part: int
    each: tuple[bool, ...]
    """Whether the row that it holds for likeliest is the right one, hand-over aside."""
    answered: float = 0.0
    """At the end of training: the share of questions that it is sure enough to answer."""

    @property
    def right(self) -> int:
        return sum(self.each)

    @property
    def share(self) -> float:
        return self.right / len(self.each)


def judges(held_out: Sequence[Example]) -> tuple[Example, ...]:
    """The held-out wordings that have an answer. Raises FaqError where there is none."""
    found = tuple(row for row in held_out if row.answer is not None)
    if not found:
        raise FaqError(
            "No wording can be held out of this FAQ, so nothing tells a good run from a bad one.",
            "Give its questions other wordings: `kefu reword FAQ --to FILE`.",
        )
    return found


def attempt(
    workspace: Workspace,
    name: str,
    prepared: Callable[[], Prepared],
    allowed: float,
    on_standing: Callable[[Standing, Plan], None],
) -> RunFolder:
    """Trains the run `name`, or goes on with it, and tells on the way how it stands.

    `on_standing` may end the training by not coming back: a checkpoint lies there already.
    """

    def look(folder: RunFolder, plan: Plan) -> Look:
        from ..bot import over
        from ..train import Look

        steps = {ceil(plan.steps.value * part / PARTS[-1]): part for part in PARTS[:-1]}

        def see(step: int, model: Any, prompt: Any, device: str) -> None:
            on_standing(_standing(over(folder, model, prompt, device), steps[step]), plan)

        return Look(tuple(steps), see)

    folder = take_up(workspace, name, prepared, look)
    bot = settle(folder, allowed)
    on_standing(_standing(bot, PARTS[-1]), folder.plan())
    return folder


def _standing(bot: Bot, part: int) -> Standing:
    seen = bot.evidence(judges(bot.folder.split().held_out))
    sure = bot.calibration
    answered = [share for at, share, _ in sure.curve if at >= sure.threshold]
    return Standing(part, tuple(s.right for s in seen), max(answered, default=0.0))
