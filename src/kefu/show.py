"""Every line that a terminal prints. Knows records; decides nothing.

On a terminal there are colours and a bar; in a pipe plain lines, one fact each.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

import click

from .advise import Advice
from .records import Choice, Comparison, Faq, Finding, Plan, Release, Run, Step, Threshold

COLOURS = {"stop": "red", "warn": "yellow", "note": "cyan"}
GIB = 2**30


def say(text: str = "") -> None:
    """One line of results."""
    click.echo(text)


def aside(text: str) -> None:
    """One line beside the results, which a pipe does not carry."""
    click.echo(text, err=True)


def error(what: str, fix: str, anchor: str = "") -> None:
    """What went wrong and what to do about it, and where the papers tell more."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {what}", err=True)
    if fix:
        click.echo(f"  {click.style('remedy:', fg='green')} {fix}", err=True)
    if anchor:
        said = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG")
        tongue = ".zh-TW" if (said or "").startswith("zh") else ""
        page = f"docs/guides/troubleshooting{tongue}.md#{anchor}"
        click.echo(f"  {click.style('more:', dim=True)} {page}", err=True)


def heading(text: str) -> None:
    """The title of a part."""
    click.echo(click.style(text, bold=True))


# --- the FAQ -------------------------------------------------------------------


def faq(found: Faq) -> None:
    """What was read, and how it was understood."""
    for source in found.sources:
        remark = f" ({source.remark})" if source.remark else ""
        say(
            f"read {source.file}: {source.pairs} pairs, {source.format}, {source.encoding}, "
            f"columns {source.question_column!r} and {source.answer_column!r}{remark}"
        )
    wordings = sum(len(p.wordings) for p in found.pairs)
    say(f"{len(found.pairs)} questions with answers, {wordings} other wordings")


def findings(found: Sequence[Finding], most: int = 200) -> None:
    """What is wrong with the FAQ: the worst first."""
    for level in ("stop", "warn", "note"):
        mine = [f for f in found if f.level == level]
        for finding in mine[:most]:
            mark = click.style(f"{level:4}", fg=COLOURS[level])
            say(f"{mark} {finding.code}: {_places(finding)}{finding.message} {finding.remedy}")
        if len(mine) > most:
            say(f"{level:4} and {len(mine) - most} more like these")
    counts = [f"{sum(f.level == k for f in found)} {k}" for k in ("stop", "warn", "note")]
    say(", ".join(counts))


def _places(finding: Finding) -> str:
    shown = [str(o) for o in finding.origins[:3] if str(o) not in finding.message]
    return f"{', '.join(shown)}: " if shown else ""


# --- the plan ------------------------------------------------------------------

_LABELS = {
    "recipe": "recipe", "base": "base model", "precision": "precision", "compute": "arithmetic",
    "unpacked": "4 bits unpacked once", "shard": "split over the GPUs",
    "engine": "engine", "template": "prompt template",
    "trainable": "trainable parameters", "total": "all parameters", "rank": "LoRA rank",
    "alpha": "LoRA alpha", "dropout": "LoRA dropout", "targets": "LoRA on",
    "learning_rate": "learning rate",
    "scheduler": "schedule", "warmup": "warm-up steps", "micro_batch": "micro-batch",
    "accumulation": "accumulation", "exposures": "exposures a fact", "steps": "optimizer steps",
    "max_length": "sequence length", "checkpointing": "gradient checkpointing",
    "answer_only_loss": "loss on the answer only", "softmax": "softmax over",
    "contrast": "contrast", "warm": "begins from", "reader": "questions read by",
    "reranker": "rows read by",
    "patience": "patience, steps",
    "save_every": "checkpoint every", "keep": "checkpoints kept",
    "log_every": "log every", "hand_over_share": "share to hand over", "mode": "answer mode",
    "book": "book", "shown": "rows in the prompt",
    "hand_over": "hand-over sentence", "persona": "persona", "seed": "seed",
}  # fmt: skip


def plan(made: Plan, reasons: bool = True) -> None:
    """Every number of the plan with its reason."""
    width = max(len(label) for label in _LABELS.values())
    for name, label in _LABELS.items():
        choice: Choice[Any] = getattr(made, name)
        if name == "unpacked" and made.precision.value != "nf4":
            continue
        if name in ("shard", "shown") and not choice.value:
            continue
        line = f"  {label:{width}}  {value(choice.value)}"
        say(
            f"{pad(line, width + 26)}  {click.style(choice.because, dim=True)}" if reasons else line
        )
    f = made.forecast
    parts = {
        "weights": f.weights, "adapters": f.adapters, "gradients": f.gradients,
        "optimizer": f.optimizer, "activations": f.activations, "logits": f.logits,
        "libraries": f.overhead,
    }  # fmt: skip
    detail = ", ".join(f"{k} {v / GIB:.2f}" for k, v in parts.items())
    say(f"  {'memory, GiB':{width}}  {f.memory / GIB:.2f} on {made.machine.name} ({detail})")
    say(f"  {'time':{width}}  about {duration(f.seconds)}")


def value(value: Any) -> str:
    """A value of the plan as a person reads it."""
    if isinstance(value, tuple):
        return ", ".join(str(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) or "none"


def pad(text: str, width: int) -> str:
    """`text` filled up with blanks to `width` columns; a Chinese character takes two."""
    taken = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
    return text + " " * max(0, width - taken)


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


# --- training ------------------------------------------------------------------

RECENT, ODD = 32, 4
"""Steps whose pace tells the time left, but for those that took so many times the usual."""


def pace(ends: Iterable[float]) -> float:
    """Seconds a step, from when the last ones ended, in seconds; 0 while nobody can tell."""
    gaps = [b - a for a, b in pairwise([*ends][-RECENT:]) if b > a]
    if not gaps:
        return 0.0
    usual = median(gaps)  # what a GPU records and the first steps wait for comes once
    return mean(gap for gap in gaps if gap <= ODD * usual)


class Progress:
    """A bar with loss, rate and time left on a terminal; one line a step elsewhere."""

    EVERY = 10
    """Steps to a line of the tutorial's, which tells their mean loss."""

    def __init__(self, classic: bool = False) -> None:
        self.classic = classic
        self.planned = 0.0
        """Seconds that the plan said for the whole run, until steps tell better; 0 for unknown."""
        self._losses: list[float] = []
        self._seen: deque[float] = deque(maxlen=RECENT)
        self._bar: Any = None
        self._task: Any = None

    def start(self, trainable: int, total: int) -> None:
        """The line that every tutorial shows."""
        say(
            f"trainable params: {trainable:,} || all params: {total:,} || "
            f"trainable%: {100 * trainable / total:.4f}"
        )

    def step(self, step: Step) -> None:
        """One optimizer step is done."""
        if step.note:
            (self._bar.console.print if self._bar else say)(step.note)
        if self.classic:
            self._losses.append(step.loss)
            if step.step % self.EVERY == 0:
                say(f"Step {step.step}: loss={sum(self._losses) / len(self._losses):.3f}")
                self._losses.clear()
            return
        if not sys.stdout.isatty():
            say(
                f"step {step.step}/{step.of} loss={step.loss:.4f} "
                f"rate={step.learning_rate:.2e} left={self._left(step)}"
            )
            return
        from rich.progress import BarColumn, Progress, TextColumn

        if self._bar is None:
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(bar_width=30),
                TextColumn("{task.completed:.0f}/{task.total:.0f}  {task.fields[told]}"),
            )
            self._task = self._bar.add_task("", total=step.of, told="")
            self._bar.start()
        told = (
            f"loss {step.loss:.4f}  rate {step.learning_rate:.1e}  "
            f"{step.memory / GIB:.1f} GiB  {self._left(step)} left"
        )
        self._bar.update(self._task, completed=step.step, told=told)
        if step.step == step.of:
            self.close()

    def _left(self, step: Step) -> str:
        self._seen.append(step.seconds)
        # From the first step's end on: what comes before it comes once. Until then the plan's word.
        each = pace(self._seen) or self.planned / step.of
        return duration(each * (step.of - step.step)) if each else "?"

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def trained(run: Run, curve: str) -> None:
    """What came of a training."""
    if curve:
        say(f"loss {curve}")
    say(
        f"run {run.name}: {run.steps} steps in {duration(run.seconds)}, "
        f"loss {run.first_loss:.4f} -> {run.last_loss:.4f}"
    )
    say(f"in {os.path.relpath(run.folder)}")


def threshold(made: Threshold) -> None:
    """A run's threshold, and what other shares of false answers would mean for its answers."""
    head = ("allowed", "threshold", "answered", "of these wrong")
    lines = [(made.now, "now "), *((line, "") for line in made.others)]
    rows = [
        (
            f"{mark}{one.allowed:.0%}",
            f"{one.threshold:.4f}",
            f"{one.answered:.0%}",
            f"{one.wrong:.1%}",
        )
        for one, mark in lines
    ]
    for line in table(head, rows):
        say(line)
    if made.reranker:
        say(f"rows are read by {made.reranker}")
    say("Of held-out questions, whose wordings are made by rule; what customers ask is harder.")


def trial(name: str, part: float, right: int, asked: int, fault: str = "") -> None:
    """How a trial of a sweep stands after `part` (0 to 1) of its training."""
    say(f"{name}: {fault}" if fault else f"{name}: {part:.0%} trained, {right}/{asked} right")


def trained_one(faq: str, name: str, fault: str, done: int, of: int) -> None:
    """What came of one FAQ of many."""
    told = click.style(fault, fg="red") if fault else f"run {name}"
    say(f"{done}/{of} {faq}: {told}")


# --- runs and releases ------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table whose columns stand below each other, Chinese included."""
    all_rows = [list(head), *[list(r) for r in rows]]
    widths = [max(_columns(r[i]) for r in all_rows) for i in range(len(head))]
    for row in all_rows:
        yield "  ".join(pad(cell, w) for cell, w in zip(row, widths, strict=True)).rstrip()


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def advice(made: Advice, most: int = 12) -> None:
    """Why an exam fell short: the cause that explains most first, each row by row."""
    say(made.sentence)
    if made.asked > made.right:
        say(
            f"{made.right} of {made.asked} right, {made.wrong} wrong, {made.handed_over} handed "
            "over that the FAQ answers"
        )
    for number, cause in enumerate(made.causes, start=1):
        say()
        mark = click.style(f"{number}. {cause.name}", fg="yellow", bold=True)
        say(f"{mark} ({cause.explains} of {made.asked - made.right}): {cause.because}")
        for case in cause.cases[:most]:
            place = f"{case.origin}: " if case.origin else ""
            name = f"“{case.question}” " if case.question else ""
            say(f"   {case.explains:3} × {place}{name}{case.said}")
        if len(cause.cases) > most:
            say(f"   and {len(cause.cases) - most} more rows like these")
        say(f"   {click.style('remedy:', fg='green')} {cause.remedy}")
    if made.remarks:
        say()
    for remark in made.remarks:
        say(remark)
    if any(cause.again for cause in made.causes):
        say()
        say(f"What training can change: {command('train', '--again', made.run)}")


def again(changes: Iterable[tuple[str, str, str, str]], left: Iterable[str]) -> None:
    """What a run does otherwise than the one before (what, before, after, why), and what is left
    to a person."""
    for what, before, after, because in changes:
        say(f"{what}: {before} -> {after}  {because}")
    for remedy in left:
        say(f"{click.style('left to you:', fg='yellow')} {remedy}")


def comparison(made: Comparison) -> None:
    """What changed between two runs, and what it did to the answers."""
    say(made.sentence)
    for what, a, b in made.changed:
        say(f"  {what}: {a} -> {b}")
    for question in made.fixed:
        say(f"  {click.style('fixed', fg='green')}  {question}")
    for question in made.broken:
        say(f"  {click.style('broken', fg='red')} {question}")


def release(made: Release) -> None:
    """One release record."""
    what = "back to" if made.back else "released"
    say(f"{what} {made.run} by {made.by} at {made.at}")


def command(*words: object) -> str:
    """A kefu command as a person can type it here, whether the environment is active or not."""
    beside = Path(sys.executable).with_name("kefu")
    name = "kefu" if shutil.which("kefu") else os.path.relpath(beside)
    return shlex.join([name, *map(str, words)])


@contextmanager
def counting(what: str) -> Iterator[Any]:
    """A counter on a terminal's last line; nothing in a pipe."""
    shown = sys.stderr.isatty()

    def tell(done: int, of: int) -> None:
        if shown:
            click.echo(f"\r{what} {done}/{of} ", nl=False, err=True)

    try:
        yield tell
    finally:
        if shown:
            click.echo("\r" + " " * 60 + "\r", nl=False, err=True)
