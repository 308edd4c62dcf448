"""One training in several processes (torchrun, accelerate launch): one card each, one result.

No DDP wrapper: the adapter is the only thing with gradients, a few MB, so one sum of one flat
tensor a step is all that has to travel. A wrapper would sum at every backward pass, average where
the loss of a step must be divided by the labels of *all* ranks, and stand between PEFT and model.

Rank 0 alone reads, plans, writes and speaks; it hands plan and rows to the others, which know no
more than that. Every rank knows the order, and takes its share of each step's rows. Does not know
what a loss is, nor of models split over cards (FSDP).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from ..errors import KefuError, RunError, SettingsError

ON = "Go on from the last checkpoint with `kefu train --resume RUN`, on as many cards as there are."


def _gone() -> RunError:
    return RunError(
        "Another process of this training has ended, and this one cannot go on alone.", ON
    )


@dataclass(frozen=True, slots=True)
class Cards:
    """This process's place among `world`; rank 0 alone writes and speaks."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def told(self, work: Any, by: int = 0) -> Any:
        """What the rank `by` says, on every rank."""
        if self.world == 1:
            return work
        said = [work]
        try:
            dist.broadcast_object_list(said, src=by, device=torch.device("cpu"))
        except RuntimeError:
            raise _gone() from None
        return said[0]

    def agree(self, error: KefuError | None) -> None:
        """Raises the first of the ranks' errors, on every rank; returns where there is none."""
        if self.world == 1:
            if error is not None:
                raise error
            return
        said: list[Any] = [None] * self.world
        mine = None if error is None else (type(error), error.what, error.fix)
        try:
            dist.all_gather_object(said, mine)
        except RuntimeError:
            raise _gone() from None
        for found in said:
            if found is not None:
                raise found[0](*found[1:])

    def shares(self, rows: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
        """Each rank's part of a step's row numbers: the longest first, to whoever has fewest
        tokens and not his share of rows yet. `lengths` gives the tokens of every row of the
        training."""
        if self.world == 1:
            return [list(rows)]
        parts: list[list[int]] = [[] for _ in range(self.world)]
        tokens = [0] * self.world
        most = -(-len(rows) // self.world)
        for row in sorted(rows, key=lambda i: -lengths[i]):
            free = [rank for rank in range(self.world) if len(parts[rank]) < most]
            least = min(free, key=lambda rank: tokens[rank])
            parts[least].append(row)
            tokens[least] += lengths[row]
        return parts

    def sum_up(self, weights: Sequence[Any], *values: torch.Tensor) -> list[torch.Tensor]:
        """Adds up the gradients of `weights`, in place, and scalars over all ranks."""
        if self.world == 1:
            return list(values)
        parts = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        flat = torch.cat([p.reshape(-1).float() for p in (*parts, *values)])
        self.add(flat)
        at = 0
        for weight in weights:
            size = weight.numel()
            weight.grad = flat[at : at + size].reshape(weight.shape).to(weight.dtype)
            at += size
        return list(flat[at:].unbind())

    def same_bank(self, bank: Any, rows: Sequence[int], mine: Sequence[int]) -> None:
        """The new states of a step's `rows`, of which this rank made `mine`, on every rank."""
        if self.world == 1 or bank is None:
            return
        own = set(mine)
        every = sorted(set(rows))
        at = _brought(torch.tensor(every), bank.states)
        made = _brought(torch.tensor([[float(i in own)] for i in every]), bank.states)
        states = bank.states[at] * made
        self.add(states)
        # A row that comes twice in a step may have been on two ranks.
        bank.states.index_copy_(0, at, torch.nn.functional.normalize(states, dim=-1))

    def any(self, here: bool) -> bool:
        """Whether it is so on any rank."""
        said: list[Any] = [here]
        if self.world > 1:
            said *= self.world
            try:
                dist.all_gather_object(said, here)
            except RuntimeError:
                raise _gone() from None
        return any(said)

    def spread(self, values: torch.Tensor, by: int) -> None:
        """Overwrites `values` with those of the rank `by`; the host does not wait for it."""
        try:
            dist.broadcast(values, src=by)
        except RuntimeError:
            raise _gone() from None

    def add(self, flat: torch.Tensor) -> None:
        """Adds up a tensor over all ranks, in place; the host does not wait for it."""
        try:
            dist.all_reduce(flat)
        except RuntimeError:
            raise _gone() from None


@contextmanager
def agreed(cards: Cards) -> Iterator[None]:
    """Raises on every rank what was raised inside on any of them, the first rank's first."""
    wrong: KefuError | None = None
    try:
        yield
    except KefuError as error:
        wrong = error
    cards.agree(wrong)


def _brought(numbers: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    """Numbers on the device of `to`, without waiting for what it is doing."""
    return numbers.pin_memory().to(to.device, non_blocking=True) if to.is_cuda else numbers


def here() -> Cards:
    """This process's place, by what its launcher put into the environment; joins the others."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Cards()
    cards = Cards(int(os.environ["RANK"]), world, int(os.environ.get("LOCAL_RANK", "0")))
    if torch.cuda.is_available():
        torch.cuda.set_device(cards.local % torch.cuda.device_count())
    if not dist.is_initialized():
        # What rank 0 tells goes over gloo; what cards add up goes from card to card.
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return cards


def leave() -> None:
    """Ends what `here` began."""
    if dist.is_initialized():
        dist.destroy_process_group()


def launch(processes: int, words: Sequence[str]) -> int:
    """The kefu command `words` in so many processes under torchrun; its exit code.

    Raises SettingsError when there are fewer cards than that, RunError when a process was killed.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    cards = torch.cuda.device_count()
    if cards and processes > cards:
        raise SettingsError(
            f"There are {cards} GPUs here, and --gpus asks for {processes}.",
            f"Take --gpus {cards}, or leave it out.",
        )
    # Its own log is for those who run clusters; the processes speak for themselves.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="kefu",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "kefu", *words)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            raise RunError(
                f"Process {rank + 1} of {processes} of this training was killed by signal "
                f"{-failure.exitcode}.",
                ON,
            ) from None
        return int(failure.exitcode)
    except SignalException:
        return 2
    return 0
