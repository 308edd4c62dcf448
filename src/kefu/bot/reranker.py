"""A larger base that reads rows of the FAQ with a question, and does nothing else for a bot.

It has taught the embedded base's cross-encoder, and tells more still (LOG.md, "A larger base reads
the rows"). It stands in the cross-encoder's place for a bot on any base, where its owner asks for
it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from ..plan import rows_base
from ..records import Plan
from ..weights import load, warm
from .prefixes import Prefixes

ROOM = 3 * 2**29
"""Bytes of rows that are kept as they were read: with 1.5B parameters 250 of the longest rows of an
FAQ, which take 6 MB each, or 500 of a shop's."""


_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Loaded:
    model: Any
    tokenizer: Any
    prefixes: Prefixes
    turn: threading.Lock
    """One for all bots of a process."""


@cache
def _loaded(name: str, device: str, adapter: str) -> _Loaded:
    # In half precision on a processor, too: it is large. Cards before Ampere have no bf16.
    half = not device.startswith("cuda") or torch.cuda.is_bf16_supported(including_emulation=False)
    base = load(name, precision="bf16" if half else "fp32", device=device)
    warm.recognise(adapter, base.model)
    model = warm.fitted(base.model, adapter)
    warm.start(model, adapter)
    # It reads by this adapter alone, so the products need not be computed beside the weights.
    return _Loaded(
        model.merge_and_unload().eval(), base.tokenizer, Prefixes(ROOM), threading.Lock()
    )


class Reranker:
    """The base `name`, of the catalogue or in a folder, loaded when it first reads.

    Raises BaseError then, where it is not here, or is another than it is said to be.
    """

    def __init__(self, name: str, device: str) -> None:
        self.name, self.device = name, device
        self.adapter = rows_base(name).cross

    @property
    def _here(self) -> _Loaded:
        with _LOADING:  # two that ask at first would load it twice
            return _loaded(self.name, self.device, warm.cross(self.adapter))

    @property
    def tokenizer(self) -> Any:
        """Its own, by which rows and questions are written for `crossed`."""
        return self._here.tokenizer

    def crossed(
        self, openings: Sequence[Sequence[int]], closings: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """The states after each opening with its closing, (n, d) in float32. Openings are read
        once."""
        here = self._here
        with here.turn:
            return here.prefixes.states(here.model, openings, closings, self.device)


def reranker(plan: Plan, device: str) -> Reranker | None:
    """Who reads rows for a run's bot; None where whoever compares questions does."""
    return Reranker(plan.reranker.value, device) if plan.reranker.value else None
