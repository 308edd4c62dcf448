"""Looks at held-out wordings while training goes on, and ends it when they gain no more.

What is looked at is the bot's strongest witness (bot/memory.py): whether the trained row whose
state lies nearest to a held-out wording is a row of its answer. The states of the trained rows are
the bank's, as they were last seen, so a look costs one pass over the held-out prompts without
gradients, and changes nothing of what is learnt.

Does not know the exam, nor how sure the bot will be, nor whether the answers' words are known: it
never ends a training whose loss still says that they are not.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import ceil
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from ..weights import last_states
from .contrast import Bank

if TYPE_CHECKING:
    from .session import Session

MOST = 64
"""Held-out wordings that are looked at."""
COST = 0.06
"""Of the training's time, what all looks may take: says how often there is one."""
BACKWARDS = 3
"""A trained token costs so many times a token that is only read."""
KNOWN = 0.5
"""Nats a token: above it the answers' words are not known yet."""

Wording = tuple[list[int], int]
"""The prompt of a held-out wording as token ids, and the number of its answer."""


class Watch:
    """Watches one training. `kept` is the adapter of the best look so far."""

    def __init__(self, session: Session, bank: Bank, wordings: Sequence[Wording]) -> None:
        self.session, self.bank = session, bank
        draw = random.Random(session.plan.seed.value)
        chosen = draw.sample(list(wordings), min(MOST, len(wordings)))
        self.prompts = [ids for ids, _ in chosen]
        self.owners = torch.tensor([owner for _, owner in chosen], device=session.device)
        read = sum(map(len, self.prompts))
        mean = sum(session.lengths) / len(session.lengths)
        step = BACKWARDS * mean * session.plan.effective_batch
        self.every = max(1, ceil(read / step / COST))
        self.best, self.best_at, self.since = -1, 0, 0
        self.kept: dict[str, torch.Tensor] = {}
        self.losses: list[float] = []
        self.over = False

    def look(self, step: int, loss: float) -> bool:
        """Looks, where that is due after `step`; whether training ends with it."""
        self.losses = [*self.losses[-7:], loss]
        last = step == self.session.plan.steps.value
        if step % self.every and not last:
            return False
        right: int = self.session.cards.told(self._right())  # one verdict for all processes
        self.session.held_out = right / len(self.prompts)
        if right > self.best:
            self.since = step
        if right >= self.best:  # of equals the later: its rate was lower, and it has seen more
            self.best, self.best_at = right, step
            self.kept = {n: p.detach().clone() for n, p in self._weights()}
        patient = step - self.since < self.session.plan.patience.value
        self.over = not patient and median(self.losses) < KNOWN
        if (self.over or last) and self.best_at != step:
            self.session.notes.append(
                f"Held-out wordings gained nothing since step {self.since}: the adapter of step "
                f"{self.best_at} is kept, which has {self.best} of {len(self.prompts)} right."
            )
        elif self.over and not last:
            self.session.notes.append(
                f"Held-out wordings gained nothing since step {self.since}, where {self.best} of "
                f"{len(self.prompts)} were right: training ends."
            )
        return self.over

    def end(self) -> None:
        """Puts the best adapter into the model."""
        with torch.no_grad():
            for name, weight in self._weights():
                if name in self.kept:
                    weight.copy_(self.kept[name])

    def _right(self) -> int:
        """Held-out wordings that lie nearest to a row of their own answer."""
        model = self.session.model
        model.eval()  # nothing is dropped, and nothing is drawn
        states = last_states(model.get_base_model(), self.prompts, self.session.device)
        model.train()
        return int((self.bank.nearest(states) == self.owners).sum())

    def _weights(self) -> list[tuple[str, Any]]:
        return [(n, p) for n, p in self.session.model.named_parameters() if p.requires_grad]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "best": self.best, "best_at": self.best_at, "since": self.since, "over": self.over,
            "losses": list(self.losses), "kept": dict(self.kept),
        }  # fmt: skip

    def put(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""
        for name, value in state.items():
            setattr(self, name, value)


def watch_of(session: Session, bank: Bank | None) -> Watch | None:
    """A watch, where the plan asks for one and there is something to look at."""
    if not session.plan.patience.value or bank is None or not session.watched:
        return None
    return Watch(session, bank, session.watched)
