"""A frozen base in slices over the cards of a training (FSDP), for one that no card holds whole.

Only the base's layers are cut up: each card keeps a slice of every layer, and a layer is put
together where it is computed and let go again. The adapter is small and stays whole on every card,
so gradients, optimizer, checkpoints and the finished run are those of many.py, and a run may go on
cut up or whole, on any number of cards.

Does not know 4-bit bases, whose packed weights torch's FSDP cannot cut.
"""

from __future__ import annotations

from typing import Any

import torch

from ..errors import RunError
from ..records import Plan


def refuse_unless_possible(plan: Plan, world: int) -> None:
    """Raises RunError where a base cannot be cut up."""
    if world == 1:
        raise RunError(
            "One process has nobody to share the base with.", "Give --shard together with --gpus."
        )
    if plan.precision.value == "nf4":
        raise RunError(
            "A base in 4 bits cannot be split over several GPUs.",
            "Take --precision bf16, or leave out --shard.",
        )


def over_cards(model: Any, device: str) -> str:
    """Cuts the base of a PEFT model up over all processes, and brings the rest to `device`.

    Gives back in a sentence how much of it each process holds.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    kind = device.split(":")[0]
    mesh = init_device_mesh(kind, (torch.distributed.get_world_size(),))
    decoder = model.get_base_model().get_decoder()
    layers = getattr(decoder, "layers", None)
    if layers is None:
        raise RunError(
            "The layers of this base were not found, so it cannot be split over several GPUs.",
            "Leave out --shard.",
        )
    adapter = {p for p in model.parameters() if p.requires_grad}
    inside = {p for p in layers.parameters() if not p.requires_grad}
    for layer in layers:
        fully_shard(layer, mesh=mesh, ignored_params=adapter)
    # A root without weights of its own, which fetches a layer while the one before is computed.
    fully_shard(decoder, mesh=mesh, ignored_params=set(model.parameters()) - inside)
    whole = held = 0
    for weight in model.parameters():
        if isinstance(weight, torch.distributed.tensor.DTensor):
            whole += weight.numel()
            held += weight.to_local().numel()
        else:
            weight.data = weight.data.to(device)
    for name, buffer in list(model.named_buffers()):
        owner, _, last = name.rpartition(".")
        setattr(model.get_submodule(owner), last, buffer.to(device))
    return f"Each process holds {held:,} of the {whole:,} values of the base's layers."
