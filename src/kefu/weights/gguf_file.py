"""A GGUF file read fast: its config and its weights as transformers has them, in bf16.

transformers reads these architectures through gguf's reader, which makes an array of each of a
vocabulary's tokens, three times over, and unpacks sixteen rows at a time: 35 to 91 s for a base of
270M parameters. Here the head is read in a moment (gguf_reading.py) and the blocks are unpacked
many at a time, by the same functions, so that every bit is the same (`tests/test_weights_gguf.py`).
Layouts: llama.cpp's convert_hf_to_gguf.py.

Knows Gemma 3 (text), Qwen 2 and Llama with its likes, as long as nothing in the file is unusual.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .gguf_reading import Head

KINDS = {"gemma3": "gemma3_text", "qwen2": "qwen2", "llama": "llama"}
"""transformers' name of each of llama.cpp's architectures that are read here."""
BLOCKS = 2**15
"""Blocks that are unpacked at a time: few enough that they stay in a processor's cache."""


class GgufFile:
    """A GGUF file whose tensors are read as transformers would. Raises as `Head`."""

    def __init__(self, path: Path) -> None:
        head = Head(path)
        self.said = head.said()
        """Arrays among it are their lengths."""
        self.tensors = {tensor.name: tensor for tensor in head.tensors}

    def config(self) -> Any:
        """transformers' config; None for a file that is not read here."""
        from transformers import AutoConfig
        from transformers.integrations import GGUF_CONFIG_MAPPING

        arch = str(self.said.get("general.architecture"))
        # A Llama that calls itself mistral is one to transformers, which has a config of its own.
        if arch not in KINDS or "mistral" in str(self.said.get("general.name", "")).lower():
            return None
        places = {"general": "general", "tokenizer": "tokenizer", arch: arch}
        found: dict[str, Any] = {
            ours: self.said[f"{place}.{theirs}"]
            for kind, place in places.items()
            for theirs, ours in GGUF_CONFIG_MAPPING[kind].items()
            if ours is not None and f"{place}.{theirs}" in self.said
        }
        found["model_type"] = KINDS[arch]
        found["tie_word_embeddings"] = "output.weight" not in self.tensors
        found.setdefault("vocab_size", self.said.get("tokenizer.ggml.tokens"))
        return AutoConfig.for_model(**found)

    def weights(self, model: Any) -> dict[str, Any] | None:
        """The weights of `model` (of our `config`, on no device) in bf16, by its names for them.

        None where the file has others than the model.
        """
        import gguf

        config = model.config
        arch = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == self.said[_ARCH])
        names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
        tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
        wanted = {n: tuple(w.shape) for n, w in model.state_dict().items() if n not in tied}
        due = {n: names.get_name(n, try_suffixes=(".weight", ".bias")) for n in wanted}
        shapes = {due[name]: shape for name, shape in wanted.items()}
        if shapes != {name: _shape(tensor) for name, tensor in self.tensors.items()}:
            return None
        return {name: self._weight(name, theirs, config) for name, theirs in due.items()}

    def _weight(self, name: str, theirs: str, config: Any) -> Any:
        value = _unpacked(self.tensors[theirs], exactly=name.endswith("norm.weight"))
        if config.model_type == "gemma3_text" and name.endswith("norm.weight"):
            value = value - 1  # llama.cpp keeps the one that transformers adds
        if config.model_type == "llama" and ".self_attn." in name:
            heads = {"q": config.num_attention_heads, "k": config.num_key_value_heads}
            of = heads.get(name.split(".")[-2][0])
            value = value if of is None else _halves(value, of)
        return value.bfloat16().contiguous()


_ARCH = "general.architecture"


def _halves(value: Any, heads: int) -> Any:
    """(rows, …) from llama.cpp's rotary pairs to transformers' two halves a head."""
    shape = value.shape
    pairs = value.reshape(heads, shape[0] // heads // 2, 2, *shape[1:])
    return pairs.swapaxes(1, 2).reshape(shape)


def _shape(tensor: Any) -> tuple[int, ...]:
    """Of a tensor of the file, in torch's order."""
    return tuple(int(size) for size in reversed(tensor.shape))


def _unpacked(tensor: Any, exactly: bool) -> Any:
    """One tensor of the file, in bf16; `exactly` in fp32."""
    import gguf
    import numpy as np
    import torch

    values, size = gguf.GGML_QUANT_SIZES[tensor.tensor_type]
    raw = tensor.data.reshape(-1).view(np.uint8).reshape(-1, size)
    count = len(raw)
    out = torch.empty(count * values, dtype=torch.float32 if exactly else torch.bfloat16)
    many = BLOCKS * 32 // values  # plain numbers are blocks of one
    for start in range(0, count, many):
        part = gguf.dequantize(raw[start : start + many].reshape(1, -1), tensor.tensor_type)
        out[start * values : (start + many) * values] = torch.from_numpy(part.reshape(-1))
    return out.reshape(_shape(tensor))
