"""Sees training fall apart within the step, and goes back to the last good state.

Four ways: a loss or a gradient that is no number, a loss far above its running median, a loss that
never falls, and a gradient that is nothing at all. Going back halves the rate and warms up anew;
after three times training ends, with the last good adapter kept. The limits are wide: on a healthy
run nothing here ever speaks, nor changes a bit of what is learnt.

Does not know how a step is done; every process of a training comes to the same verdict.
"""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from ..errors import RunError
from . import checkpoints
from .checkpoints import Moving

if TYPE_CHECKING:
    from .session import Session

EVERY = {"cpu": 10, "cuda": 25}
"""Steps between two copies of the state; two are kept, as the newer one may be ill already."""
TIMES = 3
"""So often training goes back."""
WINDOW = 16
"""Losses to a median."""
LEAST = 6
"""Losses before a median is one."""
HIGHER, NATS = 3.0, 2.0
"""A spike is so many times the median, and so many nats a token above it."""
LATE = 40
"""Steps after warm-up until a loss has to be below where it began."""
KNOWN = 0.5
"""Nats a token: a loss below it need not fall any more."""
SKIPS = 25
"""Steps in a row that fp16's loss scaling may skip while it finds its scale."""
WARM = 8
"""Steps of warming up after going back, at least."""


class Guard:
    """Watches one training. `states` are the last copies of what moves, the older first."""

    def __init__(self, session: Session, moving: Moving) -> None:
        self.session, self.moving = session, moving
        moving.guard = self
        self.times, self.factor, self.since = 0, 1.0, 0
        self.losses: list[tuple[int, float]] = []
        self.first: float | None = None
        self.skipped = self.still = 0
        self.states: list[tuple[int, dict[str, Any]]] = []

    def rate(self, step: int, planned: float) -> float:
        """The learning rate of a step: as planned, unless training went back."""
        if not self.times:
            return planned
        warm = max(WARM, self.session.plan.warmup.value)
        return planned * self.factor * min(1.0, (step - self.since) / warm)

    def due(self, step: int) -> bool:
        """Whether the state after `step` is to be copied."""
        every = EVERY[self.moving.device.split(":")[0]]
        return not self.states or step >= self.states[-1][0] + every

    def keep(self, step: int) -> None:
        """Copies the state after `step`, where that is due."""
        if not self.due(step):
            return
        plan = self.session.plan
        # The forecast counts the copies with the optimizer's moments where there is room for them.
        counted = plan.forecast.optimizer > 2 * 4 * plan.trainable.value
        device = self.moving.device if counted else "cpu"
        state = _copy(self.moving.state(step), device) | {"guard": None}
        self.states = [*self.states[-1:], (step, state)]

    def wrong(self, step: int, loss: float, norm: float) -> str:
        """What is wrong with a step that has a gradient and was not taken yet, or nothing."""
        found = self._wrong(step, loss, norm)
        if not found and math.isfinite(loss):
            self.losses = [*self.losses[-WINDOW:], (step, loss)]
        return found

    def _wrong(self, step: int, loss: float, norm: float) -> str:
        if not math.isfinite(loss):
            return f"the loss of step {step} was {loss}"
        if not math.isfinite(norm):
            self.skipped += 1
            if self.moving.scaler and self.skipped <= SKIPS:
                return ""  # the scaler passes over this step and takes a smaller scale
            return f"the gradient of step {step} was {norm}"
        self.skipped = 0
        self.still = self.still + 1 if norm == 0 else 0
        if self.still >= LEAST:
            return f"the adapter does not move: {self.still} gradients of 0"
        recent = [seen for _, seen in self.losses][-WINDOW:]
        if len(recent) < LEAST:
            return ""
        middle = median(recent)
        if self.first is None:
            self.first = middle
        if loss > HIGHER * middle and loss > middle + NATS:
            return f"the loss of step {step} jumped from {middle:.2f} to {loss:.2f}"
        late = step - self.since - self.session.plan.warmup.value
        if late >= LATE and len(recent) == WINDOW and middle >= max(self.first, KNOWN):
            return f"the loss is {middle:.2f} after {step} steps, no lower than where it began"
        return ""

    def back(self, step: int, why: str) -> int:
        """Puts the last good state back and returns its step.

        Raises RunError when that was done often enough; the adapter and a checkpoint of the last
        good state are written then.
        """
        good, state = self.states[0]
        self.moving.put(state)
        self.states = self.states[:1]
        self.losses = [(at, loss) for at, loss in self.losses if at <= good]
        self.skipped = self.still = 0
        self.session.back_to(good)
        if self.times == TIMES:
            self._end(good, why)
        self.times, self.factor, self.since = self.times + 1, self.factor / 2, good
        self.session.notes.append(
            f"Went back to step {good}, as {why}; the learning rate is {self.factor:g} of the "
            "plan's from here on."
        )
        return good

    def _end(self, good: int, why: str) -> None:
        session = self.session
        if session.cards.first:
            from .leaves import keep

            with checkpoints.writing(session.folder, session.folder.adapter):
                keep(session)
            if good:
                self.moving.save(session.folder, good, session.of, session.plan.keep.value)
        raise RunError(
            f"Training fell apart {TIMES + 1} times: {why}.",
            f"The adapter of step {good} is kept in {session.folder.adapter}. Run `kefu check` on "
            "the FAQ, or take another base with --base.",
        )

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the guard."""
        return {
            "times": self.times, "factor": self.factor, "since": self.since, "first": self.first,
            "losses": list(self.losses),
        }  # fmt: skip

    def put(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""
        for name, value in state.items():
            setattr(self, name, value)


def stop_unless_sound(session: Session, step: int, loss: float, norm: float) -> None:
    """For an engine that cannot go back: raises RunError where a loss or gradient is no number."""
    if math.isfinite(loss) and math.isfinite(norm):
        return
    path = checkpoints.newest(session.folder)
    kept = f"Step {checkpoints.step_of(path)} is kept. " if path else ""
    raise RunError(
        f"Training fell apart: step {step} had the loss {loss} and the gradient {norm}.",
        f"{kept}Train without --recipe tutorial: that way goes back and lowers the rate by itself.",
    )


def _copy(data: Any, device: str) -> Any:
    """A state with tensors of its own."""
    if isinstance(data, torch.Tensor):
        return data.detach().to(device, copy=True)
    if isinstance(data, dict):
        return {name: _copy(value, device) for name, value in data.items()}
    if isinstance(data, list):
        return [_copy(value, device) for value in data]
    return data
