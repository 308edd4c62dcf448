"""Parts of a frozen base that a GPU can do in one kernel instead of six: norms and attention.

Used by graphs.py alone, where kernels and no longer their launching are the time. Each part is
taken only where it gives the numbers of the base's own code; what is unusual stays as it is.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

ATTENTION = "kefu_rows"
"""The name under which transformers knows `rows_apart`."""
NEAR = 0.02
"""How far each of the fused norm's half-precision numbers may lie from the base's, of itself."""


class Norm(torch.nn.Module):
    """A root-mean-square norm whose weight is frozen, as one kernel of torch."""

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor, eps: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` (…, d) over its last dimension, in the dtype of `x`."""
        # Autocast would have it in fp32, at twice the bytes; inside it is fp32 anyway.
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight.to(x.dtype)
            return torch.nn.functional.rms_norm(x, (x.shape[-1],), weight, self.eps)


class Replaced:
    """Parts of a model that others stand in for, which can be taken out and put in again."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.parts: list[tuple[str, Any, Any]] = []

    def add(self, name: str, base: Any, own: Any) -> None:
        """Lets `own` stand in for the model's part of that name, `base`."""
        self.parts.append((name, base, own))
        self.model.set_submodule(name, own)

    def put_in(self) -> None:
        for name, _, own in self.parts:
            self.model.set_submodule(name, own)

    def take_out(self) -> None:
        """The model is as it came from here on."""
        for name, base, _ in reversed(self.parts):  # a part may lie in another one
            self.model.set_submodule(name, base)


def fuse_norms(model: Any, dtype: torch.dtype, replaced: Replaced) -> None:
    """Puts `Norm` in the place of every norm that it equals."""
    for name, module in list(model.named_modules()):
        weight = getattr(module, "weight", None)
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if not type(module).__name__.endswith("RMSNorm") or eps is None or weight is None:
            continue
        # Gemma keeps what is above one.
        both = [Norm(s.detach().to(dtype), eps) for s in (weight, 1.0 + weight.float())]
        apart = [_apart(module, fused, weight, dtype) for fused in both]
        if not weight.requires_grad and min(apart) <= NEAR:
            replaced.add(name, module, both[apart.index(min(apart))])


def _apart(module: Any, fused: Norm, weight: torch.Tensor, dtype: torch.dtype) -> float:
    """How far the two lie apart, at the worst number, of that number.

    Of itself, not of the largest: a base's weights may reach from 0 to 1,000, and to add one or not
    is then little to the largest.
    """
    generator = torch.Generator(weight.device).manual_seed(0)
    x = torch.randn(16, weight.numel(), generator=generator, device=weight.device).to(dtype)
    with torch.no_grad():
        due, found = module(x), fused(x)
    if due.dtype != found.dtype:
        return float("inf")
    least = torch.finfo(torch.float32).tiny
    return float(((due - found).abs().float() / due.abs().float().clamp_min(least)).max())


def fuse_attention(model: Any) -> bool:
    """Lets a bf16 model's rows attend to themselves by torch's attention for rows of any length.

    False, and the model as it was, where this GPU or architecture has no such kernel.
    The model then needs `cu_seq_lens_q` and `max_length_q` (transformers' names) when called.
    """
    from transformers import AttentionInterface

    if model.device.type != "cuda":
        return False
    config = model.config.get_text_config()
    capped = bool(getattr(config, "attn_logit_softcapping", None))
    sinks = any("sink" in name for name, _ in model.named_parameters())
    old = torch.cuda.get_device_capability(model.device) < (8, 0)
    if capped or sinks or old or _varlen() is None:
        return False
    AttentionInterface.register(ATTENTION, rows_apart)
    try:
        model.set_attn_implementation(ATTENTION)
    except (ValueError, AttributeError):  # an architecture with attention of its own
        return False
    return True


def rows_apart(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int = 0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of rows laid end to end, as transformers calls it.

    `query` (1, heads, n, d), `key` and `value` (1, fewer heads, n, d); `cu_seq_lens_q` (rows + 1,)
    int32 says where each row begins, `max_length_q` how long a row is at most. Gives (1, n, heads,
    d).
    """
    varlen = _varlen()
    assert varlen is not None
    q, k, v = (x[0].transpose(0, 1).to(value.dtype) for x in (query, key, value))
    window = (sliding_window - 1, 0) if sliding_window else (-1, 0)
    options: dict[str, Any] = {"scale": scaling, "window_size": window}
    if "enable_gqa" in inspect.signature(varlen).parameters:
        options["enable_gqa"] = q.shape[1] != k.shape[1]
    rows, most = cu_seq_lens_q, max_length_q
    return varlen(q, k, v, rows, rows, most, most, **options).unsqueeze(0), None


def _varlen() -> Any:
    """torch's attention for rows of any length; None where torch is too old for it."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if "window_size" in inspect.signature(varlen_attn).parameters else None
