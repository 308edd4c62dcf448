"""The lean engine: TRL's losses and gradients, without its waiting.

Rows are laid end to end as one sequence per micro-batch, so nothing is padded; position ids that
start again at 0 tell the attention where a row begins, so that a row's result does not depend on
its neighbours. Logits are computed only where there is a label (see loss.py).

Does not know where rows come from, nor what the adapter is for.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from transformers import get_scheduler

from ..prompt import IGNORED, Row
from ..workspace import write_text
from .loss import LabelLoss, frozen_head
from .session import Session, newest_checkpoint

CLIP = 1.0
"""The largest norm of a gradient; TRL's default."""


def run(session: Session, resume: bool) -> None:
    """All steps of the session's plan that are not done yet."""
    plan, model = session.plan, session.model
    if plan.checkpointing.value:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    weights = [p for p in model.parameters() if p.requires_grad]
    cuda = session.device.startswith("cuda")
    optimizer = torch.optim.AdamW(
        weights, lr=plan.learning_rate.value, weight_decay=0.0, fused=True
    )
    scheduler = get_scheduler(
        plan.scheduler.value,
        optimizer,
        num_warmup_steps=plan.warmup.value,
        num_training_steps=plan.steps.value,
    )
    scaler = torch.amp.GradScaler("cuda") if plan.compute.value == "fp16" else None
    done = _restore(session, optimizer, scheduler, scaler) if resume else 0
    session.done = done
    for number, rows in enumerate(session.batches(), start=1):
        if number <= done:
            continue
        labelled = sum(row.labelled for row in rows)
        total = torch.zeros((), device=session.device)
        for part in _parts(rows, plan.micro_batch.value):
            with _autocast(plan.compute.value, cuda):
                loss = summed_loss(model, part, session.device) / labelled
            (scaler.scale(loss) if scaler else loss).backward()
            total += loss.detach()
        if scaler:
            scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(weights, CLIP)
        rate = scheduler.get_last_lr()[0]
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        session.say(number, float(total), rate, float(norm))
        if number % plan.save_every.value == 0 and number < plan.steps.value:
            _save(session, number, optimizer, scheduler, scaler)


def _parts(rows: list[Row], micro: int) -> list[list[Row]]:
    """Micro-batches of rows of like length, so that attention wastes least."""
    ordered = sorted(rows, key=lambda row: len(row.ids))
    return [ordered[i : i + micro] for i in range(0, len(ordered), micro)]


def _autocast(compute: str, cuda: bool) -> Any:
    if not cuda or compute == "fp32":
        return nullcontext()
    return torch.autocast("cuda", torch.bfloat16 if compute == "bf16" else torch.float16)


def summed_loss(model: Any, rows: Sequence[Row], device: str) -> torch.Tensor:
    """Sum of the cross entropies, in nats, of all labels of `rows`, each row by itself.

    The token at position i predicts the label at i + 1, as everywhere in this field.
    """
    ids = torch.tensor([[i for row in rows for i in row.ids]], device=device)
    places = torch.tensor([[p for row in rows for p in range(len(row.ids))]], device=device)
    at, labels = [], []
    start = 0
    for row in rows:
        for i, label in enumerate(row.labels[1:]):
            if label != IGNORED:
                at.append(start + i)
                labels.append(label)
        start += len(row.ids)
    where = torch.tensor(at, device=device)
    target = torch.tensor(labels, device=device)
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = frozen_head(inner)
    if head is None:  # an unusual head: the model computes its own logits, at the labels only
        logits = inner(
            input_ids=ids, position_ids=places, use_cache=False, logits_to_keep=where
        ).logits
        return torch.nn.functional.cross_entropy(logits[0].float(), target, reduction="sum")
    weight, cap = head
    hidden = inner.get_decoder()(input_ids=ids, position_ids=places, use_cache=False)
    loss: torch.Tensor = LabelLoss.apply(hidden.last_hidden_state[0, where], weight, target, cap)
    return loss


# --- checkpoints ---------------------------------------------------------------


def _adapter_state(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def _save(session: Session, step: int, optimizer: Any, scheduler: Any, scaler: Any) -> None:
    """A whole checkpoint, or none: written beside its place, then moved there."""
    folder = session.folder.checkpoints
    folder.mkdir(exist_ok=True)
    work = folder / f".{step}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    state = {
        "adapter": _adapter_state(session.model),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "scaler": scaler.state_dict() if scaler else None,
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state() if session.device.startswith("cuda") else None,
        "python_rng": random.getstate(),
        "step": step,
    }
    torch.save(state, work / "state.pt")
    write_text(work / "step", f"{step}\n")
    place = folder / f"checkpoint-{step}"
    shutil.rmtree(place, ignore_errors=True)
    os.replace(work, place)  # noqa: PTH105
    kept = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rsplit("-", 1)[1]))
    for old in kept[: -session.plan.keep.value]:
        shutil.rmtree(old, ignore_errors=True)


def _restore(session: Session, optimizer: Any, scheduler: Any, scaler: Any) -> int:
    """Puts the newest checkpoint back and returns its step; 0 where there is none."""
    path = newest_checkpoint(session.folder)
    if path is None:
        return 0
    # Our own file; weights_only still keeps it from running anything.
    state = torch.load(path / "state.pt", map_location=session.device, weights_only=False)
    with torch.no_grad():
        for name, p in session.model.named_parameters():
            if p.requires_grad:
                p.copy_(state["adapter"][name])
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    if scaler and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    torch.set_rng_state(state["torch_rng"].cpu())
    if state["cuda_rng"] is not None:
        torch.cuda.set_rng_state(state["cuda_rng"].cpu())
    random.setstate(state["python_rng"])
    return int(state["step"])
