"""Begins an adapter from one that kefu brings, instead of from nothing.

The warm adapter has learned from the corpus of intents (see `intents`) that very different words
can ask for one thing; `bench/warm.py` makes it again. What comes out of a run is one ordinary
adapter on the plain base all the same: only its first values are others.

Knows nothing of plans: which base has a warm adapter stands in the catalogue of bases.
"""

from __future__ import annotations

import hashlib
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ..errors import RunError


def digest(name: str) -> str:
    """SHA-256 of the warm adapter's file."""
    with as_file(_file(name)) as path:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def start(model: Any, name: str) -> None:
    """Puts the warm adapter `name` into the fresh LoRA of a PEFT model.

    A LoRA of a larger rank keeps its own first values in the rest, whose other half is zero, so
    that both compute the same function. The scale (alpha over rank) must be that of the warm one.

    Raises RunError when the LoRA has other matrices than the warm one, or a smaller rank.
    """
    import torch
    from safetensors.torch import load_file

    with as_file(_file(name)) as path:
        warm = load_file(str(path))
    mine = {
        key.replace(".default.weight", ".weight"): weight
        for key, weight in model.named_parameters()
        if weight.requires_grad
    }
    if mine.keys() != warm.keys():
        odd = sorted(mine.keys() ^ warm.keys())
        raise _other(name, f"{len(odd)} matrices are in one of them only, the first {odd[0]}")
    for key, values in warm.items():
        weight = mine[key]
        rank = 0 if ".lora_A." in key else 1
        small, large = list(values.shape), list(weight.shape)
        if small[1 - rank] != large[1 - rank] or small[rank] > large[rank]:
            raise _other(name, f"{key} is {small} in the one and {large} in the other")
    with torch.no_grad():
        for key, values in warm.items():
            weight = mine[key]
            if ".lora_A." in key:
                weight[: values.shape[0]] = values.to(weight)
            else:
                weight[:, : values.shape[1]] = values.to(weight)


def _file(name: str) -> Any:
    return files(__package__) / "data" / f"{name}.safetensors"


def _other(name: str, why: str) -> RunError:
    return RunError(
        f"The warm adapter {name} does not fit this run's LoRA: {why}.",
        "Plan the run anew with `kefu plan`; a plan that was changed by hand needs "
        "`warm` set to an empty text.",
    )
