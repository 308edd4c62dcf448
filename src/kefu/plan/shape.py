"""What a base model is made of, told from its config.json alone: every weight counted.

Knows the layer plans of the architectures in `LAYERS`; does not know whether a checkpoint
really holds what its config says. Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ALL_LINEAR = "all-linear"
"""As PEFT understands it: every linear layer but the output head."""


@dataclass(frozen=True, slots=True)
class Linear:
    """One matrix of a layer. `reads` names the tensor that it is applied to."""

    name: str
    inputs: int
    outputs: int
    bias: bool
    reads: str

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True, slots=True)
class Block:
    """`count` equal transformer layers. `other` counts the parameters that are in no matrix."""

    count: int
    linears: tuple[Linear, ...]
    other: int
    norms: int
    """Normalisations over the hidden size, a layer."""
    head_norms: bool
    """Whether queries and keys are normalised too."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a base model. Widths in elements."""

    model_type: str
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    """The output head is the embedding, and is counted once."""
    positions: int
    """Longest input that the base was made for, in tokens; 0 where the config is silent."""
    blocks: tuple[Block, ...]
    tail: int
    """Parameters of the last normalisation, and of the head's bias where there is one."""

    @property
    def layers(self) -> int:
        return sum(b.count for b in self.blocks)

    @property
    def linear_weights(self) -> int:
        """Elements of the matrices inside the layers: what a 4-bit base quantises."""
        return sum(b.count * sum(m.weights for m in b.linears) for b in self.blocks)

    @property
    def embeddings(self) -> int:
        """Elements of the embedding, and of the output head where it is another."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All parameters of the base, exact."""
        loose = sum(
            b.count * (b.other + sum(m.outputs for m in b.linears if m.bias)) for b in self.blocks
        )
        return self.linear_weights + loose + self.embeddings + self.tail

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the matrices inside the layers, each once."""
        return tuple(dict.fromkeys(m.name for b in self.blocks for m in b.linears))

    def targeted(self, block: Block, targets: Iterable[str]) -> tuple[Linear, ...]:
        """The matrices of a layer that get an adapter."""
        wanted = set(targets)
        return tuple(m for m in block.linears if ALL_LINEAR in wanted or m.name in wanted)

    def trainable(self, rank: int, targets: Iterable[str]) -> int:
        """LoRA parameters, exact: `rank * (inputs + outputs)` for each matrix (Hu et al. 2021)."""
        wanted = tuple(targets)
        return sum(
            b.count * sum(rank * (m.inputs + m.outputs) for m in self.targeted(b, wanted))
            for b in self.blocks
        )


@dataclass(frozen=True, slots=True)
class _Sizes:
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int

    @property
    def q(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv(self) -> int:
        return self.kv_heads * self.head_dim


def _attention(s: _Sizes, *, qkv_bias: bool, out_bias: bool = False) -> tuple[Linear, ...]:
    return (
        Linear("q_proj", s.hidden, s.q, qkv_bias, "attention-in"),
        Linear("k_proj", s.hidden, s.kv, qkv_bias, "attention-in"),
        Linear("v_proj", s.hidden, s.kv, qkv_bias, "attention-in"),
        Linear("o_proj", s.q, s.hidden, out_bias, "attention-out"),
    )


def _gated(s: _Sizes, bias: bool = False) -> tuple[Linear, ...]:
    return (
        Linear("gate_proj", s.hidden, s.intermediate, bias, "mlp-in"),
        Linear("up_proj", s.hidden, s.intermediate, bias, "mlp-in"),
        Linear("down_proj", s.intermediate, s.hidden, bias, "mlp-out"),
    )


def _gated_fused(s: _Sizes) -> tuple[Linear, ...]:
    return (
        Linear("gate_up_proj", s.hidden, 2 * s.intermediate, False, "mlp-in"),
        Linear("down_proj", s.intermediate, s.hidden, False, "mlp-out"),
    )


def _block(count: int, s: _Sizes, linears: tuple[Linear, ...], norms: int, qk: bool) -> Block:
    other = norms * s.hidden + (2 * s.head_dim if qk else 0)
    return Block(count, linears, other, norms, qk)


_Layers = Callable[[Mapping[str, Any], int, _Sizes], tuple[Block, ...]]


def _llama(c: Mapping[str, Any], n: int, s: _Sizes) -> tuple[Block, ...]:
    bias = bool(c.get("attention_bias", False))
    linears = _attention(s, qkv_bias=bias, out_bias=bias) + _gated(s, bool(c.get("mlp_bias")))
    return (_block(n, s, linears, 2, False),)


def _mistral(c: Mapping[str, Any], n: int, s: _Sizes) -> tuple[Block, ...]:
    return (_block(n, s, _attention(s, qkv_bias=False) + _gated(s), 2, False),)


def _qwen2(c: Mapping[str, Any], n: int, s: _Sizes) -> tuple[Block, ...]:
    return (_block(n, s, _attention(s, qkv_bias=True) + _gated(s), 2, False),)


def _qwen3(c: Mapping[str, Any], n: int, s: _Sizes) -> tuple[Block, ...]:
    bias = bool(c.get("attention_bias", False))
    linears = _attention(s, qkv_bias=bias, out_bias=bias) + _gated(s)
    return (_block(n, s, linears, 2, True),)


def _gemma3(c: Mapping[str, Any], n: int, s: _Sizes) -> tuple[Block, ...]:
    bias = bool(c.get("attention_bias", False))
    linears = _attention(s, qkv_bias=bias, out_bias=bias) + _gated(s)
    return (_block(n, s, linears, 4, True),)


def _gemma2(c: Mapping[str, Any], n: int, s: _Sizes) -> tuple[Block, ...]:
    bias = bool(c.get("attention_bias", False))
    linears = _attention(s, qkv_bias=bias, out_bias=bias) + _gated(s)
    return (_block(n, s, linears, 4, False),)


def _phi3(c: Mapping[str, Any], n: int, s: _Sizes) -> tuple[Block, ...]:
    linears = (
        Linear("qkv_proj", s.hidden, s.q + 2 * s.kv, False, "attention-in"),
        Linear("o_proj", s.q, s.hidden, False, "attention-out"),
        *_gated_fused(s),
    )
    return (_block(n, s, linears, 2, False),)


def _phi(c: Mapping[str, Any], n: int, s: _Sizes) -> tuple[Block, ...]:
    q, k, v, _ = _attention(s, qkv_bias=True)
    linears = (
        *(q, k, v),
        Linear("dense", s.q, s.hidden, True, "attention-out"),
        Linear("fc1", s.hidden, s.intermediate, True, "attention-in"),
        Linear("fc2", s.intermediate, s.hidden, True, "mlp-out"),
    )
    # One LayerNorm with weight and bias, which feeds attention and MLP alike.
    return (Block(n, linears, 2 * s.hidden, 1, False),)


def _glm(norms: int) -> _Layers:
    def layers(c: Mapping[str, Any], n: int, s: _Sizes) -> tuple[Block, ...]:
        linears = _attention(s, qkv_bias=bool(c.get("attention_bias", True))) + _gated_fused(s)
        return (_block(n, s, linears, norms, False),)

    return layers


def _qwen3_5(c: Mapping[str, Any], n: int, s: _Sizes) -> tuple[Block, ...]:
    """Three layers of gated delta rule to one of attention, whose queries carry a gate."""
    every = int(c.get("full_attention_interval") or 4)
    kinds = c.get("layer_types") or [
        "linear_attention" if (i + 1) % every else "full_attention" for i in range(n)
    ]
    full = sum(kind == "full_attention" for kind in kinds)
    k_heads, v_heads = (
        int(c.get("linear_num_key_heads", 16)),
        int(c.get("linear_num_value_heads", 32)),
    )
    k_dim = k_heads * int(c.get("linear_key_head_dim", 128))
    v_head = int(c.get("linear_value_head_dim", 128))
    v_dim = v_heads * v_head
    bias = bool(c.get("attention_bias", False))
    _, k, v, o = _attention(s, qkv_bias=bias, out_bias=bias)
    attention = (Linear("q_proj", s.hidden, 2 * s.q, bias, "attention-in"), k, v, o)
    delta = (
        Linear("in_proj_qkv", s.hidden, 2 * k_dim + v_dim, False, "attention-in"),
        Linear("in_proj_z", s.hidden, v_dim, False, "attention-in"),
        Linear("in_proj_b", s.hidden, v_heads, False, "attention-in"),
        Linear("in_proj_a", s.hidden, v_heads, False, "attention-in"),
        Linear("out_proj", v_dim, s.hidden, False, "attention-out"),
    )
    convolution = (2 * k_dim + v_dim) * int(c.get("linear_conv_kernel_dim", 4))
    loose = 2 * s.hidden + convolution + 2 * v_heads + v_head
    return (
        _block(full, s, attention + _gated(s), 2, True),
        Block(n - full, delta + _gated(s), loose, 2, False),
    )


LAYERS: dict[str, _Layers] = {
    "llama": _llama,
    "smollm3": _llama,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen": _qwen2,  # Qwen-7B's own format, mapped onto qwen2 before it is loaded
    "qwen3": _qwen3,
    "qwen3_5_text": _qwen3_5,
    "gemma": _llama,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "phi": _phi,
    "phi3": _phi3,
    "glm": _glm(2),
    "glm4": _glm(4),
}
"""How one layer is built, by `model_type`: from the modelling files of transformers 5.23."""

_TIED = {"gemma", "gemma2", "gemma3_text", "smollm3"}
"""Families whose config means tied embeddings when it does not say."""
_HEAD_DIM = {"qwen3": 128, "gemma": 256, "gemma2": 256, "gemma3_text": 256, "glm": 128, "glm4": 128}
_HEAD_DIM["qwen3_5_text"] = 256


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The shape that a config.json describes.

    Raises KeyError for an architecture that is not in `LAYERS` (the key is its `model_type`),
    and ValueError where a size is missing or is no positive number.
    """
    config = _text_part(config)
    kind = str(config["model_type"])
    layers = LAYERS[kind]
    if kind == "qwen":
        config = _as_qwen2(config)
    hidden, heads = _size(config, "hidden_size"), _size(config, "num_attention_heads")
    head_dim = int(config.get("head_dim") or _HEAD_DIM.get(kind) or hidden // heads)
    kv_heads = int(config.get("num_key_value_heads") or heads)
    sizes = _Sizes(hidden, heads, kv_heads, head_dim, _size(config, "intermediate_size"))
    count, vocab = _size(config, "num_hidden_layers"), _size(config, "vocab_size")
    tied = config.get("tie_word_embeddings")
    return Shape(
        model_type=kind,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=sizes.intermediate,
        vocab=vocab,
        tied=kind in _TIED if tied is None else bool(tied),
        positions=int(config.get("max_position_embeddings") or config.get("seq_length") or 0),
        blocks=tuple(b for b in layers(config, count, sizes) if b.count),
        # Phi's last LayerNorm has a bias, and so has its head.
        tail=2 * hidden + vocab if kind == "phi" else hidden,
    )


def _size(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"`{key}` is {value!r}")
    return value


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language half of a model that also sees pictures: only that half is trained."""
    inner = config.get("text_config")
    if not isinstance(inner, Mapping):
        return config
    merged = dict(inner)
    merged.setdefault("model_type", f"{config.get('model_type')}_text")
    if config.get("tie_word_embeddings") is not None:
        merged.setdefault("tie_word_embeddings", config["tie_word_embeddings"])
    return merged


def _as_qwen2(config: Mapping[str, Any]) -> dict[str, Any]:
    """Qwen-7B's config in qwen2's words: it counts w1 and w2 together as its MLP width."""
    whole = _size(config, "intermediate_size")
    words = {"intermediate_size": whole // 2, "head_dim": config.get("kv_channels")}
    # Beyond `seq_length` its attention is another; `max_position_embeddings` is not its limit.
    return {**config, **words, "max_position_embeddings": config.get("seq_length")}
