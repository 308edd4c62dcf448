"""Words and figures that the reasons of a plan share."""

from __future__ import annotations

from ..records import Choice, Machine
from .bases import Base
from .memory import Compute
from .rows import Rows

GIB = 2**30


def count(number: int, one: str) -> str:
    """`1 pair`, `2 pairs`."""
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one}s"


def size(parameters: int) -> str:
    """`268 million`, `7.6 billion`."""
    if parameters < 1e9:
        return f"{parameters / 1e6:.0f} million"
    return f"{parameters / 1e9:.1f} billion"


def parameter_counts(
    base: Base, rank: int, targets: tuple[str, ...]
) -> tuple[Choice[int], Choice[int]]:
    """(trainable, total), exact."""
    shape = base.shape
    trainable = shape.trainable(rank, targets)
    each = max(len(shape.targeted(b, targets)) for b in shape.blocks)
    total = shape.parameters + trainable
    return (
        Choice(
            trainable,
            f"Counted from the base's config: rank {rank} × (inputs + outputs) of "
            f"{each} matrices in each of {shape.layers} layers.",
        ),
        Choice(
            total,
            f"The base's {shape.parameters:,}, which stay as they are, and the adapter's; "
            f"{100 * trainable / total:.2f} % are trained.",
        ),
    )


def compute_reason(base: Base, machine: Machine, compute: Compute) -> str:
    """Why the arithmetic is done in this precision."""
    if machine.device == "cpu":
        if compute == "bf16":
            return "This processor has instructions for bf16, which halves time and memory."
        return "A processor without instructions for half precision is fastest in fp32."
    if compute == "bf16":
        return f"{machine.name} has bf16: as fast as fp16, and it cannot overflow."
    if compute == "fp16":
        return f"{machine.name} has no bf16; fp16 with loss scaling is its fast precision."
    if base.shape.model_type.startswith("gemma"):
        return f"Gemma's activations overflow in fp16, and {machine.name} has no bf16."
    return "You chose full precision."


def base_note(base: Base) -> str:
    """Size and licence of a base, as part of a reason."""
    note = f" {base.notice}" if base.notice else ""
    return f"{size(base.shape.parameters)} parameters, licence: {base.licence}.{note}"


def length_note(rows: Rows) -> str:
    """How the longest row was found."""
    how = "counted by the base's tokenizer" if rows.exact else "guessed high from its letters"
    return f"The longest row has {rows.longest} tokens ({how}; {rows.longest_at})"
