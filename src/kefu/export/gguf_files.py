"""Writes GGUF: a merged model in a number format, or an adapter alone as a GGUF LoRA.

The format of the LoRA file is llama.cpp's (convert_lora_to_gguf.py): NAME.lora_a and NAME.lora_b
beside `adapter.lora.alpha`. One tensor at a time is in memory beyond the model itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

from ..errors import BaseError
from ..weights import warm
from ..weights.loader import place_of
from . import numbers, vocabulary
from .architecture import Architecture
from .source import WEIGHTS, Source

_PREFIX = "base_model.model."
_EXACT = {gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16}


KEPT = 0.8
"""The share of the adapter's work that must outlive rounding."""


def write_model(model: Any, source: Source, path: Path, file_type: str) -> float:
    """A merged model (transformers', on the CPU) as one GGUF file. Raises BaseError.

    Returns how much of what the adapter changed is left after rounding, see `survival`.
    """
    arch = Architecture(model.config.get_text_config())
    words = vocabulary.vocabulary(source.prompt.tokenizer, int(arch.config.vocab_size))
    tied = bool(arch.config.tie_word_embeddings)
    tensors = {
        name: value
        for name, value in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    writer = gguf.GGUFWriter(path, arch.name)
    _name(writer, source)
    arch.describe(writer)
    writer.add_file_type(numbers.FILE_TYPES[file_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    vocabulary.describe(
        writer, words, source.prompt.tokenizer, source.chat_template, source.prompt.terminator
    )
    plan: list[tuple[str, torch.Tensor, gguf.GGMLQuantizationType]] = []
    for name, value in tensors.items():
        theirs = arch.tensor(name)
        shape = tuple(value.shape)
        plan.append((name, value, numbers.type_of(theirs, shape, file_type, arch.layers, tied)))
        _announce(writer, theirs, shape, plan[-1][2])
    for name, value in arch.extra().items():
        _announce(writer, name, tuple(value.shape), gguf.GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    changed = deltas(source)
    left = whole = 0.0
    for name, value, kind in plan:
        laid = arch.transform(name)(value.float())
        packed = numbers.pack(laid, kind)
        writer.write_tensor_data(packed)
        if name in changed and kind not in _EXACT:
            error = torch.from_numpy(gguf.dequantize(packed, kind)).reshape(laid.shape) - laid
            delta = arch.transform(name)(changed[name]())
            left += float((error * delta).sum())
            whole += float((delta * delta).sum())
    for value in arch.extra().values():
        writer.write_tensor_data(value.numpy())
    writer.close()
    return survival(left, whole)


def survival(left: float, whole: float) -> float:
    """The share of the adapter's work that outlived rounding: 1 + <error, delta> / <delta, delta>.

    Rounding that knows nothing of the adapter leaves about 1. A base that already lies on a
    coarse grid, as one that came as a 4-bit file does, falls back onto it: the small changes of
    fine-tuning are rounded away, and what is left is the base as it was.
    """
    return 1 + left / whole if whole else 1.0


def deltas(source: Source) -> dict[str, Callable[[], torch.Tensor]]:
    """By weight: what makes the matrix (out, in) that the adapter adds to it."""
    config = source.adapter_config
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    found: dict[str, Callable[[], torch.Tensor]] = {}
    matrices = load_file(str(source.folder.adapter / WEIGHTS))
    for key, down in matrices.items():
        name, hit, _ = key.removeprefix(_PREFIX).partition(".lora_A.weight")
        up = matrices.get(key.replace(".lora_A.", ".lora_B."))
        if hit and up is not None:
            found[f"{name}.weight"] = partial(_product, up, down, scale)
    return found


def _product(up: torch.Tensor, down: torch.Tensor, scale: float) -> torch.Tensor:
    return scale * (up.float() @ down.float())


def write_lora(source: Source, path: Path) -> None:
    """The adapter as a GGUF LoRA, in fp32. Raises BaseError for one that is more than LoRA."""
    config = source.adapter_config
    odd = [k for k in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias")
           if config.get(k)]  # fmt: skip
    if odd or config.get("bias", "none") != "none":
        raise BaseError(
            f"This adapter uses {', '.join(odd) or 'biases'}, for which GGUF has no place.",
            "Export the run as `gguf` without `lora`: the merged model.",
        )
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    # llama.cpp divides by the rank; rank-stabilised LoRA divides by its root.
    alpha = alpha * math.sqrt(rank) if config.get("use_rslora") else alpha
    _write_lora(source, path, load_file(str(source.folder.adapter / WEIGHTS)), alpha)


def write_reader(source: Source, path: Path, name: str, *, merged: bool) -> None:
    """The adapter `name` that kefu brings (a finder's or a cross-encoder's) as a
    GGUF LoRA, for the plain base; or for the `merged` model, where it takes the run's adapter away,
    too. In fp32.

    Both adapters have one scale (weights/warm.py), so that the difference is one of their ranks'
    sum.
    """
    begun = warm.tensors(name)
    rank = next(value.shape[0] for key, value in begun.items() if ".lora_A." in key)
    own_rank = int(source.adapter_config["r"])
    scale = float(source.adapter_config["lora_alpha"]) / own_rank
    if merged:
        own = load_file(str(source.folder.adapter / WEIGHTS))
        for key, value in begun.items():
            mine = own[key].float()
            down = ".lora_A." in key
            begun[key] = torch.cat([value.float(), mine if down else -mine], 0 if down else 1)
        rank += own_rank
    _write_lora(source, path, begun, scale * rank)


def _write_lora(
    source: Source, path: Path, matrices: dict[str, torch.Tensor], alpha: float
) -> None:
    """PEFT's matrices, by the names in its file, as a GGUF LoRA."""
    from transformers import AutoConfig

    place = place_of(source.base)
    base = AutoConfig.from_pretrained(place, trust_remote_code=source.plan.trust_remote_code)
    arch = Architecture(base.get_text_config())
    writer = gguf.GGUFWriter(path, arch.name)
    _name(writer, source, kind="adapter")
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for key in sorted(matrices):
        name, _, which = key.removeprefix(_PREFIX).rpartition(".lora_")
        if which not in {"A.weight", "B.weight"}:
            raise BaseError(
                f"The adapter's tensor {key} is no LoRA matrix.", "Export the run as `merged`."
            )
        weight = f"{name}.weight"
        value = matrices[key].float()
        if which[0] == "B":
            value = arch.transform(weight)(value)
        writer.add_tensor(
            f"{arch.tensor(weight)}.lora_{which[0].lower()}", value.contiguous().numpy()
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _name(writer: Any, source: Source, kind: str = "model") -> None:
    writer.add_type(kind)
    writer.add_name(source.name)
    writer.add_string("general.license", source.base.licence)
    if source.base.licence_link:
        writer.add_license_link(source.base.licence_link)
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, source.base_name)


def _announce(
    writer: Any, name: str, shape: tuple[int, ...], kind: gguf.GGMLQuantizationType
) -> None:
    writer.add_tensor_info(name, shape, np.dtype(np.float32), numbers.size(shape, kind), kind)
