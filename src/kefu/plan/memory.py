"""Peak memory of a LoRA training step, part by part, from a base's shape alone.

Counts what autograd keeps in the modelling code of transformers with PEFT's adapters under
autocast. Does not know the allocator's luck: that is one constant (`forecast.toml`), as are the
driver's own needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..records import Forecast, Precision
from .machine import rates
from .shape import Block, Shape

Compute = Literal["bf16", "fp16", "fp32"]
Engine = Literal["trl", "lean"]

BYTES: dict[str, int] = {"fp32": 4, "bf16": 2, "fp16": 2}
NF4_BLOCK = 64
"""Weights that share one scale (bitsandbytes' default)."""
NF4_SECOND_BLOCK = 256
"""Scales that share one scale of theirs, with double quantisation (Dettmers et al. 2023)."""
GATHERED = 3
"""Whole layers that a card holds of a base that is cut up: the one that is computed, the next one
as it comes, and that in its place. From reading torch's FSDP; not measured."""
LOGIT_ROWS = 256
"""Rows of logits made at a time where they are made in pieces."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run a training step."""

    precision: Precision
    compute: Compute
    micro_batch: int
    length: int
    """Tokens of a row, padding included."""
    checkpointing: bool
    rank: int
    targets: tuple[str, ...]
    dropout: bool
    engine: Engine = "trl"
    accumulation: int = 1
    padded: bool = True
    """Whether rows of one micro-batch differ in length, so that attention needs a mask."""
    cuda: bool = True
    answer_only: bool = True
    """Whether only the answers' tokens bear a loss."""
    unpacked: bool = False
    """Whether a 4-bit base is unpacked once for training, so that it takes the arithmetic's bytes
    and none of its steps unpacks it again."""
    width: int = 0
    """Tokens of the fullest micro-batch where rows lie end to end; 0 for padded rows."""
    copies: int = 0
    """Copies of what moves (adapter and both moments, in fp32) that are kept on the device, to go
    back to (see train/guard.py)."""
    cards: int = 1
    """Over how many cards the base's layers are cut up (FSDP); 1 where each card holds all."""
    full_logits: bool = False
    """Whether all logits are made at once, as plain transformers does; neither engine does."""

    @property
    def tokens(self) -> int:
        """Of one micro-batch."""
        return self.width or self.micro_batch * self.length

    @property
    def stored(self) -> Precision:
        """In which precision the frozen matrices lie in memory while training."""
        return self.compute if self.unpacked else self.precision

    @property
    def recorded(self) -> bool:
        """Whether steps are replayed as CUDA graphs, so that nothing waits for Python."""
        plain = self.accumulation == 1 and not self.checkpointing and self.compute != "fp16"
        return self.cuda and self.engine == "lean" and plain and self.cards == 1

    @property
    def mixed(self) -> bool:
        """Whether adapters, which both engines keep in fp32, meet half-precision activations."""
        return BYTES[self.compute] == 2


def weights(shape: Shape, precision: Precision, compute: Compute, cards: int = 1) -> int:
    """Bytes of the frozen base on each of the cards that its layers are cut up over. Embeddings,
    head and norms are never quantised; they, and the scales of 4 bits, are whole on every card."""
    whole = (shape.parameters - shape.linear_weights) * BYTES[_plain(precision, compute)]
    cut = largest = 0
    for block in shape.blocks:
        layer = 0
        for linear in block.linears:
            if precision != "nf4":
                layer += linear.weights * BYTES[precision]
                continue
            layer += -(-linear.weights // 2)
            scales = -(-linear.weights // NF4_BLOCK)
            second = -(-scales // NF4_SECOND_BLOCK) * 4
            tables = 2048  # two code books and an offset, a matrix
            whole += block.count * (scales + second + tables)
        cut += block.count * layer
        largest = max(largest, layer)
    return whole + (cut if cards == 1 else -(-cut // cards) + GATHERED * largest)


def _plain(precision: Precision, compute: Compute) -> Compute:
    """The dtype of what is not quantised."""
    return compute if precision == "nf4" else precision


def kept(shape: Shape, block: Block, way: Way) -> int:
    """Bytes a token that autograd keeps of one layer, without checkpointing."""
    c = BYTES[way.compute]
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    # A norm works in fp32 and keeps its fp32 input; in recorded steps it is one kernel.
    total = block.norms * (c if way.recorded else 4) * shape.hidden
    if block.head_norms:
        total += 4 * (q + kv)
    masked = way.padded and way.micro_batch > 1 and way.engine == "trl"
    # Queries, keys and values after rotation; with a mask, keys and values once a head.
    total += c * (3 * q if masked else q + 2 * kv)
    total += c * q + 4 * shape.heads  # attention's result, and its log-sum-exp
    total += 3 * c * shape.intermediate  # gate, activated gate, up
    if any(m.outputs == q + 2 * kv and m.reads == "attention-in" for m in block.linears):
        total += c * (q + kv)  # values are a view of the fused product, and keep all of it
    shared = {"attention-out"}  # kept by attention itself already
    for linear in shape.targeted(block, way.targets):
        total += c * way.rank
        # bitsandbytes' adapters read the tensor itself; others an fp32 copy cast back.
        own = way.dropout or _casts(way)
        if own or linear.reads not in shared:
            total += c * linear.inputs
        shared.add(linear.reads)
        if way.dropout:
            total += linear.inputs * (1 if way.cuda else 4)  # the mask, an element
    return total


def parts(shape: Shape, way: Way) -> Forecast:
    """Every part of the peak, bytes."""
    c = BYTES[way.compute]
    trainable = shape.trainable(way.rank, way.targets)
    tokens = way.tokens
    layer_peak = max(kept(shape, b, way) for b in shape.blocks)
    if way.checkpointing:
        saved = tokens * shape.layers * c * shape.hidden
        again = tokens * layer_peak
    else:
        saved = tokens * sum(b.count * kept(shape, b, way) for b in shape.blocks)
        again = 0
    ends = tokens * (4 + 3 * c) * shape.hidden  # last norm, last hidden states, embeddings
    logits = _logits(shape, way)
    # Two moments may be the peak. At the loss everything saved and the logits are there at once.
    # In the backward pass of the last layer, when both ends are gone, come the gradients of its
    # widest activations: those of both factors of the gated product and of the product, whose own
    # copy is gone by then; or one of them and a 4-bit matrix unpacked. Where layers are recomputed
    # and adapters read casts, the product and its fp32 cast are there beside what is kept of it.
    largest = max(m.weights for b in shape.blocks for m in b.linears)
    unpacked = c * largest if way.stored == "nf4" else 0
    wide = tokens * c * shape.intermediate
    cast = 3 * wide if way.checkpointing and _casts(way) else 0
    working = tokens * c * 2 * shape.hidden + max(2 * wide, wide + unpacked, cast)
    top, below = saved + ends + logits, saved + again + working
    if top >= below:
        activations, logit_part = saved + ends, logits
    else:
        activations, logit_part = saved + again + working, 0
    # Under autocast the half-precision copies of fp32 adapters live as long as the graph.
    adapters = trainable * (4 + (2 if way.mixed else 0))
    gradients = 4 * trainable
    optimizer = 8 * trainable + way.copies * 12 * trainable
    table = rates()["gpu" if way.cuda else "cpu"]
    frozen = weights(shape, way.stored, way.compute, way.cards)
    moving = adapters + gradients + optimizer + activations + logit_part
    overhead = int(table["context"]) + int(float(table["fragmentation"]) * (frozen // 4 + moving))
    if way.cuda:
        activations += int(table["workspace"])
    return Forecast(
        frozen, adapters, gradients, optimizer, activations, logit_part, overhead, seconds=0.0
    )


def _casts(way: Way) -> bool:
    """Whether PEFT casts what an adapter reads to fp32, which autocast casts back."""
    return way.mixed and not way.recorded and not (way.stored == "nf4" and way.cuda)


def _logits(shape: Shape, way: Way) -> int:
    """Bytes at the loss."""
    c = BYTES[way.compute]
    if way.full_logits:
        # The fp32 log-softmax, its gradient and that of the logits.
        return 12 * way.tokens * shape.vocab
    # One piece, and the gradient of the hidden states. The lean engine's own loss holds one fp32
    # copy and what the sum of its exponentials works on (see train/loss.py).
    rows = min(way.tokens, LOGIT_ROWS)
    held = way.tokens * shape.hidden * (c + 4)
    return rows * shape.vocab * (8 if way.engine == "lean" else 12) + held
