"""What to do when memory is short: the same step in smaller portions, then with less kept.

Each rung holds the effective batch and all that is learnt; a step is done again from the state
before it. What a machine could not hold is remembered beside the bases, so that the next run of
that size begins where this one ended. Delete `memory.json` there to forget it.

Never changes the base's precision, which would change what is learnt: that is for the person.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import KefuError, RunError
from ..records import Choice, Plan
from ..weights import cache_folder
from ..workspace import write_json
from . import checkpoints

if TYPE_CHECKING:
    from .session import Session

Steps = TypeVar("Steps", bound=Callable[..., None])


def short_of_memory(error: BaseException | None) -> bool:
    """Whether this is an accelerator's or the host's allocator that has no more to give."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and ("out of memory" in str(error).lower() or "can't allocate memory" in str(error))
    )


def gone(error: BaseException) -> bool:
    """Whether the accelerator itself has failed: nothing can be done with it in this process."""
    import torch

    kind = getattr(torch, "AcceleratorError", ())
    said = ("CUDA error", "CUDA driver error", "CUBLAS_STATUS", "CUDNN_STATUS", "NCCL error")
    failed = isinstance(error, kind) or any(word in str(error) for word in said)
    return failed and not short_of_memory(error)


def resumable(work: Steps) -> Steps:
    """An engine's steps that say how to go on where the accelerator fails in one of them."""

    @wraps(work)
    def told(session: Session, *rest: Any, **more: Any) -> None:
        try:
            work(session, *rest, **more)
        except RuntimeError as error:
            if not gone(error):
                raise
            last = checkpoints.newest(session.folder)
            kept = f"Step {checkpoints.step_of(last)} is kept. " if last else ""
            raise RunError(
                f"{session.plan.machine.name} failed while training: {_first(error)}.",
                f"{kept}Go on with `kefu train --resume {session.folder.name}`; where it fails "
                "again, restart the machine, or train on another one.",
            ) from None

    return cast(Steps, told)


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def remembered(plan: Plan) -> tuple[Plan, str]:
    """The plan as this machine can hold it by what it learnt, and a sentence where that differs."""
    found = _book().get(_key(plan))
    if not isinstance(found, dict):
        return plan, ""
    micro, again = found.get("micro_batch"), found.get("checkpointing") is True
    if not isinstance(micro, int) or micro < 1 or plan.effective_batch % micro:
        return plan, ""
    if micro >= plan.micro_batch.value and (not again or plan.checkpointing.value):
        return plan, ""
    made = _with(plan, min(micro, plan.micro_batch.value), again, "Memory was short here before.")
    return made, f"Begins with {_said(made)}, as memory was short here before."


def climb_down(session: Session, step: int) -> None:
    """Takes the next rung, tells it and remembers it. Raises RunError below the last one."""
    plan = session.plan
    micro = plan.micro_batch.value
    if micro > 1:
        smaller = max(n for n in range(1, micro // 2 + 1) if plan.effective_batch % n == 0)
        session.plan = _with(plan, smaller, plan.checkpointing.value, "Memory was short.")
    elif not plan.checkpointing.value:
        session.plan = _with(plan, 1, True, "Memory was short.")
        recompute(session.model)
    else:
        way = " take --precision nf4," if plan.precision.value != "nf4" else ""
        raise RunError(
            f"Step {step} needs more memory than there is, even one row at a time.",
            f"Close what else uses the memory of {plan.machine.name},{way} take a smaller model "
            "with --base, or shorten the longest answers. "
            f"Go on then with `kefu train --resume {session.folder.name}`.",
        )
    session.notes.append(
        f"Memory was short in step {step}: goes on with {_said(session.plan)}; what is learnt is "
        "the same."
    )
    if session.cards.first:
        book = _book()
        book[_key(plan)] = {
            "micro_batch": session.plan.micro_batch.value,
            "checkpointing": session.plan.checkpointing.value,
        }
        with suppress(KefuError, OSError):  # a cache that cannot be written costs a minute
            write_json(_place(), book)


def recompute(model: Any) -> None:
    """Gradient checkpointing: activations are computed again instead of kept."""
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()


def _with(plan: Plan, micro: int, again: bool, because: str) -> Plan:
    return replace(
        plan,
        micro_batch=Choice(micro, because),
        accumulation=Choice(plan.effective_batch // micro, because),
        checkpointing=Choice(plan.checkpointing.value or again, because),
    )


def _said(plan: Plan) -> str:
    rest = " and gradient checkpointing" if plan.checkpointing.value else ""
    return f"{plan.micro_batch.value} × {plan.accumulation.value} rows a step{rest}"


def _place() -> Path:
    return cache_folder() / "memory.json"


def _key(plan: Plan) -> str:
    parts = (
        plan.machine.name, plan.base.value, plan.precision.value, plan.rank.value,
        plan.max_length.value, plan.effective_batch,
    )  # fmt: skip
    return " | ".join(map(str, parts))


def _book() -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(_place().read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}
