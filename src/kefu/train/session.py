"""One training session: what both engines share before, between and after their steps.

The order of rows, the LoRA model, the log of steps, checkpoints and the finished run folder.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import FaqError, KefuError, RunError
from ..prompt import Prompt, Row
from ..records import Example, Plan, Run, Step
from ..weights import load, to_stderr
from ..workspace import RunFolder, append_lines, dump, write_text
from . import checkpoints, ladder, many, split, warm
from .leaves import describe, finish, trainable

OnStep = Callable[[Step], None]


@dataclass
class Asked:
    """Whether the machine asked for an end, as cloud notebooks do some seconds before theirs.

    Of several processes one may hear it between two steps of another: they stop when all know.
    """

    alone: bool = True
    here: bool = False
    """This process was asked."""
    stop: bool = False
    """All know."""
    stepping: bool = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hears SIGTERM: between steps it ends at once, else once the step is done and saved."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python hands signals to the main thread alone
            return

        def hear(*_: Any) -> None:
            self.here = True
            self.stop = self.stop or self.alone
            if not self.stepping:
                raise KeyboardInterrupt

        before = signal.signal(signal.SIGTERM, hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True, slots=True)
class Look:
    """Shows the model in the middle of its training, each time once its checkpoint is written."""

    after: tuple[int, ...]
    """Steps."""
    see: Callable[[int, Any, Prompt, str], None]
    """Gets the step, the PEFT model, its prompt and its device; must change no weight."""


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
    cards: many.Cards = field(default_factory=lambda: many.Cards())
    split: bool = False
    """Whether the base is cut up over the cards, see split.py."""
    look: Look | None = None
    notes: list[str] = field(default_factory=list)
    """What happened since the last step that was told, in whole sentences."""
    watched: list[tuple[list[int], int]] = field(default_factory=list)
    """Held-out wordings as token ids, each with the number of its answer, see watch.py."""
    held_out: float | None = None
    """Share of them that was right when they were looked at after this step."""

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of every row."""
        return [len(row.ids) for row in self.rows]

    def batches(self) -> Iterator[list[int]]:
        """Row numbers of each optimizer step from the first on, the same for the same seed."""
        plan = self.plan
        return order(len(self.rows), plan.effective_batch, plan.steps.value, plan.seed.value)

    def back_to(self, step: int) -> None:
        """Forgets what was written about steps after `step`, which are about to be done again."""
        if not self.cards.first:
            return
        kept = [s for s in self.folder.steps() if s.step <= step]
        lines = [json.dumps(dump(s), ensure_ascii=False) + "\n" for s in kept]
        write_text(self.folder.steps_file, "".join(lines))

    def save_after(self, step: int) -> bool:
        """Whether a checkpoint is due: by the plan, or because training is to stop."""
        due = self.asked.stop or step % self.plan.save_every.value == 0 or self.looks_after(step)
        return due and step < self.plan.steps.value

    def looks_after(self, step: int) -> bool:
        """Whether somebody wants to see the model after this step."""
        return self.look is not None and step in self.look.after

    def show_after(self, step: int) -> None:
        """Shows the model, if it was asked for after this step; it goes on in train mode."""
        if self.look is not None and step in self.look.after:
            self.look.see(step, self.model, self.prompt, self.device)
            self.model.train()

    def stop_after(self, step: int) -> None:
        """Ends training between two steps, once its checkpoint is written, if that was asked."""
        if self.asked.stop and step < self.plan.steps.value:
            raise KeyboardInterrupt

    def say(self, step: int, loss: float, rate: float, norm: float) -> None:
        """Writes one finished optimizer step down, with what happened before it, and passes it
        on."""
        note = " ".join(self.notes)
        self.notes.clear()
        held_out, self.held_out = self.held_out, None
        if not self.cards.first:
            return
        record = Step(
            step=step,
            of=self.plan.steps.value,
            loss=loss,
            learning_rate=rate,
            grad_norm=norm,
            seconds=round(time.monotonic() - self.started, 3),
            memory=peak_memory(self.device),
            note=note,
            held_out=held_out,
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

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def train(
    plan: Plan,
    examples: Sequence[Example],
    folder: RunFolder,
    *,
    on_step: OnStep = lambda step: None,
    on_start: Callable[[int, int], None] = lambda trainable, total: None,
    held_out: Sequence[Example] = (),
    resume: bool = False,
    shard: bool = False,
    look: Look | None = None,
    say: Callable[[str], None] = to_stderr,
) -> Run:
    """Fine-tunes by `plan` on `examples` into `folder`, and returns what came of it.

    `on_start` hears the trainable and the total parameters, `on_step` every optimizer step.
    Where the plan has patience, training ends early once `held_out` wordings gain nothing more, and
    the best adapter is kept. With `resume` training goes on from the newest checkpoint that is
    whole; with `shard` the base is cut up over the processes of the launch. `look` shows it on the
    way (not under TRL). Writes plan.json, examples.jsonl, steps.jsonl, adapter/ (PEFT's own form,
    tokenizer beside it), loss.svg, versions.json and run.json.

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
    with folder.locked():
        if folder.finished:
            raise RunError(
                f"The run {folder.name} is finished already.", "Give a new one a name with --name."
            )
        of = checkpoints.digests(plan, examples)
        if resume:
            checkpoints.refuse_another(folder, of)
        describe(plan, examples, folder)
        work = _Work(plan, tuple(examples), folder, resume, shard, of, tuple(held_out))
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
            session = _open(plan, work.examples, folder, on_step, say, cards, work.shard)
            session.asked, session.look = asked, look
            session.watched = _watched(session, work)
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


def _open(
    plan: Plan,
    examples: Sequence[Example],
    folder: RunFolder,
    on_step: OnStep,
    say: Callable[[str], None],
    cards: many.Cards,
    shard: bool,
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
    place = f"cuda:{torch.cuda.current_device()}" if device == "cuda" else "cpu"
    loaded = load(
        plan.base.value,
        precision=plan.precision.value,
        compute=plan.compute.value,
        unpacked=plan.unpacked.value and not shard,
        device=place,
        turn=(cards.rank, cards.world) if shard else None,  # one card would not hold it
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
    if plan.warm.value:
        warm.start(model, plan.warm.value)
    model.train()
    if cards.rank:
        torch.manual_seed(plan.seed.value + cards.rank)  # what is dropped is drawn for each row
    numbers: dict[str, int] = {}
    owners = [
        -1 if e.answer is None else numbers.setdefault(e.answer, len(numbers)) for e in examples
    ]
    return Session(
        plan, rows, folder, model, prompt, place, on_step, owners, cards=cards, split=shard
    )


def _watched(session: Session, work: _Work) -> list[tuple[list[int], int]]:
    """Held-out wordings that have an answer among the trained ones."""
    if not session.plan.patience.value:
        return []
    numbers = {e.answer: n for e, n in zip(work.examples, session.owners, strict=True)}
    return [
        (session.prompt.ids(e.question), numbers[e.answer])
        for e in work.held_out
        if e.answer is not None and e.answer in numbers and not e.history
    ]


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
