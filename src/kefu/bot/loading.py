"""The model for a bot that is being loaded: others may use it between two slices, and states that
were made before are read back.

The states of the trained wordings are most of what loading a run takes, and are the same each time.
They are kept as safetensors under a digest of the tokens and of the adapters; what is kept is never
older than the server that keeps it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..prompt import Prompt
from .engine import Model

SLICE = 16
"""Sequences for which the model is taken at one time: about one pass on a processor, after which
others may have it."""


class Loading:
    """A `Model` for as long as a bot is made ready.

    `use` is entered for each slice. `kept` is the folder for states, None to keep none; `of` is the
    file that they come from beside the tokens: the adapter, or a GGUF; `finder` the digest of the
    adapter by which questions are compared.
    """

    def __init__(
        self,
        model: Model,
        of: Path,
        finder: str,
        kept: Path | None = None,
        use: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.device, self.context = model.device, model.context
        self._model, self._of, self._finder = model, of, finder
        self._kept, self._use = kept, use

    def hidden(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """As the model's; (n, d) in float32."""
        return self._states("hidden", sequences)

    def reading(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """As the model's; (n, d) in float32."""
        return self._states("reading", sequences)

    def _states(self, kind: str, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        many = self._kept is not None and len(sequences) > 1
        file = self._file(kind, sequences) if many else None
        if file is not None and file.is_file():
            with suppress(OSError, SafetensorError, KeyError):
                kept: torch.Tensor = load_file(file, device=self.device)["states"]
                return kept
        found = []
        for start in range(0, len(sequences), SLICE):
            with self._use():
                found.append(getattr(self._model, kind)(sequences[start : start + SLICE]))
        states = torch.cat(found)
        if file is not None:
            with suppress(OSError, SafetensorError):  # a full disk costs time, and no answer
                save_file({"states": states.cpu().contiguous()}, file.with_suffix(".part"))
                file.with_suffix(".part").replace(file)
        return states

    def after(
        self, prompts: Sequence[Sequence[int]], paths: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """As the model's; (n, d) in float32."""
        with self._use():
            return self._model.after(prompts, paths)

    def crossed(
        self, openings: Sequence[Sequence[int]], closings: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """As the model's; (n, d) in float32."""
        with self._use():
            return self._model.crossed(openings, closings)

    def logits(self, hidden: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        """As the model's."""
        with self._use():
            return self._model.logits(hidden, tokens)

    def write(self, prompts: Sequence[Sequence[int]], prompt: Prompt, most: int) -> list[list[int]]:
        """As the model's."""
        with self._use():
            return self._model.write(prompts, prompt, most)

    def _file(self, kind: str, sequences: Sequence[Sequence[int]]) -> Path:
        assert self._kept is not None
        at = self._of.stat()
        by = self._finder if kind == "reading" else ""
        of = f"{kind} {by} {self._of.resolve()} {at.st_size} {at.st_mtime_ns}"
        told = hashlib.sha256(of.encode())
        for sequence in sequences:
            told.update(f"{list(sequence)}".encode())
        return self._kept / f"{told.hexdigest()}.safetensors"
