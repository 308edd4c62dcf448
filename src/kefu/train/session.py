"""One training session: what both engines share between their steps.

The order of rows, the log of steps, and what may end training before its time. Does not know how
a session is opened (opening.py), nor what comes before and after its steps (running.py).
"""

from __future__ import annotations

import json
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import KefuError
from ..prompt import Prompt, Row
from ..records import Plan, Step
from ..workspace import RunFolder, append_lines, dump, write_text
from . import checkpoints, many

OnStep = Callable[[Step], None]


@dataclass
class Asked:
    """Whether the machine asked for an end, as cloud notebooks do some seconds before theirs.

    Of several processes one may hear it between two steps of another: they stop when all know.
    """

    alone: bool = True
    here: bool = False
    """This process was asked."""
    stop: bool = False
    """All know."""
    stepping: bool = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hears SIGTERM: between steps it ends at once, else once the step is done and saved."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python hands signals to the main thread alone
            return

        def hear(*_: Any) -> None:
            self.here = True
            self.stop = self.stop or self.alone
            if not self.stepping:
                raise KeyboardInterrupt

        before = signal.signal(signal.SIGTERM, hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True, slots=True)
class Look:
    """Shows the model in the middle of its training, each time once its checkpoint is written."""

    after: tuple[int, ...]
    """Steps."""
    see: Callable[[int, Any, Prompt, str], None]
    """Gets the step, the PEFT model, its prompt and its device; must change no weight."""


class Interrupted(KefuError):
    """The person stopped the training; the last checkpoint is kept."""


@dataclass
class Session:
    """Everything an engine needs. `model` is a PEFT model on the plan's device, in train mode."""

    plan: Plan
    rows: list[Row]
    folder: RunFolder
    model: Any
    prompt: Prompt
    device: str
    on_step: OnStep
    owners: list[int] = field(default_factory=list)
    """For each row the number of its answer, -1 for the hand-over."""
    started: float = field(default_factory=time.monotonic)
    of: dict[str, str] = field(default_factory=dict)
    """Digests of plan, FAQ and base, which every checkpoint bears."""
    asked: Asked = field(default_factory=lambda: Asked())
    cards: many.Cards = field(default_factory=lambda: many.Cards())
    split: bool = False
    """Whether the base is cut up over the cards, see split.py."""
    look: Look | None = None
    notes: list[str] = field(default_factory=list)
    """What happened since the last step that was told, in whole sentences."""
    watched: list[tuple[list[int], int]] = field(default_factory=list)
    """Held-out wordings as token ids, each with the number of its answer, see watch.py."""
    held_out: float | None = None
    """Share of them that was right when they were looked at after this step."""

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of every row."""
        return [len(row.ids) for row in self.rows]

    def batches(self) -> Iterator[list[int]]:
        """Row numbers of each optimizer step from the first on, the same for the same seed."""
        plan = self.plan
        return order(len(self.rows), plan.effective_batch, plan.steps.value, plan.seed.value)

    def back_to(self, step: int) -> None:
        """Forgets what was written about steps after `step`, which are about to be done again."""
        if not self.cards.first:
            return
        kept = [s for s in self.folder.steps() if s.step <= step]
        lines = [json.dumps(dump(s), ensure_ascii=False) + "\n" for s in kept]
        write_text(self.folder.steps_file, "".join(lines))

    def save_after(self, step: int) -> bool:
        """Whether a checkpoint is due: by the plan, or because training is to stop."""
        due = self.asked.stop or step % self.plan.save_every.value == 0 or self.looks_after(step)
        return due and step < self.plan.steps.value

    def looks_after(self, step: int) -> bool:
        """Whether somebody wants to see the model after this step."""
        return self.look is not None and step in self.look.after

    def show_after(self, step: int) -> None:
        """Shows the model, if it was asked for after this step; it goes on in train mode."""
        if self.look is not None and step in self.look.after:
            self.look.see(step, self.model, self.prompt, self.device)
            self.model.train()

    def stop_after(self, step: int) -> None:
        """Ends training between two steps, once its checkpoint is written, if that was asked."""
        if self.asked.stop and step < self.plan.steps.value:
            raise KeyboardInterrupt

    def say(self, step: int, loss: float, rate: float, norm: float) -> None:
        """Writes one finished optimizer step down, with what happened before it, and passes it
        on."""
        note = " ".join(self.notes)
        self.notes.clear()
        held_out, self.held_out = self.held_out, None
        if not self.cards.first:
            return
        record = Step(
            step=step,
            of=self.plan.steps.value,
            loss=loss,
            learning_rate=rate,
            grad_norm=norm,
            seconds=round(time.monotonic() - self.started, 3),
            memory=peak_memory(self.device),
            note=note,
            held_out=held_out,
        )
        with checkpoints.writing(self.folder, self.folder.steps_file):
            append_lines(self.folder.steps_file, [json.dumps(dump(record), ensure_ascii=False)])
        self.on_step(record)


def order(rows: int, batch: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Row numbers of each step: one shuffled pass after another, without a break between."""
    made = 0
    waiting: list[int] = []
    while made < steps:
        shuffled = list(range(rows))
        # A seed of its own for every pass, and the same on every version of Python.
        random.Random(f"{seed}:{made}:{len(waiting)}").shuffle(shuffled)
        waiting.extend(shuffled)
        while len(waiting) >= batch and made < steps:
            yield waiting[:batch]
            waiting = waiting[batch:]
            made += 1


def peak_memory(device: str) -> int:
    """Bytes: the most that was allocated on the GPU, or that this process held on a CPU."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
