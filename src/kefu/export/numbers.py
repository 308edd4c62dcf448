"""Number formats of GGUF tensors: f16 and q8_0 by the gguf package, K-quants by llama.cpp itself.

xllamacpp ships llama.cpp without a door to its quantiser, but the library inside exports
`ggml_quantize_chunk`, the very function that llama-quantize calls for a row.
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Q

from ..errors import BaseError, SettingsError

FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "q4_k_m": gguf.LlamaFileType.MOSTLY_Q4_K_M,
}
_FALL_BACK = {Q.Q4_K: Q.Q5_0, Q.Q6_K: Q.Q8_0, Q.Q8_0: Q.F16, Q.Q5_0: Q.F16}
"""llama.cpp's own choice where a row is no whole number of blocks."""


def check(types: tuple[str, ...]) -> None:
    """Raises SettingsError for a name that is no number format, BaseError without llama.cpp."""
    for name in types:
        if name not in FILE_TYPES:
            raise SettingsError(
                f"There is no number format {name!r}.", f"Known: {', '.join(FILE_TYPES)}."
            )
    if "q4_k_m" in types:
        _library()


def type_of(name: str, shape: tuple[int, ...], file_type: str, layers: int, tied: bool) -> Q:
    """The format of one tensor (llama.cpp's `name`, torch's `shape`) in a file of `file_type`.

    `tied`: the embedding is the output head, too.
    """
    if len(shape) < 2 or file_type == "f32":
        return Q.F32
    wanted = {"f16": Q.F16, "q8_0": Q.Q8_0, "q4_k_m": Q.Q4_K}[file_type]
    if file_type == "q4_k_m" and _more_bits(name, layers, tied):
        wanted = Q.Q6_K
    while shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0]:
        wanted = _FALL_BACK[wanted]
    return wanted


def _more_bits(name: str, layers: int, tied: bool) -> bool:
    """Where llama-quantize's Q4_K_M spends Q6_K (llama.cpp, src/llama-quant.cpp)."""
    if name.startswith("output.") or (tied and name.startswith("token_embd.")):
        return True
    if ".attn_v." not in name and ".ffn_down." not in name:
        return False
    block = int(name.split(".")[1])
    return block < layers // 8 or block >= 7 * layers // 8 or (block - layers // 8) % 3 == 2


def size(shape: tuple[int, ...], kind: Q) -> int:
    """Bytes of a tensor in `kind`."""
    block, of_block = gguf.GGML_QUANT_SIZES[kind]
    made: int = int(np.prod(shape)) // block * of_block
    return made


def pack(tensor: torch.Tensor, kind: Q) -> np.ndarray[Any, Any]:
    """The tensor's values in `kind`; a block format as bytes, (rows, bytes of a row)."""
    values = tensor.detach().to(torch.float32).contiguous().numpy()
    if kind == Q.F32:
        return values
    if kind == Q.F16:
        if np.abs(values).max(initial=0.0) > 65504:
            raise BaseError(
                "A weight of this base is too large for f16.", "Use the number format f32."
            )
        return values.astype(np.float16)
    if kind == Q.Q8_0:
        packed: np.ndarray[Any, Any] = gguf.quants.quantize(values, kind)
        return packed
    return _by_llama_cpp(values, kind)


def _by_llama_cpp(values: np.ndarray[Any, Any], kind: Q) -> np.ndarray[Any, Any]:
    rows = int(np.prod(values.shape[:-1]))
    width = values.shape[-1]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.empty((rows, width // block * size), dtype=np.uint8)
    source = np.ascontiguousarray(values, dtype=np.float32)
    done = _library().ggml_quantize_chunk(
        int(kind),
        source.ctypes.data_as(ctypes.c_void_p),
        out.ctypes.data_as(ctypes.c_void_p),
        0,
        rows,
        width,
        None,
    )
    if done != out.nbytes:
        raise BaseError(
            f"llama.cpp's quantiser wrote {done} bytes and not {out.nbytes}.",
            "Use the number format q8_0.",
        )
    return out


@cache
def _library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("xllamacpp")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(place).glob("xllamacpp.*.so")):
            library = ctypes.CDLL(str(path))
            if hasattr(library, "ggml_quantize_chunk"):
                chunk = library.ggml_quantize_chunk
                chunk.restype = ctypes.c_size_t
                chunk.argtypes = [
                    ctypes.c_int,
                    ctypes.c_void_p,
                    ctypes.c_void_p,
                    ctypes.c_int64,
                    ctypes.c_int64,
                    ctypes.c_int64,
                    ctypes.c_void_p,
                ]
                return library
    raise BaseError(
        "The number format q4_k_m needs llama.cpp's own quantiser, which is not here.",
        "Install it: `pip install xllamacpp`. Or use q8_0.",
    )
