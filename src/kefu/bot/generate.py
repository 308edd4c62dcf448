"""Free text from the model: greedy or sampled, streamed, ended by the terminator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ..prompt import Prompt
from .engine import Engine, Model

TEMPERATURE, TOP_P, MOST = 0.7, 0.9, 256
"""The tutorials' numbers: sampling temperature, nucleus, and new tokens at most."""


def generate(
    engine: Engine,
    prompt: Prompt,
    ids: Sequence[int],
    *,
    sample: bool,
    most: int = MOST,
    seed: int | None = None,
    temperature: float | None = None,
) -> Iterator[int]:
    """Token ids of an answer as they come; what ends it is the last, unless it was cut off.

    `temperature` of the sampling, the tutorials' where it is None; 0 is greedy.
    """
    heat = TEMPERATURE if temperature is None else temperature
    sample = sample and heat > 0
    generator = torch.Generator().manual_seed(seed) if seed is not None else None
    past: Any = None
    made: list[int] = []
    given = torch.tensor([list(ids)], device=engine.device)
    for _ in range(most):
        with torch.inference_mode():
            out = engine.inner(
                input_ids=given, past_key_values=past, use_cache=True, logits_to_keep=1
            )
        past = out.past_key_values
        logits = out.logits[0, -1].float()
        token = _sampled(logits, generator, heat) if sample else int(logits.argmax())
        yield token
        made.append(token)
        if prompt.ended(made):
            return
        given = torch.tensor([[token]], device=engine.device)


def _sampled(
    logits: torch.Tensor, generator: torch.Generator | None, temperature: float = TEMPERATURE
) -> int:
    """One token by temperature and nucleus (Holtzman et al. 2020)."""
    shares = torch.softmax(logits / temperature, -1)
    ordered, order = shares.sort(descending=True)
    before = ordered.cumsum(-1) - ordered
    ordered = ordered.masked_fill(before >= TOP_P, 0.0)
    at = int(torch.multinomial(ordered.cpu(), 1, generator=generator))
    return int(order[at])


def growing(
    engine: Engine,
    prompt: Prompt,
    ids: Sequence[int],
    *,
    sample: bool,
    temperature: float | None = None,
) -> Iterator[str]:
    """An answer's text as it grows, without an end that more tokens may take back; at last all."""
    told, made = "", []
    for token in generate(engine, prompt, ids, sample=sample, temperature=temperature):
        if token == prompt.terminator:
            break
        made.append(token)
        text = prompt.said(made)
        if len(text) > len(told) and not prompt.unsettled(text):
            yield text
            told = text
    if len(prompt.said(made)) > len(told):
        yield prompt.said(made)


def generate_all(
    engine: Model, prompt: Prompt, prompts: Sequence[Sequence[int]], *, most: int = MOST
) -> list[list[int]]:
    """Greedy answers to many prompts at once (for exams)."""
    return engine.write(prompts, prompt, most)
