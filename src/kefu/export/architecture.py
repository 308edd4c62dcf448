"""What llama.cpp must know of a model: its name there, its sizes, its tensors' names and layout.

Source of the layouts: llama.cpp's convert_hf_to_gguf.py (names through gguf's own TensorNameMap;
Llama's rotary halves interleaved; Gemma's norms stored with the one added). Knows Gemma 3 (text),
Qwen 2 and 3 (dense) and Llama with its likes; refuses what it cannot write exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gguf
import torch

from ..errors import BaseError

KINDS = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
}
GEMMA_PATTERN = 6
"""llama.cpp takes it as given that every sixth layer of Gemma 3 sees everything."""

Transform = Callable[[torch.Tensor], torch.Tensor]


class Architecture:
    """One model's place in llama.cpp. `config` is transformers' own. Raises BaseError."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.kind = str(config.model_type)
        if self.kind not in KINDS:
            raise BaseError(
                f"kefu cannot write a base of the architecture {self.kind!r} as GGUF.",
                f"It knows {', '.join(KINDS)}. Export it as `merged`, and use llama.cpp's own "
                "convert_hf_to_gguf.py on that.",
            )
        self.arch = KINDS[self.kind]
        self.name = gguf.MODEL_ARCH_NAMES[self.arch]
        self.layers = int(config.num_hidden_layers)
        self._names = gguf.get_tensor_name_map(self.arch, self.layers)
        heads = int(config.num_attention_heads)
        self.head_dim = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
        self._refuse_odd()

    def tensor(self, name: str) -> str:
        """llama.cpp's name of a tensor, from transformers' name with its ending."""
        found: str | None = self._names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise BaseError(
                f"llama.cpp has no place for the tensor {name} in the architecture {self.name}.",
                "Export the run as `merged` instead.",
            )
        return found

    def transform(self, name: str) -> Transform:
        """How a tensor's values are laid out for llama.cpp; a LoRA's B matrix likewise."""
        config = self.config
        if self.kind == "llama" and name.endswith(("q_proj.weight", "q_proj.bias")):
            return lambda t: _interleaved(t, int(config.num_attention_heads))
        if self.kind == "llama" and name.endswith(("k_proj.weight", "k_proj.bias")):
            return lambda t: _interleaved(t, int(config.num_key_value_heads))
        if self.kind == "gemma3_text" and name.endswith("norm.weight"):
            return lambda t: t + 1
        return lambda t: t

    def extra(self) -> dict[str, torch.Tensor]:
        """Tensors that llama.cpp wants and transformers computes: Llama 3's rope factors."""
        scaling = self._rope()
        if scaling.get("rope_type") != "llama3":
            return {}
        return {"rope_freqs.weight": _llama3_factors(scaling, self._base(), self.head_dim)}

    def describe(self, writer: Any) -> None:
        """Writes the sizes into a GGUF header."""
        config = self.config
        writer.add_context_length(int(config.max_position_embeddings))
        writer.add_embedding_length(int(config.hidden_size))
        writer.add_block_count(self.layers)
        writer.add_feed_forward_length(int(config.intermediate_size))
        writer.add_head_count(int(config.num_attention_heads))
        writer.add_head_count_kv(int(config.num_key_value_heads))
        writer.add_key_length(self.head_dim)
        writer.add_value_length(self.head_dim)
        writer.add_layer_norm_rms_eps(float(config.rms_norm_eps))
        writer.add_rope_freq_base(self._base())
        writer.add_vocab_size(int(config.vocab_size))
        if self.kind == "llama":
            writer.add_rope_dimension_count(self.head_dim)
        scaling = self._rope()
        if scaling.get("rope_type") == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(float(scaling["factor"]))
        if self.kind == "gemma3_text":
            writer.add_sliding_window(int(config.sliding_window))

    def _rope(self) -> dict[str, Any]:
        found: dict[str, Any] = dict(getattr(self.config, "rope_parameters", None) or {})
        return dict(found.get("full_attention") or found)

    def _base(self) -> float:
        return float(self._rope().get("rope_theta") or 10000.0)

    def _refuse_odd(self) -> None:
        """Whatever llama.cpp would compute otherwise than transformers, without a word."""
        config = self.config
        odd = []
        if self._rope().get("rope_type", "default") not in {"default", "linear", "llama3"}:
            odd.append(f"the rope scaling {self._rope()['rope_type']!r}")
        if self.kind == "gemma3_text":
            full = [i for i, t in enumerate(config.layer_types) if t == "full_attention"]
            if full != [i for i in range(self.layers) if (i + 1) % GEMMA_PATTERN == 0]:
                odd.append("another order of sliding and full attention")
            local = dict(config.rope_parameters).get("sliding_attention", {})
            if float(local.get("rope_theta", 10000.0)) != 10000.0:
                odd.append("another rope base in its sliding layers")
            if config.query_pre_attn_scalar != self.head_dim:
                odd.append("another attention scale")
            if config.final_logit_softcapping or config.attn_logit_softcapping:
                odd.append("capped logits")
        elif getattr(config, "use_sliding_window", False):
            odd.append("sliding-window attention")
        if odd:
            raise BaseError(
                f"This base has {' and '.join(odd)}, which kefu cannot write as GGUF.",
                "Export the run as `merged` or `adapter` instead.",
            )


def _interleaved(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """(rows, ...) from transformers' two rotary halves a head to llama.cpp's pairs."""
    shape = tensor.shape
    halves = tensor.reshape(heads, 2, shape[0] // heads // 2, *shape[1:])
    return halves.swapaxes(1, 2).reshape(shape)


def _llama3_factors(scaling: dict[str, Any], base: float, head_dim: int) -> torch.Tensor:
    """(head_dim / 2,) divisors of the rotary frequencies, as Llama 3.1 stretches them."""
    factor = float(scaling["factor"])
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    old = float(scaling["original_max_position_embeddings"])
    factors = []
    for i in range(0, head_dim, 2):
        length = 2 * math.pi * base ** (i / head_dim)
        if length < old / high:
            factors.append(1.0)
        elif length > old / low:
            factors.append(factor)
        else:
            smooth = (old / length - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return torch.tensor(factors, dtype=torch.float32)
