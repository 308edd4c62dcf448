"""How long a training step takes, from a base's shape and a machine's rates.

Arithmetic at its sustained rate, plus the weights' way through the memory, against the time that
Python needs to launch it all. The sum, not the maximum: a 4-bit matrix is unpacked before it is
used, and for the few hundred tokens of a step of an FAQ the two hardly overlap either (on an H100
at 396 tokens of a 7B base the sum gives 25.4 ms of GPU time where 25.5 were measured in bf16, and
37.6 where 38.6 were measured in NF4). The start of training corrects it with what it measures.
"""

from __future__ import annotations

from ..records import Machine
from .machine import rates
from .memory import BYTES, Way
from .shape import Shape

LARGE = 100_000
"""Tokens from which on a vocabulary is the larger part of a step on a processor."""
LIKELY = 0.19
"""Of the head's arithmetic, what is left with the likely tokens alone (see train/loss.py): all of
it every eighth step, and about a fifteenth otherwise."""


def partial(shape: Shape, way: Way) -> bool:
    """Whether the loss runs over the likely tokens only."""
    return not way.cuda and way.engine == "lean" and shape.vocab >= LARGE


def step_seconds(
    shape: Shape,
    way: Way,
    machine: Machine,
    *,
    tokens: float,
    labelled: float,
    cards: int = 1,
) -> float:
    """Seconds of one optimizer step.

    `tokens` is the mean of a row as the engine sees it (padding included), `labelled` the mean
    number of rows of logits that it makes for it. Of several `cards` each does its share of the
    rows; what they send each other of the adapter is not counted.
    """
    launch = _launch(way)
    a_row = flops(shape, way, tokens, labelled)
    share = -(-way.micro_batch * way.accumulation // cards)
    batch = min(way.micro_batch, share)
    compute = batch * a_row / _rate(way, machine)
    moved = _moved(shape, way) / machine.bandwidth
    small = _small(shape, way, batch * tokens, machine) if way.recorded else 0.0
    busy = compute + moved + small
    if way.cards > 1:
        busy += _fetched(shape, way) / float(rates()["gpu"]["link"])
    host = 0.0
    if way.cuda:
        host = shape.layers * (launch["layer"] + (launch["nf4"] if way.stored == "nf4" else 0))
        if way.checkpointing:
            host *= launch["checkpointing"]
    return float(-(-share // batch) * max(busy, host + 0.1 * busy) + launch["step"])


def run_seconds(steps: int, step: float, shape: Shape, way: Way) -> float:
    """Seconds of a run: start, loading and steps."""
    launch = _launch(way)
    loading = shape.parameters * 2 / 1e9
    return float(launch["start"]) + loading + steps * step


def flops(shape: Shape, way: Way, tokens: float, labelled: float) -> float:
    """Floating-point operations of one row, forwards and backwards.

    A frozen matrix costs 2 an element forwards and 2 backwards (no gradient of its own), an
    adapter 2 + 4; checkpointing runs the layers forwards once more.
    """
    matrices = 2.0 * shape.linear_weights
    width = shape.heads * shape.head_dim
    attention = 2.0 * tokens * width * shape.layers  # causal: half of the 4 of a full one
    adapters = 2.0 * shape.trainable(way.rank, way.targets)
    forwards = matrices + attention + adapters
    backwards = matrices + 2 * attention + 2 * adapters
    again = forwards if way.checkpointing else 0.0
    head = 4.0 * shape.vocab * shape.hidden * (LIKELY if partial(shape, way) else 1.0)
    return tokens * (forwards + backwards + again) + labelled * head


def _small(shape: Shape, way: Way, tokens: float, machine: Machine) -> float:
    """Seconds of all that is no large matrix product: activations' ways through the memory.

    Where steps are launched one by one this hides behind Python; in recorded steps it shows.
    """
    table = rates()["launch"]["graphs"]
    c = BYTES[way.compute]
    base = adapters = 0.0
    count = 0
    for block in shape.blocks:
        base += block.count * (4 * shape.hidden + 3 * shape.intermediate)
        for linear in shape.targeted(block, way.targets):
            adapters += block.count * (linear.inputs + linear.outputs)
            count += block.count
    passes = base * table["base_passes"] + adapters * table["adapter_passes"]
    return float(tokens * c * passes / machine.bandwidth + count * table["adapter"])


def _launch(way: Way) -> dict[str, float]:
    table: dict[str, float] = rates()["launch"]["graphs" if way.recorded else way.engine]
    return table


def _rate(way: Way, machine: Machine) -> float:
    if not way.cuda:
        table = rates()["cpu"]
        factor = table["bf16_faster"] if machine.bf16 else table["bf16_emulated"]
        return machine.flops * float(factor if way.compute == "bf16" else 1.0)
    if way.compute == "fp32":
        return machine.flops / float(rates()["gpu"]["fp32_slower"])
    return machine.flops


def _fetched(shape: Shape, way: Way) -> float:
    """Bytes of other cards' slices that a micro-batch brings, forwards and backwards."""
    each = 0.5 if way.stored == "nf4" else BYTES[way.stored]
    return 2 * each * shape.linear_weights * (way.cards - 1) / way.cards


def _moved(shape: Shape, way: Way) -> float:
    """Bytes of weights that a micro-batch reads and writes."""
    passes = 3 if way.checkpointing else 2
    c = BYTES[way.compute]
    head = shape.vocab * shape.hidden * c * 2
    each: float = BYTES[way.stored] if way.stored != "nf4" else 0.52 + 2 * c
    if way.stored == "nf4" and way.recorded:
        each *= float(rates()["launch"]["graphs"]["unpacking"])
    return passes * each * shape.linear_weights + head
