"""Runs the model for the bot: last hidden states of many sequences, and logits of few tokens.

`Model` is what the bot asks, whoever computes it; `Engine` is torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch

from ..prompt import Prompt
from ..weights import Warm, frozen_head, last_states
from .prefixes import Prefixes

KEPT = 1024
"""Tokens of a prompt that is kept for what follows it, at most."""
SLICE = 4096
"""Tokens of the vocabulary whose logits a processor makes at once: they stay in its cache."""


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

    def reading(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """The states by which questions are compared, (n, d) in float32: by the finder's adapter
        where the run began warm, else as `hidden`."""
        ...

    def crossed(
        self, openings: Sequence[Sequence[int]], closings: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """The states after each opening with its closing, (n, d) in float32, by the
        cross-encoder's adapter. Openings are read once."""
        ...

    def after(
        self, prompts: Sequence[Sequence[int]], paths: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """As `hidden`, of prompts with what follows each: one prompt alone that was just asked for
        is not read again."""
        ...

    def logits(self, hidden: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        """Logits (k,) of a few tokens after one hidden state (d,)."""
        ...

    def write(self, prompts: Sequence[Sequence[int]], prompt: Prompt, most: int) -> list[list[int]]:
        """Greedy answers, what ends them last (`Prompt.ended`) where they end."""
        ...


class Crosses(Protocol):
    """Who reads rows with questions."""

    def crossed(
        self, openings: Sequence[Sequence[int]], closings: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """As a `Model`'s."""
        ...


class Reads(Crosses, Protocol):
    """Who compares questions, and reads rows with them, for a model that cannot."""

    def reading(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """As a `Model`'s."""
        ...


class Engine:
    """A model (with or without adapter) that scores next tokens.

    `warm` is what the adapter began from. `reader` reads in its place: a base beside it, or the run
    as it is for a merged model, which has no adapter any more. Engines over one base and warm
    adapter may have `prefixes` in common.
    """

    def __init__(
        self,
        model: Any,
        device: str,
        warm: Warm | None = None,
        reader: Reads | None = None,
        prefixes: Prefixes | None = None,
    ) -> None:
        model.eval()
        self.model = model
        self.device = device
        self.warm, self.reader = warm, reader
        self.prefixes = prefixes or Prefixes()
        self._begun: tuple[list[int], Any] | None = None  # what attention needs of one prompt
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
        self._begun = None
        if len(sequences) == 1 and len(sequences[0]) <= KEPT:
            return self._begin(list(sequences[0]))
        return self._states(sequences)

    def after(
        self, prompts: Sequence[Sequence[int]], paths: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """The states (n, d) in float32 after each prompt with what follows it.

        What `hidden` has read last, if it was one prompt, is not read again: a question that is
        asked alone costs its prompt once, however many partings of the trie are looked at.
        """
        if self._begun and len(prompts) == 1 and paths[0] and list(prompts[0]) == self._begun[0]:
            return self._go_on(list(paths[0]))
        return self._states([[*first, *more] for first, more in zip(prompts, paths, strict=True)])

    def _states(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        states: torch.Tensor = last_states(self.inner, sequences, self.device)
        return states

    @torch.inference_mode()
    def _begin(self, ids: list[int]) -> torch.Tensor:
        from transformers import DynamicCache

        self._begun = ids, DynamicCache()
        return self._read(ids, 0)

    @torch.inference_mode()
    def _go_on(self, ids: list[int]) -> torch.Tensor:
        assert self._begun is not None
        prompt, past = self._begun
        beyond = past.get_seq_length() - len(prompt)
        if beyond:
            past.crop(-beyond)
        return self._read(ids, len(prompt))

    def _read(self, ids: list[int], at: int) -> torch.Tensor:
        """The state (1, d) in float32 after tokens that stand from place `at` on."""
        assert self._begun is not None
        out = self.inner.get_decoder()(
            input_ids=self._matrix([ids]),
            position_ids=self._matrix([list(range(at, at + len(ids)))]),
            past_key_values=self._begun[1],
            use_cache=True,
        )
        state: torch.Tensor = out.last_hidden_state[:, -1].float()
        return state

    def reading(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """The states by which questions are compared, (n, d) in float32."""
        if self.reader is not None:
            return self.reader.reading(sequences)
        with self.warm.finder.on(self.model) if self.warm else nullcontext():
            return self._states(sequences)

    def crossed(
        self, openings: Sequence[Sequence[int]], closings: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """The states after each opening with its closing, (n, d) in float32."""
        if self.reader is not None:
            return self.reader.crossed(openings, closings)
        assert self.warm is not None and self.warm.cross is not None
        with self.warm.cross.on(self.model):
            return self.prefixes.states(self.inner, openings, closings, self.device)

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

    @torch.inference_mode()
    def write(self, prompts: Sequence[Sequence[int]], prompt: Prompt, most: int) -> list[list[int]]:
        """Greedy answers to many prompts at once, padded on the left.

        Answers that came to their end leave the batch. Logits are made for the last token only and
        on a processor in slices of the vocabulary: they are most of the work of a small model.
        """
        answers: list[list[int]] = [[] for _ in prompts]
        width = max(len(p) for p in prompts)
        pad = prompt.tokenizer.pad_token_id or 0
        given = self._matrix([[pad] * (width - len(p)) + list(p) for p in prompts])
        mask = self._matrix([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        places = (mask.cumsum(-1) - 1).clamp_min(0)
        open_ones = list(range(len(prompts)))
        past: Any = None
        for _ in range(most):
            tokens, past = self._step(given, mask, places, past)
            for number, token in zip(open_ones, tokens, strict=True):
                answers[number].append(token)
            left = [i for i, n in enumerate(open_ones) if not prompt.ended(answers[n])]
            if not left:
                break
            places = places[:, -1:] + 1
            if len(left) < len(tokens):
                kept = torch.tensor(left, device=self.device)
                past.batch_select_indices(kept)
                mask, places = mask[kept], places[kept]
                open_ones = [open_ones[i] for i in left]
            given = self._matrix([[tokens[i]] for i in left])
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], -1)
        return answers

    def _matrix(self, rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor(rows, device=self.device)

    def _step(
        self, given: torch.Tensor, mask: torch.Tensor, places: torch.Tensor, past: Any
    ) -> tuple[list[int], Any]:
        """The likeliest next token of each row, and the cache that knows the rows up to it."""
        asked = {
            "input_ids": given,
            "attention_mask": mask,
            "position_ids": places,
            "past_key_values": past,
            "use_cache": True,
        }
        if self.head is None:
            out = self.inner(**asked, logits_to_keep=1)
            return out.logits[:, -1].argmax(-1).tolist(), out.past_key_values
        out = self.inner.get_decoder()(**asked)
        return self._likeliest(out.last_hidden_state[:, -1]).tolist(), out.past_key_values

    def _likeliest(self, hidden: torch.Tensor) -> torch.Tensor:
        """The tokens (n,) of the highest logits after hidden states (n, d).

        A cap bends all logits alike, so that the highest stays the highest.
        """
        if self.device.startswith("cuda"):
            found: torch.Tensor = (hidden @ self.head.T).argmax(-1)
            return found
        best = [(hidden @ part.T).max(-1) for part in self.head.split(SLICE)]
        first = torch.stack([part.values for part in best]).argmax(0)
        places = torch.stack([part.indices for part in best])
        return places.gather(0, first[None])[0] + first * SLICE
