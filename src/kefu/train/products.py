"""Frozen linear layers that read the same, with LoRA on them, as one product and its epilogues.

Scaling and adding are done by the products themselves, nothing is computed for frozen weights, and
several layers are one matrix. A base in 4 bits is unpacked where it is needed, forwards and again
backwards, and not kept. Does not know whose layers they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

ROOM = 4
"""So many times a joined matrix has to be free in a GPU's memory before it is joined."""


@dataclass(frozen=True, slots=True)
class Part:
    """One layer: its `rows` among the outputs of all and its `inner` places among their ranks;
    where it has an adapter, that adapter's matrices and scale."""

    frozen: Any
    rows: slice
    inner: slice
    down: torch.nn.Parameter | None = None
    up: torch.nn.Parameter | None = None
    scale: float = 1.0


class Linears:
    """Some linear layers as one: `x` (n, d) to their outputs side by side (n, sum of outputs)."""

    def __init__(self, parts: Sequence[Part], dtype: torch.dtype, kernels: Any) -> None:
        self.parts, self.dtype = parts, dtype
        self.inputs, self.outputs = parts[0].frozen.in_features, parts[-1].rows.stop
        self.device = parts[0].frozen.weight.device
        self.adapted = [part for part in parts if part.down is not None]
        self.adapters = [m for part in self.adapted for m in (part.down, part.up)]
        self.ranks = [part.inner.stop - part.inner.start for part in self.adapted]
        self.packed = hasattr(parts[0].frozen.weight, "quant_state")
        biases = [part.frozen.bias for part in parts if part.frozen.bias is not None]
        self.bias = torch.cat([bias.detach() for bias in biases]) if biases else None
        self.kernels = kernels
        if self.packed:
            self.kernels = kernels if all(_same(part, dtype, kernels) for part in parts) else None
        else:
            self.joined = _joined([part.frozen.weight for part in parts])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = Product.apply(x, self, *self.adapters)  # type: ignore[no-untyped-call]
        return found

    def weight(self) -> torch.Tensor:
        """All rows, (sum of outputs, d)."""
        if not self.packed:
            return self.joined
        out = torch.empty(self.outputs, self.inputs, dtype=self.dtype, device=self.device)
        for part in self.parts:
            _unpack(part.frozen.weight, out[part.rows], self.kernels)
        return out


def linears(layers: Sequence[Any], dtype: torch.dtype, kernels: Any) -> Linears | None:
    """These layers as one; None where one of them is unusual, or memory is short.

    `dtype` is that of the arithmetic, `kernels` the module of that name, or None.
    """
    parts = []
    at = inner = 0
    for layer in layers:
        part = _part(layer, at, inner, dtype)
        if part is None:
            return None
        parts.append(part)
        at, inner = part.rows.stop, part.inner.stop
    kinds = {(hasattr(p.frozen.weight, "quant_state"), p.frozen.bias is None) for p in parts}
    if len(kinds) > 1:
        return None
    try:
        return Linears(parts, dtype, kernels)
    except torch.OutOfMemoryError:
        return None


class Product(torch.autograd.Function):
    """`x` times the layers' matrix, and what their adapters (down, up, down, up …) add to it."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, layers: Linears, *adapters: torch.Tensor
    ) -> torch.Tensor:
        bias, weight = layers.bias, layers.weight()
        out = x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
        ctx.layers = layers
        if adapters:
            downs, ups = adapters[::2], adapters[1::2]
            down = torch.cat(downs) if len(downs) > 1 else downs[0]
            inner = x @ down.T
            for part, up in zip(layers.adapted, ups, strict=True):
                out[:, part.rows].addmm_(inner[:, part.inner], up.T, alpha=part.scale)
            ctx.save_for_backward(x, down, inner, *ups)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        layers: Linears = ctx.layers
        (out,) = grads
        back = out @ layers.weight() if ctx.needs_input_grad[0] else None
        found: list[torch.Tensor] = []
        if layers.adapted:
            x, down, inner, *ups = ctx.saved_tensors
            through = torch.empty_like(inner)
            for part, up in zip(layers.adapted, ups, strict=True):
                mine, scale = out[:, part.rows], part.scale
                through[:, part.inner].addmm_(mine, up, beta=0, alpha=scale)
                found.append(
                    torch.empty_like(up).addmm_(mine.T, inner[:, part.inner], beta=0, alpha=scale)
                )
            if back is not None:
                back.addmm_(through, down)
            downs = (through.T @ x).split(layers.ranks)
            found = [grad for pair in zip(downs, found, strict=True) for grad in pair]
        return (back, None, *found)


def _part(layer: Any, at: int, inner: int, dtype: torch.dtype) -> Part | None:
    from peft.tuners.lora import LoraLayer

    frozen = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
    if not _plain(frozen, dtype):
        return None
    rows = slice(at, at + frozen.out_features)
    if frozen is layer:
        return Part(frozen, rows, slice(inner, inner))
    (name, *more) = layer.active_adapters or [""]
    if (
        more
        or list(layer.lora_A) != [name]
        or type(layer).__name__ not in ("Linear", "Linear4bit")
        or layer.merged
        or layer.disable_adapters
        or layer.lora_variant
        or getattr(layer, "fan_in_fan_out", False)
        or type(layer.lora_dropout[name]) is not torch.nn.Identity
    ):
        return None
    down, up = layer.lora_A[name], layer.lora_B[name]
    for matrix in (down, up):
        if type(matrix) is not torch.nn.Linear or matrix.bias is not None:
            return None
    place = slice(inner, inner + down.out_features)
    return Part(frozen, rows, place, down.weight, up.weight, layer.scaling[name])


def _plain(frozen: Any, dtype: torch.dtype) -> bool:
    """Whether this is a frozen linear layer in that dtype, or one in 4 bits of that dtype."""
    weight, bias = getattr(frozen, "weight", None), getattr(frozen, "bias", None)
    state = getattr(weight, "quant_state", None)
    if state is not None:
        usual = type(frozen).__name__ == "Linear4bit" and state.dtype == dtype
        usual = usual and frozen.compute_dtype in (None, dtype)
    else:
        usual = type(frozen) is torch.nn.Linear and weight.dtype == dtype  # type: ignore[union-attr]
    usual = usual and not weight.requires_grad  # type: ignore[union-attr]
    return usual and (bias is None or (bias.dtype == dtype and not bias.requires_grad))


def _joined(weights: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    """The matrices as one, in which they are views from now on, so that none is held twice."""
    if len(weights) == 1:
        return weights[0].detach()
    if weights[0].is_cuda:
        free, _ = torch.cuda.mem_get_info(weights[0].device)
        if free < ROOM * sum(w.numel() * w.element_size() for w in weights):
            raise torch.OutOfMemoryError
    joined = torch.cat([weight.detach() for weight in weights])
    for weight, rows in zip(weights, torch.split(joined, [len(w) for w in weights]), strict=True):
        weight.data = rows
    return joined


def _unpack(weight: Any, out: torch.Tensor, kernels: Any) -> None:
    from bitsandbytes.functional import dequantize_4bit

    if kernels is not None:
        kernels.unpack(weight.data, weight.quant_state, out)
    elif weight.is_cuda:
        dequantize_4bit(weight.data, weight.quant_state, out=out)
    else:
        out.copy_(dequantize_4bit(weight.data, weight.quant_state))


def _same(part: Part, dtype: torch.dtype, kernels: Any) -> bool:
    """Whether the own kernel unpacks this layer to the very bits that bitsandbytes does."""
    if kernels is None:
        return False
    weight = part.frozen.weight
    due, found = (
        torch.empty(
            part.frozen.out_features, part.frozen.in_features, dtype=dtype, device=weight.device
        )
        for _ in range(2)
    )
    _unpack(weight, due, None)
    try:
        _unpack(weight, found, kernels)
    except ValueError:
        return False
    return torch.equal(due, found)
