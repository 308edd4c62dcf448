"""Last hidden states of many token sequences, read side by side.

Sequences of like length lie in one matrix, the shorter ones filled up on the right, where a causal
model does not look: a state does not depend on what else is computed at the same time, and no
token is compared with those of another sequence, as it would be if they were laid end to end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

TOKENS = {"cpu": 256, "cuda": 16384}
"""Tokens in one forward pass, about: more gain no speed and cost memory."""
LEAST = 64
"""Tokens below which a pass is not made smaller where memory is short."""


def last_states(model: Any, sequences: Sequence[Sequence[int]], device: str) -> Any:
    """The decoder's last hidden state after each sequence: a float32 tensor (n, d).

    `model` is a causal language model of transformers, without PEFT's wrapper around it.
    """
    import torch

    places = [[len(sequence) - 1] for sequence in sequences]
    return torch.cat(states_at(model, sequences, places, device)).float()


def states_at(
    model: Any,
    sequences: Sequence[Sequence[int]],
    places: Sequence[Sequence[int]],
    device: str,
    workers: int = 1,
) -> list[Any]:
    """The decoder's last hidden states at some `places` of each sequence: tensors (places, d).

    With several `workers`, which share the processor's threads, as many passes go on at the same
    time: the threads of one wait for each other at every small matrix. For a processor, and a model
    whose passes change nothing and draw nothing. The values are the same.
    """
    import torch

    def read(part: list[int]) -> Any:
        own = [places[i] for i in part]
        with torch.no_grad():  # which each thread says for itself
            states = _side_by_side(model, [sequences[i] for i in part], own, device)
        return states.split(list(map(len, own)))

    room = TOKENS["cuda" if device.startswith("cuda") else "cpu"]
    while True:
        found: dict[int, Any] = {}
        try:
            parts = list(_parts(list(map(len, sequences)), room))
            for part, states in zip(parts, _each(read, parts, workers), strict=True):
                found |= zip(part, states, strict=True)
            return [found[i] for i in range(len(sequences))]
        except torch.OutOfMemoryError:  # a plan counts on what a step needs, which may be less
            if room <= LEAST:
                raise
        room //= 4


def _each(work: Callable[[list[int]], Any], parts: Sequence[list[int]], workers: int) -> list[Any]:
    """What comes of each part."""
    import torch

    threads = torch.get_num_threads()
    workers = min(workers, threads, len(parts))
    if workers < 2:
        return list(map(work, parts))
    own = (threads // workers,)
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=own) as pool:
            return list(pool.map(work, parts))
    finally:
        torch.set_num_threads(threads)  # a thread that is new begins with what was set last


def _parts(lengths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Numbers of sequences of like length, filled up `room` tokens together."""
    part: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if part and lengths[i] * (len(part) + 1) > room:
            yield part
            part = []
        part.append(i)
    if part:
        yield part


def _side_by_side(
    model: Any, sequences: list[Sequence[int]], places: list[Sequence[int]], device: str
) -> Any:
    """The states at the places of all sequences, one after another."""
    import torch

    width = max(map(len, sequences))
    filled = [[*sequence, *[0] * (width - len(sequence))] for sequence in sequences]
    rows = [row for row, own in enumerate(places) for _ in own]
    ids = torch.tensor(filled, device=device)
    out = model.get_decoder()(input_ids=ids, use_cache=False)
    return out.last_hidden_state[rows, list(chain.from_iterable(places))]
