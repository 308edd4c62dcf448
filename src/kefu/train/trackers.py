"""Tells every step to the experiment trackers that a person already uses.

By the callbacks that transformers' trainer has for `report_to`, for both engines alike. Knows no
tracker by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..errors import SettingsError
from ..records import Plan, Step
from ..workspace import RunFolder, dump


@contextmanager
def tracked(
    names: Sequence[str], plan: Plan, folder: RunFolder
) -> Iterator[Callable[[Step], None]]:
    """What hears the steps of a training, as `train(on_step=...)` takes it.

    `names` as in transformers' `report_to`. A tracker that writes files writes them into the run's
    folder `trackers`. Raises SettingsError for one that is unknown or not installed.
    """
    if not names:
        yield lambda step: None
        return
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from transformers.integrations import get_reporting_integration_callbacks

    try:
        callbacks = [made() for made in get_reporting_integration_callbacks(list(names))]
    except (ValueError, RuntimeError, ImportError) as error:
        raise SettingsError(
            f"The experiment tracker in `report_to` cannot be used: {error}",
            "Install it, correct its name in kefu.toml, or take `report_to` out.",
        ) from None
    args = TrainingArguments(
        output_dir=str(folder.file("trackers")),
        run_name=folder.name,
        max_steps=plan.steps.value,
        per_device_train_batch_size=plan.micro_batch.value,
        gradient_accumulation_steps=plan.accumulation.value,
        learning_rate=plan.learning_rate.value,
        seed=plan.seed.value,
        report_to="none",
        use_cpu=plan.machine.device == "cpu",
    )
    state, control = TrainerState(max_steps=plan.steps.value), TrainerControl()

    def tell(step: Step) -> None:
        state.global_step = step.step
        told = dump(step)
        figures = ("loss", "learning_rate", "grad_norm", "seconds", "memory")
        logs = {name: float(told[name]) for name in figures}
        for callback in callbacks:
            callback.on_log(args, state, control, model=None, logs=dict(logs))

    for callback in callbacks:
        callback.on_train_begin(args, state, control, model=None)
    try:
        yield tell
    finally:
        for callback in callbacks:
            callback.on_train_end(args, state, control, model=None)
