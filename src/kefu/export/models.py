"""A GGUF file in llama.cpp, as the bot asks a model: hidden states, logits of few tokens, text.

llama.cpp's server gives either states or text, and questions are read with other adapters than
answers, so there are up to four, each opened when it is first needed. Logits are the state times
rows of the head, which are read from the file itself: llama.cpp tells those of the likeliest tokens
only. Knows nothing of answers or thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import gguf
import torch

from ..prompt import Prompt
from ..weights import gguf_head, warm
from ..workspace import RunFolder
from . import engine
from .gguf_files import write_reader
from .source import Source, open_run

CONTEXT = 2048
"""Tokens that prompt and answer may have together, where the model's own context is not less."""
PATH = 2048
"""Tokens of an answer of the FAQ, on which states are asked beyond `CONTEXT`."""
STATES, TEXTS = 2, 8
"""Sequences that are computed side by side."""

PART = 16
"""Sequences whose states are asked for at one time."""


class LlamaModel:
    """What `bot` calls a model. Raises OSError where llama.cpp has ended."""

    device = "cpu"

    def __init__(self, source: Source, file: Path, lora: Path | None, stack: ExitStack) -> None:
        self.prompt = source.prompt
        self._file, self._lora, self._stack = file, lora, stack
        reader = gguf_head(file)
        tensors = {t.name: t for t in reader.tensors}
        self._head = tensors.get("output.weight") or tensors["token_embd.weight"]
        arch = str(reader.fields["general.architecture"].contents())
        own = int(reader.fields[f"{arch}.context_length"].contents())
        self.context = min(CONTEXT, own)
        self._source = source
        self._states: engine.Llama | None = None
        self._readings: dict[str, engine.Llama] = {}
        self._texts: engine.Llama | None = None

    def hidden(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """The decoder's last hidden state after each sequence, (n, d) in float32."""
        if self._states is None:
            self._states = self._open(STATES, CONTEXT + PATH, self._lora, states=True)
        return _asked(self._states, sequences)

    def after(
        self, prompts: Sequence[Sequence[int]], paths: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """The states (n, d) in float32 after each prompt with what follows it."""
        return self.hidden(_joined(prompts, paths))

    def reading(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """The states by which questions are compared, (n, d) in float32."""
        name = self._source.plan.warm.value
        if not name:
            return self.hidden(sequences)
        return _asked(self._reading(warm.finder(name)), sequences)

    def crossed(
        self, openings: Sequence[Sequence[int]], closings: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """The states after each opening with its closing, (n, d) in float32."""
        llama = self._reading(warm.cross(self._source.plan.warm.value))
        return _asked(llama, _joined(openings, closings))

    def _reading(self, name: str) -> engine.Llama:
        """What gives states by the adapter `name` that kefu brings."""
        if name not in self._readings:
            file = Path(self._stack.enter_context(TemporaryDirectory())) / "reader.gguf"
            write_reader(self._source, file, name, merged=self._lora is None)
            self._readings[name] = self._open(STATES, CONTEXT, file, states=True)
        return self._readings[name]

    def logits(self, hidden: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        """Logits (k,) of a few tokens after one hidden state (d,)."""
        rows = gguf.dequantize(self._head.data[list(tokens)], self._head.tensor_type)
        return torch.from_numpy(rows).float() @ hidden

    def write(self, prompts: Sequence[Sequence[int]], prompt: Prompt, most: int) -> list[list[int]]:
        """Greedy answers, the terminator last where there is one."""
        if self._texts is None:
            self._texts = self._open(TEXTS, CONTEXT, self._lora, states=False)
        ask, end = self._texts.complete, [prompt.terminator]
        with ThreadPoolExecutor(TEXTS) as pool:
            told = list(pool.map(lambda ids: ask(list(ids), most, 0), prompts))
        # The token that ends a text may be told with it, or not.
        return [
            [t for t in one["tokens"] if t not in end] + (end if one["stop_type"] == "eos" else [])
            for one in told
        ]

    def _open(self, slots: int, context: int, lora: Path | None, *, states: bool) -> engine.Llama:
        return self._stack.enter_context(
            engine.opened(self._file, lora, slots=slots, context=slots * context, states=states)
        )


def _joined(firsts: Sequence[Sequence[int]], rests: Sequence[Sequence[int]]) -> list[list[int]]:
    """llama.cpp is given whole sequences: what it keeps of one that begins alike is its affair."""
    return [[*first, *rest] for first, rest in zip(firsts, rests, strict=True)]


def _asked(llama: engine.Llama, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    found: list[list[float]] = []
    for start in range(0, len(sequences), PART):  # a slow machine must answer in time, too
        found += llama.states(sequences[start : start + PART])
    return torch.tensor(found, dtype=torch.float32)


@contextmanager
def answering(run: RunFolder, file: Path, lora: Path | None = None) -> Iterator[LlamaModel]:
    """An export of `run`: a GGUF file, or a GGUF LoRA on a GGUF file of the base.

    Raises GateError when llama.cpp refuses it, or when it is another run's.
    """
    source = open_run(run)
    engine.check_name(lora or file, source.name)
    with ExitStack() as stack:
        yield LlamaModel(source, file, lora, stack)
