"""The adapter merged into its base, as one ordinary model.

Into which base matters: an adapter that was trained on an NF4 base has learned to mend that
base's rounding, and may fit the dequantised weights better than the original ones. Nobody knows
before it was tried, so both can be made; who judges is the caller's business.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from ..errors import GateError
from ..weights import load
from .source import Source

Onto = Literal["original", "dequantised"]
Say = Callable[[str], None]
Judge = Callable[[Path], float]
SMALL = 2_000_000_000
"""Parameters up to which the sum is made in fp32; above, memory matters more than a rounding."""


def merged(source: Source, onto: Onto, say: Say) -> Any:
    """The merged model on the CPU, in fp32 (large ones in bf16). Raises BaseError, GateError."""
    plan = source.plan
    options: dict[str, Any] = {"trust_remote_code": plan.trust_remote_code, "say": say}
    rounded = _dequantised(source, options) if onto == "dequantised" else {}
    small = source.base.shape.parameters <= SMALL
    loaded = load(
        plan.base.value,
        precision="fp32" if small else "bf16",
        adapter=source.folder.adapter,
        **options,
    )
    inner = loaded.model.get_base_model()
    with torch.no_grad():
        for name, weight in rounded.items():
            layer = inner.get_submodule(name)
            layer = getattr(layer, "base_layer", layer)
            layer.weight.copy_(weight)
    try:
        return loaded.model.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise GateError(
            f"The adapter cannot be merged: {str(error).splitlines()[0]}", "Train the run again."
        ) from None


def _dequantised(source: Source, options: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The linear layers as training saw them: through NF4 and back, fp32, by module name."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    plan = source.plan
    model = load(plan.base.value, precision="nf4", compute=plan.compute.value, **options).model
    return {
        name: dequantize_4bit(module.weight.data, module.weight.quant_state).float()
        for name, module in model.named_modules()
        if isinstance(module, Linear4bit)
    }


def save(model: Any, source: Source, folder: Path) -> None:
    """A merged model in bf16 safetensors with its tokenizer; stops at the trained terminator."""
    from transformers import GenerationConfig
    from transformers.utils import logging

    words = source.prompt.tokenizer
    ends = [source.prompt.terminator]
    if words.eos_token_id is not None and words.eos_token_id not in ends:
        ends.append(int(words.eos_token_id))
    model.generation_config = GenerationConfig(
        bos_token_id=words.bos_token_id,
        eos_token_id=ends if len(ends) > 1 else ends[0],
        pad_token_id=words.pad_token_id if words.pad_token_id is not None else ends[0],
        do_sample=False,
    )
    model.config.name_or_path = ""
    was = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.to(torch.bfloat16).save_pretrained(str(folder))
    finally:
        if was:
            logging.enable_progress_bar()
    source.save_tokenizer(folder)


def choose(
    source: Source, work: Path, judge: Judge | None, say: Say
) -> tuple[Onto, tuple[str, ...]]:
    """Into which base the adapter goes, and what there is to say about it.

    Both are tried where the run trained on NF4 and there is a `judge`: it is handed a folder
    with a merged model and returns a number, higher is better. `work` is a place for both.
    """
    if source.plan.precision.value != "nf4":
        return "original", ()
    if judge is None:
        return "original", (
            "It was trained on the base in NF4 and is merged into the original base. Whether the "
            "dequantised one serves it better was not examined.",
        )
    marks: dict[Onto, float] = {}
    for onto in ("original", "dequantised"):
        folder = work / f".{onto}"
        folder.mkdir()
        say(f"merging into the {onto} base, and examining it")
        save(merged(source, onto, say), source, folder)
        marks[onto] = judge(folder)
        shutil.rmtree(folder)
    best: Onto = "dequantised" if marks["dequantised"] > marks["original"] else "original"
    return best, (
        f"It was trained on the base in NF4 and is merged into the {best} base: marks "
        f"{marks['original']:.4g} (original) and {marks['dequantised']:.4g} (dequantised).",
    )
