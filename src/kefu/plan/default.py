"""The default recipe: a run sized by how often each fact is seen, and in how many wordings."""

from __future__ import annotations

from math import ceil
from typing import Literal

from ..records import Choice, Mode, Plan
from . import book, tables
from .fit import Fit, candidates, fastest, precisions, too_big
from .job import YOURS, Job, swept
from .memory import Engine, Way
from .reader import reader, reranker
from .reasons import (
    GIB,
    compute_reason,
    count,
    length_note,
    parameter_counts,
)
from .shape import ALL_LINEAR
from .timing import LARGE

TARGETS = (ALL_LINEAR,)
ENGINE: Engine = "lean"
LONG = 2 * 3600.0
"""Seconds from which on a run on a processor gets a word about it."""


def batch_of(rows: int) -> int:
    """Examples an optimizer step."""
    return int(tables.up_to(tables.BATCHES, rows))


def rank_of(pairs: int) -> int:
    """LoRA rank for an FAQ of so many pairs."""
    return int(tables.up_to(tables.RANKS, pairs))


def _rank(job: Job) -> int:
    return max(1, round(rank_of(job.rows.pairs) * job.times.rank))


def softmax(job: Job) -> Choice[Literal["all", "likely"]]:
    """Over which tokens the loss is normalised."""
    vocab = job.base.shape.vocab
    if job.cuda or vocab < LARGE:
        return Choice("all", "Over the whole vocabulary.")
    return Choice(
        "likely",
        f"Most of {vocab:,} tokens never stand in an answer: on a processor the loss is over those "
        "that may, and over all of them every eighth step.",
    )


def fit(job: Job) -> Fit | None:
    """The fastest way to run this job that fits its machine, or None. A base is cut up over cards
    only where none of them holds it whole: it then has to be fetched in every step."""
    for cards in sorted({1, job.cards}):
        found = fastest(job.base, job.machine, _ways(job, cards), job.rows, job.cards)
        if found is not None:
            return found
    return None


def _warm(name: str) -> Choice[str]:
    """From which adapter the run begins."""
    if not name:
        return Choice(
            "", "kefu brings no adapter for this base, so it begins with nothing learned."
        )
    return Choice(
        name,
        "Begins from the adapter that kefu brings for this base: it has learned from a general "
        "corpus of customers' questions that very different words can ask for one thing.",
    )


def _rank_table() -> str:
    *steps, (_, last) = tables.RANKS
    first = ", ".join(f"rank {rank} up to {pairs}" for pairs, rank in steps)
    return f"{first}, {last} above"


def _ways(job: Job, cards: int = 1) -> list[Way]:
    return candidates(
        precisions(job.base, job.machine, job.settings.precision),
        batch_of(job.rows.total),
        job.rows.max_length(),
        _rank(job),
        TARGETS,
        False,
        ENGINE,
        job.cuda,
        cards,
    )


def _shard(job: Job, way: Way) -> Choice[bool]:
    """Whether the base is cut up, and why."""
    if way.cards > 1:
        return Choice(
            True,
            f"No single GPU has room for it: each of the {way.cards} keeps a part of every layer, "
            "and fetches the rest where it is computed.",
        )
    if job.cards > 1:
        return Choice(False, "The whole base fits on each GPU, which is faster than fetching it.")
    return Choice(False, "One GPU or processor trains, and holds all of it.")


def default(job: Job) -> Plan:
    """The plan of the default recipe. Raises BaseError where nothing fits."""
    rows, said, base = job.rows, job.settings, job.base
    best = fit(job)
    if best is None:
        all_cards = job.machine.gpus if job.cards == 1 else 1
        over_all = _ways(job, all_cards) if all_cards > 1 else []
        raise too_big(base, job.machine, _ways(job, job.cards), rows, over_all)
    way = best.way
    passes = tables.passes(said.thorough, rows.pairs, rows.wordings) * job.times.practice
    batch = batch_of(rows.total)
    steps = max(1, ceil(passes * rows.total / batch))
    exposures = steps * batch * rows.answered / rows.total / rows.pairs
    rate = tables.up_to(tables.RATES, base.shape.parameters) * job.times.rate
    warmup = max(1, round(tables.WARM_UP * steps))
    save_every = max(5, ceil(steps / tables.SAVES), min(steps, ceil(tables.SAVED / best.step)))
    trainable, total = parameter_counts(base, way.rank, TARGETS)
    forecast = best.forecast(base, steps)
    shared = job.shared()
    if not job.cuda and forecast.seconds > LONG:
        slow = f"It will take about {forecast.seconds / 3600:.0f} hours here, on a GPU minutes."
        shared["base"] = Choice(base.name, f"{job.base_because} {slow}")
    used = f"{forecast.memory / GIB:.1f} of {job.machine.memory / GIB:.1f} GiB"
    more = f", and {count(rows.reading, 'question')} with rows to read" if rows.reading else ""
    few = "" if rows.wordings >= 3 else " More wordings a question would help more than more steps."
    if said.precision != "auto":
        precision = YOURS
    elif way.precision == "nf4":
        precision = f"In 4 bits the base fits this machine best: {used} in use."
    elif way.precision == "fp32":
        precision = f"{compute_reason(base, job.machine, 'fp32')} {used} in use."
    else:
        precision = f"The base fits in 16 bits ({used}), which is faster than 4 bits."
    chosen = book.book(said, base.shape.parameters)
    mode: Mode = "verbatim" if said.mode == "auto" else said.mode
    template = "chat" if base.chat else "plain"
    return Plan(
        recipe=Choice(
            "default",
            "Sized by how often each fact is seen and in how many wordings, not by epochs.",
        ),
        template=Choice(
            template,
            "The base brings its own chat format, which serving engines use too."
            if base.chat
            else "The base has no chat format of its own, so it gets kefu's plain one.",
        ),
        precision=Choice(way.precision, precision),
        compute=Choice(way.compute, compute_reason(base, job.machine, way.compute)),
        engine=Choice(
            ENGINE, "The same mathematics as TRL's trainer without its waiting between kernels."
        ),
        rank=Choice(
            way.rank,
            f"{count(rows.pairs, 'answer')} to remember: {_rank_table()}.{swept(job.times.rank)}",
        ),
        alpha=Choice(
            2 * way.rank, "Twice the rank, so that the learning rate suits every rank alike."
        ),
        dropout=Choice(0.0, "The facts are to be known by heart, so nothing is dropped."),
        targets=Choice(
            TARGETS, "All linear layers: facts are kept in the MLPs, not in attention alone."
        ),
        learning_rate=Choice(
            rate,
            f"For a base of {base.shape.parameters / 1e9:.2f} billion parameters; "
            f"smaller bases need larger steps.{swept(job.times.rate)}",
        ),
        warmup=Choice(warmup, f"{tables.WARM_UP:.0%} of the steps, so that the first do no harm."),
        scheduler=Choice("cosine", "Falls to zero, so that the last steps only polish."),
        micro_batch=Choice(
            way.micro_batch,
            f"The fastest that fits, {used}; × {way.accumulation} accumulated = {batch} examples "
            "a step whatever the machine.",
        ),
        accumulation=Choice(
            way.accumulation,
            f"{way.micro_batch} × {way.accumulation} = {batch}: "
            f"{count(rows.total, 'row')} call for {batch} examples a step.",
        ),
        exposures=Choice(
            round(exposures, 1),
            f"{said.thorough}: each of the {rows.wordings:.1f} wordings a fact has is seen "
            f"{exposures / rows.wordings:.1f} times.{few}{swept(job.times.practice)}",
        ),
        steps=Choice(
            steps,
            f"{count(rows.answered, 'wording')} and {count(rows.handed_over, 'question')} to hand "
            f"over{more}, {passes:.1f} times each, {batch} a step.",
        ),
        max_length=Choice(
            way.length,
            f"{length_note(rows)}, and a margin. Longer rows are refused, never cut.",
        ),
        checkpointing=Choice(
            way.checkpointing,
            "Recomputing the layers makes room at the price of a third more time."
            if way.checkpointing
            else "Not needed: everything fits without recomputing the layers.",
        ),
        save_every=Choice(
            save_every, "A tenth of the work at most is lost if the power fails, or seconds."
        ),
        keep=Choice(2, "The newest, and the one before in case the newest is damaged."),
        log_every=Choice(1, "Every step, so that trouble is seen at once."),
        answer_only_loss=Choice(True, "The bot is to learn the answers, not to write questions."),
        mode=Choice(
            mode,
            "Answers only with the FAQ's own text, word for word, so that no fact is invented."
            if said.mode == "auto"
            else YOURS,
        ),
        hand_over_share=Choice(
            tables.HAND_OVER_SHARE,
            f"One row in {1 / tables.HAND_OVER_SHARE:.0f} is a question that a person should "
            "answer, so that the bot learns to say so.",
        ),
        trainable=trainable,
        total=total,
        forecast=forecast,
        softmax=softmax(job),
        unpacked=Choice(
            way.unpacked,
            "There is room to unpack the 4-bit base once, which saves doing it in every step."
            if way.unpacked
            else "The base is kept as it is.",
        ),
        shard=_shard(job, way),
        patience=Choice(
            said.patience, YOURS if said.patience else "All steps are done: the last is the best."
        ),
        contrast=Choice(
            tables.CONTRAST,
            "Wordings of one answer are drawn together, so that unseen ones fall to it too.",
        ),
        warm=_warm(base.warm),
        reader=reader(job),
        reranker=reranker(said.reranker),
        book=chosen,
        shown=book.shown(chosen.value, job.faq, base.shape.vocab),
        **shared,
    )
