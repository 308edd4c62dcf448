"""A layer's two halves, attention and gated MLP, with fewer kernels than the base's own code.

Used by graphs.py alone, as fused.py. What reads the same is one product, and the rotation and the
gate are one kernel each. A half is replaced only where it gives the numbers of the base's own code,
and keeps its parts under their names, so that an adapter is saved as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from .fused import Replaced
from .products import Linears, linears

NEAR = 0.03
"""How far outputs and gradients may lie from those of the base's own code, by their norms: both
round to eight bits on the way, at other places."""
ROWS = (0, 6, 16)
"""Where the rows begin and end on which both are tried."""


class Attention(torch.nn.Module):
    """Self-attention of transformers' usual form; with norms of queries and keys, or without."""

    def __init__(self, base: Any, read: Linears, write: Linears, attend: Any, kernels: Any) -> None:
        super().__init__()
        for name, child in base.named_children():
            self.add_module(name, child)
        self.base = (base,)  # not as a part of this one: its weights would be found twice
        self.read, self.write, self.attend, self.kernels = read, write, attend, kernels
        width = base.head_dim
        self.heads = [(p.rows.stop - p.rows.start) // width for p in read.parts]

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        **options: Any,
    ) -> tuple[torch.Tensor, None]:
        """As transformers calls it."""
        (base,), (heads, fewer, _) = self.base, self.heads
        rows, by = hidden_states.shape[:-1], position_embeddings
        if past_key_values is not None or by[0].shape != (*rows, base.head_dim):
            found: tuple[torch.Tensor, None] = base(
                hidden_states, by, attention_mask, past_key_values=past_key_values, **options
            )
            return found
        shape = (*rows, -1, base.head_dim)
        x = self.read(hidden_states.flatten(0, -2))
        if hasattr(base, "q_norm"):
            q, k, v = torch.split(x.view(shape), self.heads, -2)
            q = self._turn(base.q_norm(q), by, heads)
            k = self._turn(base.k_norm(k), by, fewer)
        else:
            x = self._turn(x, by, heads + fewer)
            q, k, v = torch.split(x.view(shape), self.heads, -2)
        q, k, v = (y.view(shape).transpose(1, 2) for y in (q, k, v))
        window = getattr(base, "sliding_window", None)
        out, _ = self.attend(
            base, q, k, v, attention_mask,
            dropout=0.0, scaling=base.scaling, sliding_window=window, **options,
        )  # fmt: skip
        return self.write(out.reshape(rows.numel(), -1)).view(*rows, -1), None

    def _turn(self, x: torch.Tensor, by: tuple[torch.Tensor, torch.Tensor], turned: int) -> Any:
        """`x` (n, heads * d) or (1, n, heads, d), its first heads rotated by their places."""
        cos, sin = by
        if self.kernels is not None:
            return self.kernels.turned(x.contiguous(), cos, sin, turned)
        all_heads = x.view(*cos.shape[:-1], -1, cos.shape[-1])
        some, rest = torch.split(all_heads, [turned, all_heads.shape[-2] - turned], -2)
        a, b = some.chunk(2, -1)
        some = some * cos.unsqueeze(-2) + torch.cat((-b, a), -1) * sin.unsqueeze(-2)
        return torch.cat((some, rest), -2).view(x.shape)


class Gated(torch.nn.Module):
    """An MLP one half of which gates the other."""

    def __init__(self, base: Any, read: Linears, write: Linears, gate: Any) -> None:
        super().__init__()
        for name, child in base.named_children():
            self.add_module(name, child)
        self.read, self.write, self.gate = read, write, gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` (…, d)."""
        return self.write(self.gate(self.read(x.flatten(0, -2)))).view(x.shape)


def fuse_blocks(model: Any, dtype: torch.dtype, replaced: Replaced) -> None:
    """Replaces what can be replaced in a model whose adapters are in `dtype`."""
    kernels = _kernels(model.device)
    for name, module in list(model.named_modules()):
        made = _made(module, dtype, kernels)
        if made is not None and _alike(module, made, dtype):
            replaced.add(name, module, made)


def _kernels(device: torch.device) -> Any:
    """The module of that name where Triton is there and can build them, else None."""
    try:
        from . import kernels

        x = torch.ones(1, 16, 64, device=device, requires_grad=True)
        y = kernels.turned(x * 1, x[..., :32].detach(), x[..., :32].detach(), 1)
        torch.autograd.backward(kernels.gated(y, gelu=False).sum())
    except Exception:  # no compiler for C, a GPU too old, …: torch's own kernels do as well
        return None
    return kernels


def _made(module: Any, dtype: torch.dtype, kernels: Any) -> Any:
    """What may stand in a module's place; None where the module is neither of the halves."""

    def together(*names: str) -> Linears | None:
        layers = [getattr(module, name, None) for name in names]
        return None if None in layers else linears(layers, dtype, kernels)

    if type(module).__name__.endswith("Attention") and hasattr(module, "scaling"):
        attend = _attend(module)
        if attend is None:
            return None
        read, write = together("q_proj", "k_proj", "v_proj"), together("o_proj")
        if read is not None and write is not None:
            return Attention(module, read, write, attend, kernels)
    elif hasattr(module, "act_fn"):
        read, write = together("gate_proj", "up_proj"), together("down_proj")
        if read is not None and write is not None:
            return Gated(module, read, write, _gate(module.act_fn, read.device, kernels))
    return None


def _attend(module: Any) -> Any:
    """The function with which this module attends; None where that, or the module, is unusual."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if getattr(module, "attention_dropout", 0) or getattr(module, "attn_logit_softcapping", None):
        return None
    usual = hasattr(module, "config") and hasattr(module, "head_dim")
    if not usual or hasattr(module, "q_norm") != hasattr(module, "k_norm"):
        return None
    return ALL_ATTENTION_FUNCTIONS.get(module.config._attn_implementation)


def _gate(act: Any, device: torch.device, kernels: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """What gates one half of a tensor with the other, through the activation `act`."""

    def plain(both: torch.Tensor) -> torch.Tensor:
        gated, up = both.chunk(2, -1)
        found: torch.Tensor = act(gated) * up
        return found

    x = torch.linspace(-6, 6, 100, device=device)
    known = torch.nn.functional.silu(x), torch.nn.functional.gelu(x, approximate="tanh")
    for gelu, due in enumerate(known):
        if kernels is not None and torch.allclose(act(x), due, atol=1e-5):
            return partial(kernels.gated, gelu=bool(gelu))
    return plain


def _alike(base: Any, own: Any, dtype: torch.dtype) -> bool:
    """Whether both make the same of the same rows, and of the gradient behind them."""
    device, n = own.read.device, ROWS[-1]
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=device).to(dtype)

    x, options = draw(1, n, own.read.inputs).requires_grad_(), {}
    grad = draw(1, n, own.write.outputs)
    if isinstance(own, Attention):
        angles = draw(1, n, base.head_dim).cos(), draw(1, n, base.head_dim).sin()
        edges = torch.tensor(ROWS, device=device, dtype=torch.int32)
        options = {
            "position_embeddings": angles, "attention_mask": None,
            "cu_seq_lens_q": edges, "max_length_q": n,
        }  # fmt: skip
    try:
        pairs = []
        for module in (base, own):
            with torch.autocast(device.type, dtype, enabled=dtype == torch.bfloat16):
                out = module(x, **options)
            out = out[0] if isinstance(out, tuple) else out
            pairs.append((out.detach(), *torch.autograd.grad(out, x, grad)))
    except Exception:  # called otherwise than is usual
        return False
    return all(
        due.dtype == found.dtype
        and float((due - found).float().norm()) <= NEAR * float(due.float().norm())
        for due, found in zip(*pairs, strict=True)
    )
