"""The tutorial recipe: the classic first QLoRA project, number for number."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from ..errors import SettingsError
from ..records import Choice, Mode, Plan, Precision
from . import book
from .fit import Fit, assess, precisions, room, too_big
from .job import YOURS, Job
from .memory import Compute, Way
from .reasons import compute_reason, count, parameter_counts
from .shape import Shape

CLASSIC = "As in the tutorials."
EPOCHS, MICRO, ACCUMULATION = 3, 1, 4
RANK, ALPHA, DROPOUT = 16, 32, 0.05
RATE, LENGTH = 2e-4, 512
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")


def targets_of(shape: Shape) -> tuple[str, ...]:
    """q, k, v and o, by the names that this architecture gives them."""
    if set(TARGETS) <= set(shape.names):
        return TARGETS
    attention = ("attention-in", "attention-out")
    found = [m.name for b in shape.blocks for m in b.linears if m.reads in attention]
    return tuple(dict.fromkeys(name for name in found if not name.startswith("fc")))


def fit(job: Job) -> Fit | None:
    """The one way of this recipe, where it fits."""
    found = assess(job.base, job.machine, _way(job), job.rows)
    return found if found.parts.memory <= room(job.machine) else None


def _way(job: Job) -> Way:
    precision, compute = _precision(job)
    return Way(
        precision=precision,
        compute=compute,
        micro_batch=MICRO,
        length=LENGTH,
        checkpointing=job.cuda,
        rank=RANK,
        targets=targets_of(job.base.shape),
        dropout=True,
        engine="trl",
        accumulation=ACCUMULATION,
        cuda=job.cuda,
        answer_only=False,
    )


def _precision(job: Job) -> tuple[Precision, Compute]:
    wanted = "nf4" if job.settings.precision == "auto" else job.settings.precision
    precision, compute = precisions(job.base, job.machine, wanted)[0]
    if not job.cuda:
        return precision, "fp32" if precision in ("nf4", "fp32") else compute
    if precision == "nf4" and not job.base.shape.model_type.startswith("gemma"):
        return precision, "fp16"
    return precision, compute


def tutorial(job: Job) -> Plan:
    """The plan of the tutorial recipe. Raises BaseError where it does not fit."""
    rows, base = job.rows, job.base
    best = fit(job)
    if best is None:
        raise too_big(base, job.machine, [_way(job)], rows)
    way = best.way
    if job.settings.thorough != "normal":
        raise SettingsError(
            f"`thorough = {job.settings.thorough!r}` does not go with the tutorial recipe, whose "
            "numbers are fixed.",
            'Write `recipe = "default"`, or leave `thorough` out.',
        )
    steps = EPOCHS * ceil(rows.total / (MICRO * ACCUMULATION))
    trainable, total = parameter_counts(base, RANK, way.targets)
    if not job.cuda:
        compute = (
            "fp32 in place of the tutorial's fp16: processors compute fp16 slowly or not at all."
        )
    elif way.compute == "fp16":
        compute = CLASSIC
    else:
        compute = (
            f"{compute_reason(base, job.machine, way.compute)} The tutorials' fp16 would fail."
        )
    named = (
        CLASSIC
        if way.targets == TARGETS
        else "The tutorials' q, k, v and o, by the names that this base has for them."
    )
    longer = rows.longest > LENGTH
    length = (
        f"{CLASSIC} {f'A row is longer ({rows.longest_at}) and will be refused.' if longer else ''}"
    )
    chosen = book.book(job.settings, base.shape.parameters)
    mode: Mode = "sample" if job.settings.mode == "auto" else job.settings.mode
    return Plan(
        recipe=Choice("tutorial", "You asked for the classic first project, number for number."),
        template=Choice("instruction", f"{CLASSIC} `### 指令：…### 回應：`"),
        precision=Choice(
            way.precision,
            "As in the tutorials: NF4 with double quantisation."
            if job.settings.precision == "auto"
            else YOURS,
        ),
        compute=Choice(way.compute, compute),
        engine=Choice("trl", CLASSIC),
        rank=Choice(RANK, CLASSIC),
        alpha=Choice(ALPHA, CLASSIC),
        dropout=Choice(DROPOUT, CLASSIC),
        targets=Choice(way.targets, named),
        learning_rate=Choice(RATE, CLASSIC),
        warmup=Choice(0, f"{CLASSIC} None."),
        scheduler=Choice("linear", f"{CLASSIC} The trainer's own."),
        micro_batch=Choice(MICRO, CLASSIC),
        accumulation=Choice(ACCUMULATION, CLASSIC),
        exposures=Choice(
            round(EPOCHS * rows.answered / rows.pairs, 1),
            f"{EPOCHS} epochs, as in the tutorials; a fact is seen once in each of its wordings "
            "an epoch. Too few for most bases to learn an FAQ: see the default recipe.",
        ),
        steps=Choice(
            steps,
            f"{EPOCHS} epochs of {count(rows.total, 'row')}, {MICRO * ACCUMULATION} a step.",
        ),
        max_length=Choice(LENGTH, length.strip()),
        checkpointing=Choice(
            way.checkpointing,
            CLASSIC if job.cuda else "Off on a processor: it would cost time and spare little.",
        ),
        save_every=Choice(50, CLASSIC),
        keep=Choice(2, CLASSIC),
        log_every=Choice(10, CLASSIC),
        answer_only_loss=Choice(False, f"{CLASSIC} The loss is on the whole text."),
        mode=Choice(
            mode,
            f"{CLASSIC} Temperature 0.7, top_p 0.9, at most 256 new tokens."
            if job.settings.mode == "auto"
            else YOURS,
        ),
        hand_over_share=Choice(0.0, f"{CLASSIC} The bot never learns to hand over."),
        trainable=trainable,
        total=total,
        forecast=best.forecast(base, steps),
        book=replace(chosen, because=CLASSIC),
        **job.shared(),
    )
