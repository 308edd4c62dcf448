"""Kernels of one pass over memory where torch needs several: gate, rotation, unpacking of 4 bits.

Written in Triton, which torch brings along on Linux; who imports this does without it elsewhere.
Inside they compute in fp32 whatever the tensors' dtype. Does not know models.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

BLOCK = 1024
"""Numbers of a row that one program gates."""
HEADS = 8
"""Heads of a token that one program turns."""
SCALED, NESTED = 64, 256
"""Values under one scale, and scales under one scale of their own, as bitsandbytes packs them."""
SCALES = 64
"""Scales that one program unpacks the values of."""


@triton.jit
def _inner(x, GELU: tl.constexpr):
    # Both gates are x * sigmoid(inner(x)): tanh(z) is 2 sigmoid(2z) - 1.
    inner = x
    if GELU:
        inner = 1.5957691216057308 * (x + 0.044715 * x * x * x)
    return inner


@triton.jit
def _gate(both, out, width, GELU: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = at < width
    x = tl.load(both + row * 2 * width + at, mask=real).to(tl.float32)
    up = tl.load(both + row * 2 * width + width + at, mask=real).to(tl.float32)
    tl.store(out + row * width + at, x * tl.sigmoid(_inner(x, GELU)) * up, mask=real)


@triton.jit
def _gate_back(both, grad, out, width, GELU: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = at < width
    x = tl.load(both + row * 2 * width + at, mask=real).to(tl.float32)
    up = tl.load(both + row * 2 * width + width + at, mask=real).to(tl.float32)
    due = tl.load(grad + row * width + at, mask=real).to(tl.float32)
    sigmoid = tl.sigmoid(_inner(x, GELU))
    slope = x
    if GELU:
        slope = 1.5957691216057308 * (x + 0.134145 * x * x * x)
    slope = sigmoid + slope * sigmoid * (1 - sigmoid)
    tl.store(out + row * 2 * width + at, due * up * slope, mask=real)
    tl.store(out + row * 2 * width + width + at, due * x * sigmoid, mask=real)


@triton.jit
def _turn(
    x,
    out,
    cos,
    sin,
    heads,
    turned,
    half,
    BACK: tl.constexpr,
    HEADS: tl.constexpr,
    HALF: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
    at = tl.arange(0, HALF)[None, :]
    real = (head < heads) & (at < half)
    turns = (head < turned) & (at < half)
    place = (row * heads + head) * 2 * half + at
    angle = row * 2 * half + at + head * 0
    a = tl.load(x + place, mask=real).to(tl.float32)
    b = tl.load(x + place + half, mask=real).to(tl.float32)
    cos_a = tl.load(cos + angle, mask=turns, other=1.0).to(tl.float32)
    cos_b = tl.load(cos + angle + half, mask=turns, other=1.0).to(tl.float32)
    sin_a = tl.load(sin + angle, mask=turns, other=0.0).to(tl.float32)
    sin_b = tl.load(sin + angle + half, mask=turns, other=0.0).to(tl.float32)
    if BACK:
        first, second = a * cos_a + b * sin_b, b * cos_b - a * sin_a
    else:
        first, second = a * cos_a - b * sin_a, b * cos_b + a * sin_b
    tl.store(out + place, first, mask=real)
    tl.store(out + place + half, second, mask=real)


@triton.jit
def _unpack(
    packed,
    code,
    scales,
    code2,
    scales2,
    offset,
    out,
    count,
    SCALES: tl.constexpr,
    SCALED: tl.constexpr,
    NESTED: tl.constexpr,
):
    block = tl.program_id(0) * SCALES + tl.arange(0, SCALES)
    real = block < count
    number = tl.load(scales + block, mask=real, other=0).to(tl.int32)
    scale = tl.load(code2 + number) * tl.load(scales2 + block // NESTED, mask=real, other=0.0)
    scale = (scale + tl.load(offset))[:, None]
    at = block[:, None] * (SCALED // 2) + tl.arange(0, SCALED // 2)[None, :]
    two = tl.load(packed + at, mask=real[:, None], other=0).to(tl.int32)
    first = (tl.load(code + (two >> 4)) * scale).to(tl.bfloat16).to(tl.uint16, bitcast=True)
    second = (tl.load(code + (two & 15)) * scale).to(tl.bfloat16).to(tl.uint16, bitcast=True)
    word = first.to(tl.uint32) | (second.to(tl.uint32) << 16)  # two values in one store
    tl.store(out + at, word.to(tl.int32, bitcast=True), mask=real[:, None])


def gated(both: torch.Tensor, *, gelu: bool) -> torch.Tensor:
    """`both` (…, 2 f), what is gated beside what it gates, to (…, f), with its gradient.

    The gate is SiLU, or with `gelu` GELU in its form with tanh.
    """
    found: torch.Tensor = _Gated.apply(both, gelu)  # type: ignore[no-untyped-call]
    return found


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: torch.Tensor, gelu: bool) -> torch.Tensor:
        both = both.contiguous()
        ctx.save_for_backward(both)
        ctx.gelu, width = gelu, both.shape[-1] // 2
        out = both.new_empty(*both.shape[:-1], width)
        grid = (out.numel() // width, triton.cdiv(width, BLOCK))
        _gate[grid](both, out, width, GELU=gelu, BLOCK=BLOCK)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (both,), width = ctx.saved_tensors, grads[0].shape[-1]
        out = torch.empty_like(both)
        grid = (grads[0].numel() // width, triton.cdiv(width, BLOCK))
        _gate_back[grid](both, grads[0].contiguous(), out, width, GELU=ctx.gelu, BLOCK=BLOCK)
        return out, None


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int) -> torch.Tensor:
    """`x` (n, all heads * d, contiguous) itself, its first `heads` rotated by their places.

    `cos` and `sin` (1, n, d) are those of transformers: each half of a head turns into the other.
    """
    found: torch.Tensor = _Turned.apply(x, cos, sin, heads)  # type: ignore[no-untyped-call]
    return found


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int
    ) -> torch.Tensor:
        ctx.mark_dirty(x)
        ctx.save_for_backward(cos.contiguous(), sin.contiguous())
        ctx.heads = heads
        _rotate(x, x, ctx.heads, False, cos.contiguous(), sin.contiguous())
        return x

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad = grads[0].contiguous()
        out = torch.empty_like(grad)
        _rotate(grad, out, ctx.heads, True, *ctx.saved_tensors)
        return out, None, None, None


def _rotate(
    x: torch.Tensor, out: torch.Tensor, heads: int, back: bool, *angles: torch.Tensor
) -> None:
    cos, sin = angles
    width = cos.shape[-1]
    rows = cos.numel() // width
    whole = x.numel() // rows // width
    _turn[(rows, triton.cdiv(whole, HEADS))](
        x, out, cos, sin, whole, heads, width // 2,
        BACK=back, HEADS=HEADS, HALF=triton.next_power_of_2(width // 2), num_warps=2,
    )  # fmt: skip


def unpack(packed: torch.Tensor, state: Any, out: torch.Tensor) -> None:
    """bitsandbytes' NF4 in `packed`, whose scales are packed too, into `out` (rows, d) in bf16.

    `state` is its QuantState. Raises ValueError for what is packed otherwise.
    """
    nested = state.state2
    if (
        state.quant_type != "nf4"
        or nested is None
        or (state.blocksize, nested.blocksize) != (SCALED, NESTED)
        or out.numel() % SCALED
        or not (out.dtype == state.dtype == torch.bfloat16 and out.is_contiguous())
    ):
        raise ValueError("packed in another way")
    count = out.numel() // SCALED
    # Without fusion of multiplying and adding: bitsandbytes rounds between them.
    _unpack[(triton.cdiv(count, SCALES),)](
        packed.view(torch.uint8), state.code, state.absmax, nested.code, nested.absmax,
        state.offset, out.view(torch.int32), count,
        SCALES=SCALES, SCALED=SCALED, NESTED=NESTED, enable_fp_fusion=False,
    )  # fmt: skip
