"""A small base that reads beside a bot's own: it compares questions and reads rows with them.

kefu brings adapters for the embedded base that have learned from a corpus that very different
words can ask for one thing, and what an answer covers (weights/warm.py). A bot on any other base
has nothing of the kind, however large that base is. So the embedded base reads for it, by tokens of
its own, and the bot's base does the rest: it chooses over the trie, and speaks.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from ..prompt import Prompt
from ..records import Plan
from ..weights import Warm, load, warm
from .engine import Engine, Model, Reads

ROOM = 512
"""Tokens of a question or an answer, at most; of a longer one its beginning is read."""


_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Loaded:
    engine: Engine
    prompt: Prompt
    turn: threading.Lock
    """One reader for all bots of a process: its adapters take each other's place in it."""


@cache
def _loaded(name: str, device: str) -> _Loaded:
    # Gemma overflows in fp16, and cards before Ampere have no other half precision.
    half = device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
    base = load(name, precision="bf16" if half else "fp32", device=device)
    model = warm.fitted(base.model, name)
    engine = Engine(model, device, Warm(name))
    return _Loaded(engine, Prompt(base.tokenizer, "plain"), threading.Lock())


class Beside:
    """The embedded base `name` with kefu's adapters, loaded when it first reads.

    Raises BaseError then, where its package is not installed.
    """

    def __init__(self, name: str, device: str) -> None:
        self.name, self.device = name, device

    @property
    def tokenizer(self) -> object:
        """Its own, by which rows and questions are written for `crossed`."""
        return self._here.prompt.tokenizer

    @property
    def _here(self) -> _Loaded:
        with _LOADING:  # two that ask at first would load it twice
            return _loaded(self.name, self.device)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Questions or answers, as token ids for `reading`."""
        return [self._here.prompt.shortened(text, ROOM) for text in texts]

    def reading(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """As a `Model`'s; (n, d) in float32."""
        with self._here.turn:
            return self._here.engine.reading(sequences)

    def crossed(
        self, openings: Sequence[Sequence[int]], closings: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """As a `Model`'s; (n, d) in float32."""
        with self._here.turn:
            return self._here.engine.crossed(openings, closings)


class Together:
    """A `Model` of any engine with another base that reads in its place."""

    def __init__(self, model: Model, reader: Reads) -> None:
        self.device, self.context = model.device, model.context
        self.hidden, self.after = model.hidden, model.after
        self.logits, self.write = model.logits, model.write
        self.reading, self.crossed = reader.reading, reader.crossed


def beside(plan: Plan, device: str) -> Beside | None:
    """Who reads for a run's bot; None where its own base does."""
    return Beside(plan.reader.value, device) if plan.reader.value else None
