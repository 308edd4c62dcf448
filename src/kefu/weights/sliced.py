"""A base of which this process loads every n-th layer only, for one that no card holds whole.

All processes of a training together have read each layer once, onto the card that it is handed
round from (see train/split.py); the layers of the others are shapes without memory. So neither a
card nor the machine's memory ever holds a whole base, and no process reads what it does not keep.

Does not know how layers are handed round, nor who keeps which part of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def layers_of(model: Any) -> tuple[str, Any] | None:
    """The decoder's list of layers in a causal language model, and its name; None without one."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers = getattr(inner.get_decoder(), "layers", None)
    if layers is None:
        return None
    return next(((name, found) for name, found in model.named_modules() if found is layers), None)


def device_map(place: str, device: str, rank: int, world: int, trusted: bool) -> dict[str, Any]:
    """For transformers: all on `device` but the layers that are not `rank`'s turn."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(place, trust_remote_code=trusted)
    with torch.device("meta"):
        found = layers_of(AutoModelForCausalLM.from_config(config, trust_remote_code=trusted))
    name, layers = found or ("", ())
    others = {f"{name}.{i}": "meta" for i in range(len(layers)) if i % world != rank}
    # A device and not its name: bitsandbytes is refused where "cpu" stands beside another name.
    return {"": torch.device(device), **others}


@contextmanager
def not_dispatched() -> Iterator[None]:
    """Keeps transformers from taking layers without memory for such as are fetched when used."""
    from transformers import modeling_utils

    kept = modeling_utils.accelerate_dispatch
    modeling_utils.accelerate_dispatch = lambda *said, **named: None
    try:
        yield
    finally:
        modeling_utils.accelerate_dispatch = kept
