"""Bases of a real architecture with random weights, made on the card: no file, no download.

Speed and memory do not depend on the values. Each matrix has a seed of its own, so that every
process and every way of sharing has the same base; 4-bit matrices are packed one by one as they
come, so that nothing larger than one of them ever lies unpacked.
"""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

from gpu import QWEN_7B

SIZES: dict[str, dict[str, int]] = {
    "7b": {},
    "72b": {
        "hidden_size": 8192,
        "intermediate_size": 29568,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 7,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
        "eos_token_id": 1,
    },
}
"""Qwen2.5's sizes, from its config.json; and one for processors."""


def folder_of(size: str, tokenizer: Path, work: Path) -> Path:
    """A base's folder without weights: its config, and the tokenizer in the folder `tokenizer`."""
    folder = work / f"qwen-{size}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, folder / name)
    config = {**QWEN_7B, **SIZES[size], "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def load(
    name: str,
    *,
    precision: str = "bf16",
    compute: str = "bf16",
    unpacked: bool = False,
    device: str = "cpu",
    turn: tuple[int, int] | None = None,
    **_: Any,
) -> Any:
    """What kefu.weights.load does, with random weights in place of files."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from kefu.weights import Loaded, load_tokenizer

    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    packed = precision == "nf4"
    dtype = dtypes[compute if packed else precision]
    config = AutoConfig.from_pretrained(name)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    inner = model.model
    inner.rotary_emb = type(inner.rotary_emb)(config=config).to(device)
    head = model.get_output_embeddings()
    rank, world = turn or (0, 1)
    for path, module in list(model.named_modules()):
        words = path.split(".")
        real = words[:2] != ["model", "layers"] or len(words) < 3 or int(words[2]) % world == rank
        for key, weight in list(module.named_parameters(recurse=False)):
            value = weight
            if real:
                value = _value(f"{path}.{key}", weight, device)
                setattr(module, key, torch.nn.Parameter(value, requires_grad=False))
        if packed and isinstance(module, torch.nn.Linear) and module is not head:
            owner, _, last = path.rpartition(".")
            setattr(model.get_submodule(owner), last, _packed(module, dtype, device, real))
    if packed:
        model.is_loaded_in_4bit = True
    if packed and unpacked:
        raise SystemExit("A base made in 4 bits is not unpacked here.")
    return Loaded(model.eval(), load_tokenizer(name), device, name)


def _value(name: str, weight: Any, device: str) -> Any:
    import torch

    value = torch.zeros(weight.shape, dtype=weight.dtype, device=device)
    if name.endswith("norm.weight"):
        return value.fill_(1)
    if name.endswith("bias"):
        return value
    random = torch.Generator(device).manual_seed(zlib.crc32(name.encode()))
    return value.normal_(0, 0.02, generator=random)


def _packed(linear: Any, dtype: Any, device: str, real: bool) -> Any:
    """The same matrix in bitsandbytes' 4 bits; its shape alone where it is another's turn."""
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    made = Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=dtype,
        compress_statistics=True,
        quant_type="nf4",
        device=torch.device("meta"),
    )
    made.bias = linear.bias
    if real:
        made.weight = Params4bit(
            linear.weight.data,
            requires_grad=False,
            compress_statistics=True,
            quant_type="nf4",
            module=made,
        ).to(device)
    linear.weight = linear.bias = None  # whoever still knows it must not keep it unpacked
    return made
