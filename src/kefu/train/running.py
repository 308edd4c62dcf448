"""train() and join(): a training from its first word to the finished run, in every process of it.

Does not know how the model is made ready (opening.py), nor how a step is done (the engines).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from ..errors import KefuError, RunError
from ..records import Example, Plan, Run
from ..weights import to_stderr
from ..workspace import RunFolder
from . import checkpoints, ladder, many, split
from .leaves import describe, finish, trainable
from .opening import open_session, watched
from .session import Asked, Interrupted, Look, OnStep


def train(
    plan: Plan,
    examples: Sequence[Example],
    folder: RunFolder,
    *,
    on_step: OnStep = lambda step: None,
    on_start: Callable[[int, int], None] = lambda trainable, total: None,
    held_out: Sequence[Example] = (),
    resume: bool = False,
    shard: bool | None = None,
    look: Look | None = None,
    say: Callable[[str], None] = to_stderr,
) -> Run:
    """Fine-tunes by `plan` on `examples` into `folder`, and returns what came of it.

    `on_start` hears the trainable and the total parameters, `on_step` every optimizer step.
    Where the plan has patience, training ends early once `held_out` wordings gain nothing more, and
    the best adapter is kept. With `resume` training goes on from the newest checkpoint that is
    whole. Over several processes the base is cut up where the plan says so, or `shard`. `look`
    shows the model on the way (not under TRL, nor one that is cut up). Writes plan.json,
    examples.jsonl, steps.jsonl, adapter/ (PEFT's own form, tokenizer beside it), loss.svg,
    versions.json and run.json.

    Raises RunError when the folder is held by another training, FaqError when a row is longer
    than the plan allows (nothing is ever cut) or when the disk is full, Interrupted on Ctrl-C
    with the last checkpoint kept, and on SIGTERM with one of the step that was being done.
    """
    cards = many.here()
    if not cards.first:  # a program of one's own under torchrun: rank 0 says what is done
        return join()
    if cards.world > 1 and plan.engine.value == "trl":
        raise RunError(
            "This plan is trained by TRL, which kefu runs in one process.",
            "Train on one card, without --gpus.",
        )
    if shard:
        split.refuse_unless_possible(cards.world)
    cut = cards.world > 1 and (plan.shard.value if shard is None else shard)
    if cut and look is not None:
        raise ValueError("A base that is cut up is looked at by all processes or none.")
    with folder.locked():
        if folder.finished:
            raise RunError(
                f"The run {folder.name} is finished already.", "Give a new one a name with --name."
            )
        of = checkpoints.digests(plan, examples)
        if resume:
            checkpoints.refuse_another(folder, of)
        describe(plan, examples, folder)
        work = _Work(plan, tuple(examples), folder, resume, cut, of, tuple(held_out))
        try:
            return _trained(cards.told(work), cards, on_step, on_start, say, look)
        except KeyboardInterrupt:
            path = checkpoints.newest(folder)
            when = (
                f"after step {checkpoints.step_of(path)}"
                if path
                else ("before its first checkpoint")
            )
            raise Interrupted(
                f"Training was stopped {when}.",
                f"Go on with `kefu train --resume {folder.name}`.",
            ) from None
        finally:
            many.leave()


def join() -> Run:
    """This process's share of a training that rank 0 of the same launch leads with `train`.

    Writes and says nothing. Ends the process when rank 0 ends, which says why.
    """
    cards = many.here()
    try:
        work: _Work = cards.told(None)
        return _trained(work, cards, lambda step: None, lambda *n: None, lambda text: None)
    except (KefuError, KeyboardInterrupt):
        sys.exit(2)
    finally:
        many.leave()


@dataclass(frozen=True, slots=True)
class _Work:
    """What every process has to know of a training."""

    plan: Plan
    examples: tuple[Example, ...]
    folder: RunFolder
    resume: bool
    shard: bool
    of: dict[str, str]
    held_out: tuple[Example, ...] = ()


def _trained(
    work: _Work,
    cards: many.Cards,
    on_step: OnStep,
    on_start: Callable[[int, int], None],
    say: Callable[[str], None],
    look: Look | None = None,
) -> Run:
    plan, folder, asked = work.plan, work.folder, Asked(alone=cards.world == 1)
    with asked.heard():
        with many.agreed(cards):
            session = open_session(plan, work.examples, folder, on_step, say, cards, work.shard)
            session.asked, session.look = asked, look
            session.watched = watched(session, work.examples, work.held_out)
        cut: dict[str, str] = {}
        if work.shard:  # not before all have opened it: none can be missing from here on
            said, cut = split.over_cards(session.model, session.device, cards)
            session.notes.append(said)
        with many.agreed(cards):
            session.of = work.of | {"base": checkpoints.base_digest(session.model, cut)}
            if work.resume:
                checkpoints.refuse_another(folder, session.of)
        on_start(trainable(session.model), plan.total.value)
        if plan.engine.value == "lean":
            session.plan, note = cards.told(ladder.remembered(plan))
            session.notes += [note] if note else []
        if plan.engine.value == "trl":
            from .trl_engine import run as run_engine
        else:
            from . import graphs, lean

            run_engine = graphs.run if graphs.possible(session) else lean.run
        asked.stepping = True
        try:
            run_engine(session, work.resume)
        except Exception as error:  # outside of what the ladder can mend, and in TRL
            if not ladder.short_of_memory(error):
                raise
            raise RunError(
                f"The memory of {plan.machine.name} is full.",
                "Close what else uses it, or take a smaller model with --base. Go on then with "
                f"`kefu train --resume {folder.name}`.",
            ) from None
        with checkpoints.writing(folder, folder.adapter) if cards.first else nullcontext():
            return finish(session)
