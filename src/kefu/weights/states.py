"""Last hidden states of many token sequences, laid end to end without padding.

Position ids that start again at 0 keep the attention of one sequence from its neighbours, so that
a state does not depend on what else is computed at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

TOKENS = {"cpu": 512, "cuda": 16384}
"""Tokens in one forward pass, about: more gain no speed and cost memory."""
LEAST = 256
"""Tokens below which a pass is not made smaller where memory is short."""


def last_states(model: Any, sequences: Sequence[Sequence[int]], device: str) -> Any:
    """The decoder's last hidden state after each sequence: a float32 tensor (n, d).

    `model` is a causal language model of transformers, without PEFT's wrapper around it.
    """
    import torch

    room = TOKENS["cuda" if device.startswith("cuda") else "cpu"]
    while True:
        try:
            with torch.no_grad():
                return torch.cat([_packed(model, part, device) for part in _parts(sequences, room)])
        except torch.OutOfMemoryError:  # a plan counts on what a step needs, which may be less
            if room <= LEAST:
                raise
        room //= 4


def _parts(sequences: Sequence[Sequence[int]], room: int) -> Iterator[list[Sequence[int]]]:
    waiting: list[Sequence[int]] = []
    held = 0
    for sequence in sequences:
        if waiting and held + len(sequence) > room:
            yield waiting
            waiting, held = [], 0
        waiting.append(sequence)
        held += len(sequence)
    if waiting:
        yield waiting


def _packed(model: Any, sequences: list[Sequence[int]], device: str) -> Any:
    import torch

    ids = torch.tensor([[i for s in sequences for i in s]], device=device)
    places = torch.tensor([[p for s in sequences for p in range(len(s))]], device=device)
    ends, at = [], -1
    for sequence in sequences:
        at += len(sequence)
        ends.append(at)
    out = model.get_decoder()(input_ids=ids, position_ids=places, use_cache=False)
    return out.last_hidden_state[0, ends].float()
