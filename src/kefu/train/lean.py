"""The lean engine: TRL's losses and gradients, without its waiting.

Rows are laid end to end as one sequence per micro-batch, so nothing is padded; position ids that
start again at 0 tell the attention where a row begins, so that a row's result does not depend on
its neighbours. Logits are computed only where there is a label (see loss.py).

Does not know where rows come from, nor what the adapter is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import get_scheduler

from ..errors import RunError
from ..prompt import IGNORED, Row
from ..records import Plan
from ..weights import frozen_head
from .checkpoints import Moving
from .contrast import Bank
from .guard import Guard
from .ladder import climb_down, recompute, resumable, short_of_memory
from .loss import LabelLoss, Likely
from .session import Session
from .untrained import look
from .watch import watch_of

CLIP = 1.0
"""The largest norm of a gradient; TRL's default."""


@resumable
def run(
    session: Session, resume: bool, begun: tuple[dict[str, Any], Bank | None] | None = None
) -> None:
    """All steps of the session's plan that are not done yet.

    `begun` is the state of steps that another engine did, and the bank that it did them with.
    """
    plan, model = session.plan, session.model
    if plan.checkpointing.value:
        recompute(model)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        weights, lr=plan.learning_rate.value, weight_decay=0.0, fused=True
    )
    scheduler = schedule(plan, optimizer)
    scaler = torch.amp.GradScaler("cuda") if plan.compute.value == "fp16" else None
    # Of the untrained model, also when training goes on: before the adapter is restored.
    likely, bank = look(session, begun is None)
    bank = begun[1] if begun else bank
    moving = Moving(model, optimizer, scheduler, scaler, bank, session.device)
    guard = Guard(session, moving)
    watch = moving.watch = watch_of(session, bank)
    if begun:
        number = moving.put(begun[0])
    else:
        number = moving.restore(session.folder) if resume else 0
        session.back_to(number)
    steps = list(session.batches())
    while number < len(steps) and not (watch and watch.over):
        guard.keep(number)
        number += 1
        part = likely if number % Likely.EVERY else None
        total = _gradient(session, steps[number - 1], weights, scaler, bank, part)
        while total is None:
            _smaller(session, moving, number)
            total = _gradient(session, steps[number - 1], weights, scaler, bank, part)
        if scaler:
            scaler.unscale_(optimizer)
        norm = float(torch.nn.utils.clip_grad_norm_(weights, CLIP))
        wrong = guard.wrong(number, float(total), norm)
        if wrong:
            optimizer.zero_grad(set_to_none=True)
            if scaler:
                scaler.update()
            number = guard.back(number, wrong)
            continue
        rate = guard.rate(number, scheduler.get_last_lr()[0])
        for group in optimizer.param_groups:
            group["lr"] = rate
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        if watch:
            watch.look(number, float(total))
        session.say(number, float(total), rate, norm)
        if session.save_after(number):
            if session.cards.first:
                moving.save(session.folder, number, session.of, plan.keep.value)
                session.show_after(number)
            session.stop_after(number)
    if watch:
        watch.end()


def schedule(plan: Plan, optimizer: Any) -> Any:
    """The plan's learning rate over its steps."""
    return get_scheduler(
        plan.scheduler.value,
        optimizer,
        num_warmup_steps=plan.warmup.value,
        num_training_steps=plan.steps.value,
    )


def _gradient(
    session: Session,
    rows: list[int],
    weights: Sequence[Any],
    scaler: Any,
    bank: Bank | None,
    likely: Likely | None,
) -> torch.Tensor | None:
    """The loss of a step's rows, with its gradient in `weights`, over all processes.

    None where memory was short in one of them; then nothing has changed.
    """
    plan, cards = session.plan, session.cards
    labelled = sum(session.rows[i].labelled for i in rows)
    shares = cards.shares(rows, session.lengths)
    mine = shares[cards.rank]
    parts = _by_length(session, mine, plan.micro_batch.value)
    if session.split:  # every card is needed for each portion of any
        most = max(-(-len(share) // plan.micro_batch.value) for share in shares)
        parts += [[] for _ in range(most - len(parts))]
    total = torch.zeros((), device=session.device)
    short = False
    try:
        for part in parts:
            with autocast(plan.compute.value, session.device.startswith("cuda")):
                packed = [session.rows[i] for i in part or rows[:1]]
                summed, apart = summed_loss(
                    session.model, packed, session.device, likely, bank if part else None, part
                )
                loss = summed / labelled if part else summed * 0
                aim = loss + plan.contrast.value * apart / len(rows)
            torch.autograd.backward(scaler.scale(aim) if scaler else aim)
            total += loss.detach()
    except (torch.OutOfMemoryError, RuntimeError) as error:
        # A card that lacks memory in the middle of a cut-up base leaves the others waiting.
        if session.split or not short_of_memory(error):
            raise
        short = True
    if short:  # what the error held on to is let go only now
        for weight in weights:
            weight.grad = None
    if cards.world > 1:
        # Before unscaling: an overflow on one rank is then one on all.
        asked, lacking = (total.new_tensor(float(x)) for x in (session.asked.here, short))
        total, asked, lacking = cards.sum_up(weights, total, asked, lacking)
        session.asked.stop, short = bool(asked), bool(lacking)
    if short:
        for weight in weights:
            weight.grad = None
        if bank is not None:
            bank.forget()
        return None
    if bank is not None:
        bank.remember()
        cards.same_bank(bank, rows, mine)
    return total


def _smaller(session: Session, moving: Moving, number: int) -> None:
    """Takes the ladder's next rung; below the last one the state before the step is kept."""
    if session.device.startswith("cuda"):
        torch.cuda.empty_cache()
    try:
        climb_down(session, number)
    except RunError:
        if session.cards.first and number > 1:
            moving.save(session.folder, number - 1, session.of, session.plan.keep.value)
        raise


def _by_length(session: Session, rows: list[int], micro: int) -> list[list[int]]:
    """Micro-batches of row numbers, rows of like length together."""
    ordered = sorted(rows, key=lambda i: len(session.rows[i].ids))
    return [ordered[i : i + micro] for i in range(0, len(ordered), micro)]


def autocast(compute: str, cuda: bool) -> Any:
    if not cuda or compute == "fp32":
        return nullcontext()
    return torch.autocast("cuda", torch.bfloat16 if compute == "bf16" else torch.float16)


def summed_loss(
    model: Any,
    rows: Sequence[Row],
    device: str,
    likely: Likely | None = None,
    bank: Bank | None = None,
    numbers: Sequence[int] = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the cross entropies, in nats, of all labels of `rows`, each row by itself.

    The token at position i predicts the label at i + 1, as everywhere in this field. With
    `likely` the softmax runs over that part of the vocabulary only. The second value is the
    contrast of the rows (whose numbers in the `bank` are given) where there is a bank, else 0.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    ids, places, where, target, starts = _packed(rows, device)
    head = frozen_head(inner)
    if head is None:  # an unusual head: the model computes its own logits, at the labels only
        logits = inner(
            input_ids=ids, position_ids=places, use_cache=False, logits_to_keep=where
        ).logits
        loss = torch.nn.functional.cross_entropy(logits[0].float(), target, reduction="sum")
        return loss, loss.new_zeros(())
    weight, cap = head
    out = inner.get_decoder()(input_ids=ids, position_ids=places, use_cache=False)
    hidden = out.last_hidden_state[0]
    if likely is not None:
        weight, target = likely.weight, likely.labels(target)
    summed: torch.Tensor = LabelLoss.apply(hidden[where], weight, target, cap)  # type: ignore[no-untyped-call]
    at = torch.tensor(list(numbers), device=device)
    apart = bank.loss(hidden[starts], at) if bank is not None else summed.new_zeros(())
    return summed, apart


@dataclass(frozen=True, slots=True)
class Laid:
    """Rows end to end: `ids` and `places` (positions, from 0 in every row) of n tokens; `where`
    and `target`, the places before the k labels and their ids; `starts`, the place of each row's
    last token before its answer begins."""

    ids: list[int]
    places: list[int]
    where: list[int]
    target: list[int]
    starts: list[int]


def laid(rows: Sequence[Row]) -> Laid:
    """Lays rows end to end."""
    found = Laid([], [], [], [], [])
    for row in rows:
        start = len(found.ids)
        found.ids.extend(row.ids)
        found.places.extend(range(len(row.ids)))
        for i, label in enumerate(row.labels[1:]):
            if label != IGNORED:
                found.where.append(start + i)
                found.target.append(label)
        found.starts.append(found.where[-row.labelled] if row.labelled < len(row.ids) else start)
    return found


def _packed(
    rows: Sequence[Row], device: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `laid` says, as tensors: ids and places (1, n), where and target (k,), starts (r,)."""
    found = laid(rows)
    ids, places = (torch.tensor([x], device=device) for x in (found.ids, found.places))
    where, target, starts = (
        torch.tensor(x, device=device) for x in (found.where, found.target, found.starts)
    )
    return ids, places, where, target, starts
