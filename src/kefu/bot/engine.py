"""Runs the model for the bot: last hidden states of many sequences, and logits of few tokens.

`Model` is what the bot asks, whoever computes it; `Engine` is torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from ..prompt import Prompt
from ..weights import frozen_head, last_states


class Model(Protocol):
    """A fine-tuned model, in any engine."""

    device: str

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        ...

    def hidden(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """The decoder's last hidden state after each sequence, (n, d) in float32."""
        ...

    def logits(self, hidden: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        """Logits (k,) of a few tokens after one hidden state (d,)."""
        ...

    def write(self, prompts: Sequence[Sequence[int]], prompt: Prompt, most: int) -> list[list[int]]:
        """Greedy answers, the terminator last where there is one."""
        ...


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

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        config = self.inner.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", 2048) or 2048)

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

    def write(self, prompts: Sequence[Sequence[int]], prompt: Prompt, most: int) -> list[list[int]]:
        """Greedy answers to many prompts at once, padded on the left."""
        width = max(len(p) for p in prompts)
        pad = prompt.tokenizer.pad_token_id or 0
        ids = torch.tensor(
            [[pad] * (width - len(p)) + list(p) for p in prompts], device=self.device
        )
        mask = torch.tensor(
            [[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.device
        )
        with torch.inference_mode():
            out = self.inner.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=most,
                eos_token_id=prompt.terminator,
                pad_token_id=pad,
            )
        answers = []
        for row in out[:, width:].tolist():
            if prompt.terminator in row:
                row = row[: row.index(prompt.terminator) + 1]
            answers.append(row)
        return answers
