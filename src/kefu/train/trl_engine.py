"""The one file that touches TRL: its SFTTrainer on rows that kefu has tokenised."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..records import Plan
from . import checkpoints
from .guard import stop_unless_sound
from .session import Session


def run(session: Session, resume: bool) -> None:
    """All steps of the session's plan, by TRL."""
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import PrinterCallback, ProgressCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    plan = session.plan

    class Say(TrainerCallback):  # type: ignore[misc]
        """Passes the trainer's log on, one line an optimizer step."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                # Before the checkpoint of this step is written: the last one stays the good one.
                stop_unless_sound(
                    session,
                    state.global_step,
                    float(logs["loss"]),
                    # fp16's loss scaling passes over gradients that are too large.
                    0.0 if plan.compute.value == "fp16" else float(logs.get("grad_norm", 0.0)),
                )
                session.say(
                    state.global_step,
                    float(logs["loss"]),
                    float(logs.get("learning_rate", 0.0)),
                    float(logs.get("grad_norm", 0.0)),
                )

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_save = control.should_save or session.save_after(state.global_step)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            path = session.folder.checkpoints / f"checkpoint-{state.global_step}"
            with checkpoints.writing(session.folder, path):
                checkpoints.seal(path, session.of)
            checkpoints.prune(session.folder, plan.keep.value)
            session.stop_after(state.global_step)

    class Ordered(SFTTrainer):  # type: ignore[misc]
        """Takes the rows in kefu's order, so that both engines do the same steps."""

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset)

    classic = plan.recipe.value == "tutorial"
    rows = session.rows
    if not classic:
        rows = [session.rows[i] for batch in session.batches() for i in batch]
    data = Dataset.from_dict(
        {"input_ids": [list(r.ids) for r in rows], "labels": [list(r.labels) for r in rows]}
    )
    with _quiet():
        trainer = (SFTTrainer if classic else Ordered)(
            model=session.model,
            args=SFTConfig(**_arguments(plan, session)),
            train_dataset=data,
            processing_class=session.prompt.tokenizer,
            callbacks=[Say()],
        )
        # TRL turns the adapter of a 4-bit base into bf16, which fp16's loss scaling cannot take and
        # in which small steps are lost; both engines keep it in fp32.
        for weight in trainer.model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        found = checkpoints.newest(session.folder) if resume else None
        session.back_to(checkpoints.step_of(found) if found else 0)
        with checkpoints.writing(session.folder, session.folder.checkpoints):
            trainer.train(resume_from_checkpoint=str(found) if found else None)


def _arguments(plan: Plan, session: Session) -> dict[str, Any]:
    cuda = session.device.startswith("cuda")
    return {
        "output_dir": str(session.folder.checkpoints),
        "max_steps": plan.steps.value,
        "per_device_train_batch_size": plan.micro_batch.value,
        "gradient_accumulation_steps": plan.accumulation.value,
        "learning_rate": plan.learning_rate.value,
        "lr_scheduler_type": plan.scheduler.value,
        "warmup_steps": plan.warmup.value,
        "max_length": plan.max_length.value,
        "gradient_checkpointing": plan.checkpointing.value,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "logging_steps": 1,  # whoever shows fewer lines has all of them to draw from
        "logging_nan_inf_filter": False,  # a NaN that is filtered out is a NaN that nobody sees
        "save_steps": plan.save_every.value,
        "save_total_limit": None,  # old ones go when the new one is sealed, not before
        "bf16": cuda and plan.compute.value == "bf16",
        "fp16": cuda and plan.compute.value == "fp16",
        "use_cpu": not cuda,
        "dataloader_pin_memory": cuda,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": plan.seed.value,
        "data_seed": plan.seed.value,
        "packing": False,
        "shuffle_dataset": False,
        "remove_unused_columns": False,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps libraries' bars and notices out of the results; errors still come through."""
    loggers = [
        logging.getLogger(name) for name in ("transformers", "trl", "datasets", "accelerate")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    import warnings

    import datasets

    shown = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between TRL and transformers
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if not shown:
            datasets.enable_progress_bars()
