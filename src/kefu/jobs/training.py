"""A prepared run is trained, resumed and made ready to answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .. import exam as exams
from ..records import Plan, Run, Split, Step
from ..weights import fetch, import_libraries, read_ahead
from ..workspace import RunFolder, Workspace, discard, write_json
from .preparing import Prepared

if TYPE_CHECKING:
    from ..bot import Bot
    from ..train import Look


def train(
    workspace: Workspace,
    prepared: Prepared,
    *,
    name: str | None = None,
    shard: bool | None = None,
    report_to: Sequence[str] = (),
    look: Look | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_start: Callable[[int, int], None] = lambda trainable, total: None,
) -> Run:
    """A new run: its folder, and the adapter in it. `settle` makes it ready to answer."""
    _import_for(prepared.plan)
    from .. import train as trainer

    if prepared.plan.reranker.value:  # is it here? Afterwards would be late
        fetch(prepared.plan.reranker.value)
    folder = workspace.create(name, prepared.plan.recipe.value)
    try:
        folder.keep_faq(prepared.faq)
        write_json(folder.file("split.json"), prepared.split, Split)
        exams.write(folder.file("exam.jsonl"), prepared.split.exam)
        with trainer.tracked(report_to, prepared.plan, folder) as told:
            run = trainer.train(
                prepared.plan,
                prepared.examples,
                folder,
                on_step=_both(told, on_step),
                on_start=on_start,
                held_out=prepared.split.held_out,
                shard=shard,
                look=look,
            )
    except trainer.Interrupted:
        raise
    except BaseException:
        if not any(folder.steps()):
            discard(folder)  # nothing was trained: leave no half-written folder behind
        raise
    return run


def resume(
    workspace: Workspace,
    name: str,
    *,
    shard: bool | None = None,
    report_to: Sequence[str] = (),
    look: Look | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_start: Callable[[int, int], None] = lambda trainable, total: None,
) -> Run:
    """Goes on with a run that was stopped, from its last checkpoint, by its own plan and rows."""
    folder = workspace.run(name)
    plan = folder.plan()
    _import_for(plan)
    from .. import train as trainer

    with trainer.tracked(report_to, plan, folder) as told:
        return trainer.train(
            plan,
            folder.examples(),
            folder,
            on_step=_both(told, on_step),
            on_start=on_start,
            held_out=folder.split().held_out,
            resume=True,
            shard=shard,
            look=look,
        )


def _import_for(plan: Plan) -> None:
    import_libraries(lambda: read_ahead(plan.base.value, plan.machine.device))


def _both(first: Callable[[Step], None], then: Callable[[Step], None]) -> Callable[[Step], None]:
    def told(step: Step) -> None:
        first(step)
        then(step)

    return told


def take_up(
    workspace: Workspace,
    name: str,
    prepared: Callable[[], Prepared],
    look: Callable[[RunFolder, Plan], Look | None] = lambda folder, plan: None,
) -> RunFolder:
    """The finished run `name`: trained now, gone on with where an earlier process was lost, or as
    it is. So it may be called again and again, on whatever machine sees the workspace."""
    folder = RunFolder(workspace.runs_folder / name)
    if folder.finished:
        return folder
    if folder.file("plan.json").is_file():
        resume(workspace, name, look=look(folder, folder.plan()))
    else:
        discard(folder)  # its process was lost before anything was trained
        made = prepared()
        train(workspace, made, name=name, look=look(folder, made.plan))
    return folder


def settle(folder: RunFolder, allowed: float) -> Bot:
    """Opens the trained bot and sets its threshold from the held-out questions.

    Raises RunError where the bot does not know what the run was trained on.
    """
    import_libraries()
    from .. import train as trainer
    from ..bot import Bot, calibrate

    bot = Bot.open(folder)
    if not bot.calibration.weights:  # once is enough: it has no threshold yet
        trainer.prove(folder, bot.engine, bot.prompt)
    if bot.plan.hand_over_share.value > 0:  # the tutorial's bot never learned to hand over
        calibrate(bot, folder.split().held_out, allowed)
    return bot


def launched() -> bool:
    """Whether torchrun, accelerate launch or `--gpus` started this process with others."""
    return processes() > 1


def processes() -> int:
    """How many train together in this launch."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def joined() -> bool:
    """In a process that is to help another one train: does its share, and returns True.

    The first process alone reads, plans, makes the run's folder and speaks.
    """
    if not launched() or os.environ.get("RANK", "0") == "0":
        return False
    import_libraries()
    from .. import train as trainer

    trainer.join()
    return True


def on_gpus(processes: int, words: Sequence[str]) -> int:
    """Runs the command `words` in so many processes, one a GPU; its exit code.

    Without a GPU they share the processor, which is for trying it out.
    """
    from .. import train as trainer

    return trainer.launch(processes, words)
