"""Chooses how to run a training step: the fastest way that fits the machine's memory.

Every way has the same effective batch, so the choice never changes what is learnt, only the
precision of the frozen base does, and that is said. Does not know the past of this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import BaseError, SettingsError
from ..records import Forecast, Machine, Precision
from .bases import Base, catalogue
from .machine import rates
from .memory import Compute, Engine, Way, parts
from .rows import Rows
from .timing import run_seconds, step_seconds

GIB = 2**30
FILLING = 64
"""Tokens that recorded steps are filled up by, at most, as a rule (see train/buckets.py)."""
PADDING = 0.35
"""Of the way from the mean row to the longest, how far padding lengthens a batch's rows."""
COPIES, ROOM = 2, 0.8
"""What training goes back to when it falls apart: so many copies of what moves lie on the device
as long as the forecast with them stays below that part of its memory, else beside it."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A way, what it needs, and how long a step takes."""

    way: Way
    parts: Forecast
    """Bytes by part; no seconds yet."""
    step: float

    def forecast(self, base: Base, steps: int) -> Forecast:
        """Bytes by part, and seconds of a run of `steps`."""
        return replace(self.parts, seconds=run_seconds(steps, self.step, base.shape, self.way))


def room(machine: Machine) -> int:
    """Bytes that a plan may fill."""
    table = rates()["gpu" if machine.device == "cuda" else "cpu"]
    return int(machine.memory * float(table["usable"]))


def assess(base: Base, machine: Machine, way: Way, rows: Rows, cards: int = 1) -> Fit:
    """What one way needs on each of the `cards` that train together, and how long it takes."""
    mean = min(rows.mean, way.length)
    if way.engine == "lean":
        way = replace(way, width=width(way, rows), copies=COPIES)
        if way.cuda and parts(base.shape, way).memory >= ROOM * machine.memory:
            way = replace(way, copies=0)
    if way.engine == "trl":
        tokens = mean + (way.length - mean) * PADDING * (1 - 1 / way.micro_batch)
    else:
        tokens = mean
    labelled = rows.labelled if way.answer_only else mean
    step = step_seconds(
        base.shape, way, machine, tokens=tokens, labelled=labelled, cards=max(cards, way.cards)
    )
    return Fit(way, parts(base.shape, way), step)


def width(way: Way, rows: Rows) -> int:
    """Tokens of the fullest micro-batch of rows laid end to end: it is drawn at random, so it has
    hardly ever more than four standard deviations above its mean, and never more than the longest
    row so many times."""
    micro = way.micro_batch
    mean = min(rows.mean, way.length)
    likely = int(micro * mean + 4 * rows.spread * micro**0.5) + 1
    least = min(max(likely, way.length), micro * way.length)
    # Recorded steps are filled up to the next of a few sizes.
    return least + FILLING if way.recorded else least


def precisions(
    base: Base, machine: Machine, wanted: str = "auto"
) -> tuple[tuple[Precision, Compute], ...]:
    """The pairs (precision of the base, precision of the arithmetic) that this machine allows.

    Raises SettingsError where `wanted` is not among them.
    """
    gemma = base.shape.model_type.startswith("gemma")
    half: Compute = "bf16" if machine.bf16 else "fp16"
    options: tuple[tuple[Precision, Compute], ...]
    if machine.device == "cpu":
        best: Compute = "bf16" if machine.bf16 else "fp32"
        options = (("fp32", "fp32"), ("bf16", "bf16"), ("nf4", best))
    elif half == "fp16" and gemma:
        options = (("fp32", "fp32"), ("nf4", "fp32"))
    elif half == "fp16":
        options = (("fp16", "fp16"), ("nf4", "fp16"), ("fp32", "fp32"))
    else:
        options = (("bf16", "bf16"), ("nf4", "bf16"), ("fp16", "fp16"), ("fp32", "fp32"))
    if wanted == "auto":
        # A processor packs no 4-bit numbers fast, and fp32 is never the quick way on a card.
        keep = {"fp32", "bf16"} if machine.device == "cpu" else {half, "nf4"}
        keep |= {"fp32"} if gemma and half == "fp16" else set()
        return tuple(o for o in options if o[0] in keep)
    chosen = tuple(o for o in options if o[0] == wanted)
    if not chosen:
        able = ", ".join(f"`{p}`" for p, _ in options)
        why = " (Gemma overflows in fp16)" if gemma and wanted == "fp16" else ""
        raise SettingsError(
            f"`precision = {wanted!r}` does not work with {base.name} on {machine.name}{why}.",
            f'Write `precision = "auto"`, or one of {able}.',
        )
    return chosen


def candidates(
    options: tuple[tuple[Precision, Compute], ...],
    batch: int,
    length: int,
    rank: int,
    targets: tuple[str, ...],
    dropout: bool,
    engine: Engine,
    cuda: bool,
    cards: int = 1,
) -> list[Way]:
    """All ways to make steps of `batch` examples; with `cards` those with a base that is cut up
    over so many."""
    # Where 16 bits are allowed and fit, they need no unpacking.
    asked = all(precision == "nf4" for precision, _ in options)
    plain = asked and cuda and engine == "lean" and cards == 1
    unpackings = (False, True) if plain else (False,)
    return [
        Way(
            precision=precision,
            compute=compute,
            micro_batch=micro,
            length=length,
            checkpointing=checkpointing,
            rank=rank,
            targets=targets,
            dropout=dropout,
            engine=engine,
            accumulation=batch // micro,
            cuda=cuda,
            unpacked=unpacked,
            cards=cards,
        )
        for precision, compute in options
        for unpacked in unpackings
        for micro in range(-(-batch // cards), 0, -1)
        if batch % micro == 0
        for checkpointing in (False, True)
    ]


def fastest(
    base: Base, machine: Machine, ways: list[Way], rows: Rows, cards: int = 1
) -> Fit | None:
    """The fastest of the ways that fit; of ways within 2 % of it, the one with least memory.

    Layers are recomputed only where it makes something fit: a tiny model's time hardly shows it.
    """
    found = (assess(base, machine, way, rows, cards) for way in ways)
    fits = [fit for fit in found if fit.parts.memory <= room(machine)]
    if not fits:
        return None
    best = min(f.step for f in fits)
    return min((f for f in fits if f.step <= best * 1.02), key=_plainest)


def _plainest(fit: Fit) -> tuple[bool, int]:
    return fit.way.checkpointing, fit.parts.memory


def too_big(
    base: Base, machine: Machine, ways: list[Way], rows: Rows, over_all: Sequence[Way] = ()
) -> BaseError:
    """The error for a base of which no way fits, with what would; `over_all` are the ways to cut
    it up over all GPUs of the machine, where that was not asked."""
    least = min(assess(base, machine, way, rows).parts.memory for way in ways)
    smaller = [
        other
        for other in catalogue()
        if other.shape.parameters < base.shape.parameters and _fits(other, machine, ways[-1], rows)
    ]
    advice = "Use a machine with more memory."
    if smaller:
        best = max(smaller, key=lambda b: b.shape.parameters)
        advice = f'What would fit is `base = "{best.name}"`, or a machine with more memory.'
    if any(assess(base, machine, way, rows).parts.memory <= room(machine) for way in over_all):
        advice = f"Train it on all GPUs of this machine, with --gpus {machine.gpus}. {advice}"
    if ways[-1].precision != "nf4" and machine.device == "cuda":
        advice = f'Write `precision = "auto"` to let 4 bits be chosen. {advice}'
    return BaseError(
        f"{base.name} does not fit: even one row at a time needs {least / GIB:.1f} GiB, and "
        f"{machine.name} has {room(machine) / GIB:.1f} GiB to use.",
        advice,
    )


def _fits(base: Base, machine: Machine, way: Way, rows: Rows) -> bool:
    return parts(base.shape, way).memory <= room(machine)
