"""One training session: what both engines share before, between and after their steps.

The order of rows, the LoRA model, the log of steps, checkpoints and the finished run folder.
"""

from __future__ import annotations

import hashlib
import json
import platform
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..errors import FaqError, KefuError, RunError
from ..prompt import Prompt, Row
from ..records import Example, Plan, Run, Step
from ..weights import load, to_stderr
from ..workspace import RunFolder, append_lines, dump, write_json, write_text
from . import checkpoints, curve

OnStep = Callable[[Step], None]
VERSIONED = (
    "kefu", "torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets",
    "safetensors",
)  # fmt: skip


@dataclass
class Asked:
    """Whether the machine asked for an end, as cloud notebooks do some seconds before theirs."""

    stop: bool = False
    stepping: bool = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hears SIGTERM: between steps it ends at once, else once the step is done and saved."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python hands signals to the main thread alone
            return

        def hear(*_: Any) -> None:
            self.stop = True
            if not self.stepping:
                raise KeyboardInterrupt

        before = signal.signal(signal.SIGTERM, hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


class Interrupted(KefuError):
    """The person stopped the training; the last checkpoint is kept."""


@dataclass
class Session:
    """Everything an engine needs. `model` is a PEFT model on the plan's device, in train mode."""

    plan: Plan
    rows: list[Row]
    folder: RunFolder
    model: Any
    prompt: Prompt
    device: str
    on_step: OnStep
    owners: list[int] = field(default_factory=list)
    """For each row the number of its answer, -1 for the hand-over."""
    started: float = field(default_factory=time.monotonic)
    of: dict[str, str] = field(default_factory=dict)
    """Digests of plan, FAQ and base, which every checkpoint bears."""
    asked: Asked = field(default_factory=lambda: Asked())

    def batches(self) -> Iterator[list[int]]:
        """Row numbers of each optimizer step from the first on, the same for the same seed."""
        plan = self.plan
        return order(len(self.rows), plan.effective_batch, plan.steps.value, plan.seed.value)

    def back_to(self, step: int) -> None:
        """Forgets what was written about steps after `step`, which are about to be done again."""
        kept = [s for s in self.folder.steps() if s.step <= step]
        lines = [json.dumps(dump(s), ensure_ascii=False) + "\n" for s in kept]
        write_text(self.folder.steps_file, "".join(lines))

    def save_after(self, step: int) -> bool:
        """Whether a checkpoint is due: by the plan, or because training is to stop."""
        due = self.asked.stop or step % self.plan.save_every.value == 0
        return due and step < self.plan.steps.value

    def stop_after(self, step: int) -> None:
        """Ends training between two steps, once its checkpoint is written, if that was asked."""
        if self.asked.stop and step < self.plan.steps.value:
            raise KeyboardInterrupt

    def say(self, step: int, loss: float, rate: float, norm: float, note: str = "") -> None:
        """Writes one finished optimizer step down and passes it on."""
        record = Step(
            step=step,
            of=self.plan.steps.value,
            loss=loss,
            learning_rate=rate,
            grad_norm=norm,
            seconds=round(time.monotonic() - self.started, 3),
            memory=peak_memory(self.device),
            note=note,
        )
        with checkpoints.writing(self.folder, self.folder.steps_file):
            append_lines(self.folder.steps_file, [json.dumps(dump(record), ensure_ascii=False)])
        self.on_step(record)


def order(rows: int, batch: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Row numbers of each step: one shuffled pass after another, without a break between."""
    made = 0
    waiting: list[int] = []
    while made < steps:
        shuffled = list(range(rows))
        # A seed of its own for every pass, and the same on every version of Python.
        random.Random(f"{seed}:{made}:{len(waiting)}").shuffle(shuffled)
        waiting.extend(shuffled)
        while len(waiting) >= batch and made < steps:
            yield waiting[:batch]
            waiting = waiting[batch:]
            made += 1


def peak_memory(device: str) -> int:
    """Bytes: the most that was allocated on the GPU, or that this process held on a CPU."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def train(
    plan: Plan,
    examples: Sequence[Example],
    folder: RunFolder,
    *,
    on_step: OnStep = lambda step: None,
    on_start: Callable[[int, int], None] = lambda trainable, total: None,
    resume: bool = False,
    say: Callable[[str], None] = to_stderr,
) -> Run:
    """Fine-tunes by `plan` on `examples` into `folder`, and returns what came of it.

    `on_start` hears the trainable and the total parameters, `on_step` every optimizer step.
    With `resume` training goes on from the newest checkpoint that is whole. Writes plan.json,
    examples.jsonl, steps.jsonl, adapter/ (PEFT's own form, tokenizer beside it), loss.svg,
    versions.json and run.json.

    Raises RunError when the folder is held by another training, FaqError when a row is longer
    than the plan allows (nothing is ever cut) or when the disk is full, Interrupted on Ctrl-C
    with the last checkpoint kept, and on SIGTERM with one of the step that was being done.
    """
    asked = Asked()
    with folder.locked():
        if folder.finished:
            raise RunError(
                f"The run {folder.name} is finished already.", "Give a new one a name with --name."
            )
        of = checkpoints.digests(plan, examples)
        if resume:
            checkpoints.refuse_another(folder, of)
        _describe(plan, examples, folder)
        try:
            with asked.heard():
                session = _open(plan, examples, folder, on_step, on_start, say)
                session.of = of | {"base": checkpoints.base_digest(session.model)}
                session.asked = asked
                if resume:
                    checkpoints.refuse_another(folder, session.of)
                if plan.engine.value == "trl":
                    from .trl_engine import run as run_engine
                else:
                    from . import graphs, lean

                    run_engine = graphs.run if graphs.possible(session) else lean.run
                asked.stepping = True
                run_engine(session, resume)
                with checkpoints.writing(folder, folder.adapter):
                    return _finish(session)
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


def _describe(plan: Plan, examples: Sequence[Example], folder: RunFolder) -> None:
    """Everything that is needed to repeat the run, before it begins."""
    write_json(folder.file("plan.json"), plan, Plan)
    lines = [json.dumps(dump(e), ensure_ascii=False) for e in examples]
    write_text(folder.file("examples.jsonl"), "\n".join(lines) + "\n")
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in VERSIONED:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    versions["examples_sha256"] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    versions["faq_digest"] = plan.faq_digest
    write_json(folder.file("versions.json"), versions)


def _open(
    plan: Plan,
    examples: Sequence[Example],
    folder: RunFolder,
    on_step: OnStep,
    on_start: Callable[[int, int], None],
    say: Callable[[str], None],
) -> Session:
    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import set_seed

    device = plan.machine.device
    if device == "cuda" and not torch.cuda.is_available():
        raise RunError(
            "The plan is for a GPU, and there is none here.", "Make the plan on this machine."
        )
    set_seed(plan.seed.value)
    loaded = load(
        plan.base.value,
        precision=plan.precision.value,
        compute=plan.compute.value,
        unpacked=plan.unpacked.value,
        device="cuda:0" if device == "cuda" else "cpu",
        trust_remote_code=plan.trust_remote_code,
        say=say,
    )
    prompt = Prompt(
        loaded.tokenizer,
        plan.template.value,
        persona=plan.persona.value,
        hand_over=plan.hand_over.value,
    )
    rows = [prompt.row(e, answer_only=plan.answer_only_loss.value) for e in examples]
    _check(rows, examples, plan, prompt)
    targets = plan.targets.value
    config = LoraConfig(
        r=plan.rank.value,
        lora_alpha=plan.alpha.value,
        lora_dropout=plan.dropout.value,
        target_modules="all-linear" if targets == ("all-linear",) else list(targets),
        bias="none",
        task_type=TaskType.CAUSAL_LM,
    )
    set_seed(plan.seed.value)  # the adapter's first values depend on nothing that came before
    model = get_peft_model(loaded.model, config)
    model.train()
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    on_start(trainable, plan.total.value)
    numbers: dict[str, int] = {}
    owners = [
        -1 if e.answer is None else numbers.setdefault(e.answer, len(numbers)) for e in examples
    ]
    return Session(plan, rows, folder, model, prompt, loaded.device, on_step, owners)


def _check(rows: list[Row], examples: Sequence[Example], plan: Plan, prompt: Prompt) -> None:
    """Every row fits, and ends in a terminator that is learned."""
    if not rows:
        raise FaqError("There is nothing to train: no rows.", "Add questions with answers.")
    most = plan.max_length.value
    for row, example in zip(rows, examples, strict=True):
        if len(row.ids) > most:
            raise FaqError(
                f"The question {example.question!r} makes {len(row.ids)} tokens with its answer, "
                f"and the plan allows {most}.",
                "Shorten the answer; kefu never cuts one silently.",
            )
        # A bot without it never stops.
        if not example.brief and row.labels[-1] != prompt.terminator:
            raise FaqError(
                f"The row of {example.question!r} does not end in the terminator.",
                "This is a fault of kefu's templates: please report it.",
            )


def _finish(session: Session) -> Run:
    folder, plan = session.folder, session.plan
    work = folder.file(".adapter")
    shutil.rmtree(work, ignore_errors=True)
    session.model.save_pretrained(str(work))
    session.prompt.tokenizer.save_pretrained(str(work))
    # PEFT writes a model card of its own with this machine's path to the base in it.
    with suppress(OSError):
        (work / "README.md").unlink()
    _name_base(work / "adapter_config.json", plan.base.value)
    shutil.rmtree(folder.adapter, ignore_errors=True)
    checkpoints.sync_all(work)
    work.replace(folder.adapter)
    checkpoints.sync_all(folder.adapter)
    steps = list(folder.steps())
    write_text(folder.file("loss.svg"), curve.loss_picture(steps))
    trainable = sum(p.numel() for p in session.model.parameters() if p.requires_grad)
    run = Run(
        name=folder.name,
        folder=str(folder.path),
        steps=steps[-1].step if steps else 0,
        first_loss=steps[0].loss if steps else 0.0,
        last_loss=steps[-1].loss if steps else 0.0,
        seconds=round(time.monotonic() - session.started, 2),
        trainable=trainable,
        total=plan.total.value,
    )
    write_json(folder.file("run.json"), run, Run)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return run


def _name_base(path: Path, base: str) -> None:
    """Embedded bases keep their cache path, so that plain PEFT finds them on this machine."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.setdefault("base_model_name_or_path", base)
    # PEFT keeps names as a set, whose order is another in every process.
    for name, value in config.items():
        if name in ("target_modules", "modules_to_save") and isinstance(value, list):
            config[name] = sorted(value)
    write_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")
