"""Runs the model for the bot: last hidden states of many sequences, and logits of few tokens.

Sequences are laid end to end without padding, as in training, so that an answer does not depend
on what else is asked at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..weights import frozen_head

TOKENS = {"cpu": 512, "cuda": 16384}
"""Tokens in one forward pass, about: more gain no speed and cost memory."""


class Engine:
    """A model (with or without adapter) that scores next tokens."""

    def __init__(self, model: Any, device: str) -> None:
        model.eval()
        self.model = model
        self.device = device
        self.inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        found = frozen_head(self.inner)
        self.head: Any = found[0] if found else None
        self.cap = found[1] if found else 0.0
        self._room = TOKENS["cuda" if device.startswith("cuda") else "cpu"]

    @torch.inference_mode()
    def hidden(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """The decoder's last hidden state after each sequence, (n, d) in float32."""
        made: list[torch.Tensor] = []
        waiting: list[Sequence[int]] = []
        held = 0
        for sequence in sequences:
            if waiting and held + len(sequence) > self._room:
                made.append(self._packed(waiting))
                waiting, held = [], 0
            waiting.append(sequence)
            held += len(sequence)
        if waiting:
            made.append(self._packed(waiting))
        return torch.cat(made)

    def _packed(self, sequences: list[Sequence[int]]) -> torch.Tensor:
        ids = torch.tensor([[i for s in sequences for i in s]], device=self.device)
        places = torch.tensor([[p for s in sequences for p in range(len(s))]], device=self.device)
        ends, at = [], -1
        for sequence in sequences:
            at += len(sequence)
            ends.append(at)
        out = self.inner.get_decoder()(input_ids=ids, position_ids=places, use_cache=False)
        last: torch.Tensor = out.last_hidden_state[0, ends].float()
        return last

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        """Logits (k,) of a few tokens after one hidden state (d,)."""
        rows = torch.tensor(list(tokens), device=self.device)
        if self.head is None:
            whole: torch.Tensor = self.inner.get_output_embeddings()(
                hidden.to(next(self.inner.parameters()).dtype)
            )
            return whole[rows].float()
        found = self.head[rows].float() @ hidden
        return torch.tanh(found / self.cap) * self.cap if self.cap else found
