"""A frozen base in slices over the cards of a training (FSDP), for one that no card holds whole.

Only the base's layers are cut up: each card keeps a slice of every layer, and a layer is put
together where it is computed and let go again. The adapter is small and stays whole on every card,
so gradients, optimizer, checkpoints and the finished run are those of many.py, and a run may go on
cut up or whole, on any number of cards. Layers come one by one, each from the card that loaded it
(weights/sliced.py), so that no card ever holds more than its slices and a layer.

A base in 4 bits is cut up in its packed form; the scales of its blocks stay whole on every card.
Its bytes are given out as numbers, since FSDP takes no others, but of another dtype than the rest,
so that FSDP sends bytes round. Of the same dtype, which is what `bnb_4bit_quant_storage` is for,
they would be copied on a GPU by `torch._foreach_copy_`, which writes one NaN for every NaN
(pytorch#159333): one pair of packed bytes in a thousand reads as one, and the model would be
another one. Does not know embeddings and head, which stay whole too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ..errors import RunError
from ..weights import layers_of
from .checkpoints import sampled
from .many import Cards


def refuse_unless_possible(world: int) -> None:
    """Raises RunError where a base cannot be cut up."""
    if world == 1:
        raise RunError(
            "One process has nobody to share the base with.", "Give --shard together with --gpus."
        )


def over_cards(model: Any, device: str, cards: Cards) -> tuple[str, dict[str, str]]:
    """Cuts the base of a PEFT model up over all processes, and brings the rest to `device`.

    The i-th layer is handed round by process i modulo their number, in which it must have its
    values. Gives back in a sentence how much of the layers each process holds, and what
    `base_digest` says of each frozen weight that is cut up.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.split(":")[0], (cards.world,))
    found = layers_of(model)
    if found is None:
        raise RunError(
            "The layers of this base were not found, so it cannot be split over several GPUs.",
            "Leave out --shard.",
        )
    name, layers = found
    lines: dict[str, str] = {}
    whole = held = 0
    for number, layer in enumerate(layers):
        _hand_round(layer, number % cards.world, device, cards)
        kept = {n: p for n, p in layer.named_parameters() if not p.requires_grad}
        lines |= {
            f"{name}.{number}.{n}": sampled(f"{name}.{number}.{n}", p) for n, p in kept.items()
        }
        packed = {n for n, p in kept.items() if _packed(p)}
        fully_shard(
            layer, mesh=mesh, ignored_params={p for p in layer.parameters() if p.requires_grad}
        )
        for n, p in layer.named_parameters():
            if n in kept:
                values = 2 * p.element_size() if n in packed else 1
                whole += p.numel() * values
                held += p.to_local().numel() * values
    del kept
    # A root without weights of its own, which fetches a layer while the one before is computed.
    inside = set(layers.parameters())
    decoder = model.get_base_model().get_decoder()
    fully_shard(
        decoder,
        mesh=mesh,
        ignored_params={p for p in model.parameters() if p not in inside or p.requires_grad},
    )
    for weight in model.parameters():
        if not isinstance(weight, torch.distributed.tensor.DTensor):
            weight.data = weight.data.to(device)
    for place, buffer in list(model.named_buffers()):
        owner, _, last = place.rpartition(".")
        setattr(model.get_submodule(owner), last, buffer.to(device))
    said = f"Each process holds {held:,} of the {whole:,} values of the base's layers."
    return said, lines


def _packed(weight: Any) -> bool:
    """Whether it is in bitsandbytes' 4 bits."""
    return hasattr(weight, "quant_state")


def _hand_round(layer: Any, owner: int, device: str, cards: Cards) -> None:
    """Gives all processes the weights and buffers that `owner` has of a layer, adapters too."""
    mine = cards.rank == owner
    told = list(_parts(layer)) if mine else []
    plan = cards.told(
        [(path, name, kind, grad, _shapes(parts)) for path, name, kind, grad, parts in told],
        owner,
    )
    for place, (path, name, kind, grad, shapes) in enumerate(plan):
        got: dict[str, Any] = {}
        module = layer.get_submodule(path)
        for key, (shape, dtype) in shapes.items():
            if mine:
                got[key] = told[place][4][key].to(device).contiguous()
            else:
                got[key] = torch.empty(shape, dtype=dtype, device=device)
            # As bytes: not every transport knows every dtype.
            cards.spread(got[key].reshape(-1).view(torch.uint8), owner)
        if not mine or kind == "packed":
            _put(module, name, kind, grad, got, device)


def _shapes(parts: dict[str, Any]) -> dict[str, tuple[tuple[int, ...], Any]]:
    return {key: (tuple(value.shape), value.dtype) for key, value in parts.items()}


def _parts(layer: Any) -> Iterator[tuple[str, str, str, bool, dict[str, Any]]]:
    """Of every weight and buffer: its module, its name, what it is, whether it is trained, and the
    tensors that it is made of."""
    for path, module in layer.named_modules():
        for name, weight in module.named_parameters(recurse=False):
            if _packed(weight):
                state = weight.quant_state.as_dict(packed=True)
                yield path, name, "packed", False, {"": weight.data, **state}
            else:
                yield path, name, "plain", weight.requires_grad, {"": weight.data}
        for name, buffer in module.named_buffers(recurse=False):
            yield path, name, "buffer", False, {"": buffer}


def _put(module: Any, name: str, kind: str, grad: bool, got: dict[str, Any], device: str) -> None:
    """Gives a module what came for its weight or buffer `name`."""
    value = got.pop("")
    if kind == "buffer":
        setattr(module, name, value)
    elif kind == "packed":
        from bitsandbytes.nn import Params4bit

        made = Params4bit.from_prequantized(value, got, device=device, module=module)
        other = torch.bfloat16 if made.quant_state.dtype == torch.float32 else torch.float32
        bytes_ = made.data.reshape(-1).view(torch.uint8)
        if bytes_.numel() % other.itemsize == 0:
            made.data = bytes_.view(other).unsqueeze(1)
        made.quant_storage = module.quant_storage = made.data.dtype
        setattr(module, name, made)
    else:
        setattr(module, name, torch.nn.Parameter(value, requires_grad=grad))
