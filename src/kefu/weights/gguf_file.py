"""A GGUF file read fast: its config and its weights as transformers has them, in bf16.

transformers reads these architectures through gguf's reader, which makes an array of each of a
vocabulary's tokens, three times over, and unpacks sixteen rows at a time: 35 to 91 s for a base of
270M parameters. Here the header is read once and the blocks are unpacked many at a time, by the
same functions, so that every bit is the same (`tests/test_weights_gguf.py`). Layouts: llama.cpp's
convert_hf_to_gguf.py.

Knows Gemma 3 (text), Qwen 2 and Llama with its likes, as long as nothing in the file is unusual.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = {"gemma3": "gemma3_text", "qwen2": "qwen2", "llama": "llama"}
"""transformers' name of each of llama.cpp's architectures that are read here."""
BLOCKS = 2**15
"""Blocks that are unpacked at a time: few enough that they stay in a processor's cache."""

_STRING, _ARRAY = 8, 9
_FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Of a value's type in the header: how struct calls it."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says of itself. Arrays among `said` are their lengths."""

    path: Path
    said: dict[str, Any]
    tensors: dict[str, tuple[tuple[int, ...], int, int]]
    """By llama.cpp's name: shape in torch's order, number format, place in the file in bytes."""

    @classmethod
    def read(cls, path: Path) -> Header:
        """Raises ValueError where it is no GGUF file of version 2 or 3."""
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data).header(path)

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
        if shapes != {name: shape for name, (shape, _, _) in self.tensors.items()}:
            return None
        return {name: self._weight(name, theirs, config) for name, theirs in due.items()}

    def _weight(self, name: str, theirs: str, config: Any) -> Any:
        shape, form, place = self.tensors[theirs]
        value = _unpacked(self.path, shape, form, place, exactly=name.endswith("norm.weight"))
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


def _unpacked(path: Path, shape: tuple[int, ...], form: int, place: int, exactly: bool) -> Any:
    """One tensor of the file, in bf16; `exactly` in fp32."""
    import gguf
    import numpy as np
    import torch

    kind = gguf.GGMLQuantizationType(form)
    values, size = gguf.GGML_QUANT_SIZES[kind]
    count = int(np.prod(shape)) // values
    raw = np.fromfile(path, dtype=np.uint8, count=count * size, offset=place).reshape(count, size)
    out = torch.empty(count * values, dtype=torch.float32 if exactly else torch.bfloat16)
    many = BLOCKS * 32 // values  # plain numbers are blocks of one
    for start in range(0, count, many):
        part = gguf.dequantize(raw[start : start + many].reshape(1, -1), kind)
        out[start * values : (start + many) * values] = torch.from_numpy(part.reshape(-1))
    return out.reshape(shape)


class _Reader:
    """Goes through a header. gguf's own reader makes three arrays of every token; and
    transformers' newer one does not know all number formats."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def header(self, path: Path) -> Header:
        if self.data[:4] != b"GGUF":
            raise ValueError(f"{path} is no GGUF file")
        self.at = 4
        version, tensors, keys = self._one("I"), self._one("Q"), self._one("Q")
        if version not in (2, 3):
            raise ValueError(f"{path} is GGUF of version {version}")
        said = {self._text(): self._value(self._one("I")) for _ in range(keys)}
        found = [self._tensor() for _ in range(tensors)]
        step = int(said.get("general.alignment", 32))
        start = -(-self.at // step) * step
        return Header(path, said, {n: (s, form, start + at) for n, s, form, at in found})

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._text()
        sizes = tuple(self._one("Q") for _ in range(self._one("I")))
        return name, sizes[::-1], self._one("I"), self._one("Q")

    def _one(self, form: str) -> Any:
        (value,) = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return value

    def _text(self) -> str:
        size = self._one("Q")
        self.at += size
        return self.data[self.at - size : self.at].decode("utf-8")

    def _value(self, form: int) -> Any:
        if form == _STRING:
            return self._text()
        if form != _ARRAY:
            return self._one(_FORMS[form])
        form, count = self._one("I"), self._one("Q")
        if form in (_STRING, _ARRAY):
            for _ in range(count):
                self._value(form)
        else:
            self.at += count * struct.calcsize(f"<{_FORMS[form]}")
        return count
