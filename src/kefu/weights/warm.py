"""The warm adapter that kefu brings for a base: a run's own begins from it.

It has learned from the corpus of intents (`bench/intents`) that very different words can ask for
one thing; `bench/warm.py` makes it again. What comes out of a run is one ordinary adapter on the
plain base all the same: only its first values are others. Learning an FAQ by heart costs an adapter
some of what it knew of wordings before, so a bot compares questions as they are read without it.

Beside it may lie two more on the same base that have learned from the same corpus, by which a bot
reads and no run begins: a finder, which puts a question near the wordings and the answer of the
row that it is asked of (`bench/finder.py`), and a cross-encoder, which has learned what an answer
covers (`bench/cross_encoder.py`, `bench/distil.py`).

Knows nothing of plans: which base has a warm adapter stands in the catalogue of bases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ..errors import BaseError, RunError
from .libraries import few_threads

DIRECTION, BASE = "direction", "base"
"""Of a cross-encoder's adapter, the tensors beside its matrices: what its states are multiplied by,
and the last norm's weights of the base that it was trained on, where that is not shipped."""
SCALE = ".scale"
"""Ends the name of the scales (rows, 1) of a matrix that is kept in 8 bits."""


def digest(name: str) -> str:
    """SHA-256 of the warm adapter's file."""
    with as_file(_file(name)) as path:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def another(name: str, noted: str | None) -> bool:
    """Whether the digest that a run noted is of another version of the warm adapter `name` than is
    here. Runs from before such notes have none."""
    return noted not in (None, digest(name))


def tensors(name: str) -> dict[str, Any]:
    """The warm adapter's matrices, by the names in an adapter's file, on the processor."""
    from safetensors.torch import load_file

    with as_file(_file(name)) as path:
        found: dict[str, Any] = load_file(str(path))
    return {
        key: values * found[key + SCALE] if key + SCALE in found else values
        for key, values in found.items()
        if ".lora_" in key and not key.endswith(SCALE)
    }


def rank(name: str) -> int:
    """The rank of the adapter `name`."""
    return next(int(v.shape[0]) for key, v in tensors(name).items() if ".lora_A." in key)


def fitted(model: Any, name: str) -> Any:
    """`model` under a LoRA of the form of the adapter `name`, at first without effect: for `start`,
    or for `Warm` to stand in its place."""
    from peft import LoraConfig, get_peft_model

    r = rank(name)
    form = LoraConfig(r=r, lora_alpha=2 * r, target_modules="all-linear", task_type="CAUSAL_LM")
    with few_threads():
        return get_peft_model(model, form)


def recognise(name: str, model: Any) -> None:
    """Raises BaseError where `model` is not the base that the cross-encoder's adapter `name` was
    trained on, as its last norm shows: another of the same size would answer without sense."""
    import torch
    from safetensors import safe_open

    with as_file(_file(name)) as path, safe_open(str(path), framework="pt") as file:
        due = file.get_tensor(BASE)
    own = model.get_decoder().norm.weight.detach().float().cpu()
    if own.shape != due.shape or not torch.allclose(own, due.float(), rtol=0.02, atol=0.02):
        raise BaseError(
            f"This base is not the one that the adapter {name} has learned on, though of its size.",
            "Set `reranker` to the base that the adapter is named after, or to `none`.",
        )


def start(model: Any, name: str) -> None:
    """Puts the warm adapter `name` into the fresh LoRA of a PEFT model.

    A LoRA of a larger rank keeps its own first values in the rest, whose other half is zero, so
    that both compute the same function. The scale (alpha over rank) must be that of the warm one.

    Raises RunError when the LoRA has other matrices than the warm one, or a smaller rank.
    """
    import torch

    warm, mine = tensors(name), _matrices(model)
    _check(name, warm, mine)
    with torch.no_grad():
        for key, values in warm.items():
            _corner(key, mine[key], values).copy_(values.to(mine[key]))


class Warm:
    """The warm adapter `name` over one PEFT model, whose adapters all fit it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._pairs: dict[str, list[tuple[Any, Any]]] = {}

    @cached_property
    def finder(self) -> Warm:
        """The adapter by which questions are compared: a finder's for the same base, of the same
        form, where kefu has one, else the warm adapter itself."""
        name = finder(self.name)
        return self if name == self.name else Warm(name)

    @cached_property
    def cross(self) -> Warm | None:
        """The cross-encoder's adapter for the same base, of the same form, where kefu has one."""
        return Warm(cross(self.name)) if has_cross(self.name) else None

    @contextmanager
    def on(self, model: Any) -> Iterator[None]:
        """Until the end the model computes with it, in the place of the adapter that it has.

        Only pointers change, so that a training may go on with its own values afterwards. Raises
        RunError as `start`.
        """
        active = str(model.active_adapter)
        if active not in self._pairs:
            self._pairs[active] = self._paired(model)
        pairs = self._pairs[active]
        own = [weight.data for weight, _ in pairs]
        for weight, values in pairs:
            weight.data = values
        try:
            yield
        finally:
            for (weight, _), values in zip(pairs, own, strict=True):
                weight.data = values

    def _paired(self, model: Any) -> list[tuple[Any, Any]]:
        """Each matrix of the model's adapter, and what stands in it meanwhile: zeros beyond the
        warm adapter's rank."""
        import torch

        warm, mine = tensors(self.name), _matrices(model)
        _check(self.name, warm, mine)
        found = []
        for key, values in warm.items():
            padded = torch.zeros_like(mine[key].data)
            _corner(key, padded, values).copy_(values.to(padded))
            found.append((mine[key], padded))
        return found


def _matrices(model: Any) -> dict[str, Any]:
    """The parameters of the adapter that a PEFT model computes with, by their names in its file."""
    part = f".{model.active_adapter}."
    return {
        name.replace(part, "."): weight
        for name, weight in model.named_parameters()
        if ".lora_" in name and part in name
    }


def _corner(key: str, matrix: Any, values: Any) -> Any:
    """The part of a LoRA matrix that holds a smaller rank's values."""
    if ".lora_A." in key:
        return matrix[: values.shape[0]]
    return matrix[:, : values.shape[1]]


def _check(name: str, warm: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    if mine.keys() != warm.keys():
        odd = sorted(mine.keys() ^ warm.keys())
        raise _other(name, f"{len(odd)} matrices are in one of them only, the first {odd[0]}")
    for key, values in warm.items():
        rank = 0 if ".lora_A." in key else 1
        small, large = list(values.shape), list(mine[key].shape)
        if small[1 - rank] != large[1 - rank] or small[rank] > large[rank]:
            raise _other(name, f"{key} is {small} in the one and {large} in the other")


def cross(name: str) -> str:
    """The name of the cross-encoder's adapter beside the warm adapter `name`."""
    return f"{name}-cross"


def finder(name: str) -> str:
    """The name of the adapter by which questions are compared where a bot reads by the warm adapter
    `name`: of the finder beside it, or `name` itself where there is none."""
    found = f"{name}-find"
    return found if _file(found).is_file() else name


def finder_digest(name: str) -> str:
    """SHA-256 of the adapter by which questions are compared; empty for no `name`."""
    return digest(finder(name)) if name else ""


def reading_digest(questions: str, rows: str) -> str:
    """SHA-256 of the adapters by which a bot reads: the finder beside the warm adapter `questions`
    and the cross-encoder beside `rows`. Empty for no cross-encoder."""
    if not has_cross(rows):
        return ""
    both = digest(cross(rows)) + finder_digest(questions)
    return hashlib.sha256(both.encode()).hexdigest()


def direction(name: str) -> Any:
    """What a normed state (d,) is multiplied by for the number of the cross-encoder beside the warm
    adapter `name`."""
    from safetensors import safe_open

    with as_file(_file(cross(name))) as path, safe_open(str(path), framework="pt") as file:
        return file.get_tensor(DIRECTION)


def has_cross(name: str) -> bool:
    """Whether kefu brings a cross-encoder's adapter beside the warm adapter `name`."""
    return bool(name) and bool(_file(cross(name)).is_file())


def _file(name: str) -> Any:
    return files(__package__) / "data" / f"{name}.safetensors"


def _other(name: str, why: str) -> RunError:
    return RunError(
        f"The warm adapter {name} does not fit this run's LoRA: {why}.",
        "Plan the run anew with `kefu plan`; a plan that was changed by hand needs "
        "`warm` set to an empty text.",
    )
