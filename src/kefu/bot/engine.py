"""Runs the model for the bot: last hidden states of many sequences, and logits of few tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..weights import frozen_head, last_states


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

    def hidden(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """The decoder's last hidden state after each sequence, (n, d) in float32."""
        states: torch.Tensor = last_states(self.inner, sequences, self.device)
        return states

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
