"""The work behind the commands: each function takes a workspace and calls the rooms in order.

Prints nothing and never exits; the command line and the studio are two faces of it. torch comes
in only where something is trained or answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import exam as exams
from . import plan as plans
from .errors import FaqError, RunError
from .faq import check, read
from .records import (
    Choice,
    Comparison,
    Example,
    ExamQuestion,
    Faq,
    Finding,
    Machine,
    Mode,
    Pair,
    Plan,
    Release,
    Reply,
    Report,
    Run,
    Split,
    Step,
    Verdict,
)
from .reword import reword
from .settings import FILE, Settings
from .weights import local_counter
from .workspace import RunFolder, Workspace, cannot_write, discard, read_json, write_json

if TYPE_CHECKING:
    from .bot import Bot

TEMPLATES = ("kefu.toml", "faq.csv")
WORDINGS, ROWS = 12, 600
"""Wordings that a row is filled up to by rules at most, and rows that this may make in all."""
HISTORY_SHARE = 0.08
"""Of the training rows, how many are asked again after another topic."""


def init(folder: Path) -> tuple[Path, ...]:
    """Puts kefu.toml and a sample FAQ into `folder`; files that are there already stay."""
    made = []
    for name in TEMPLATES:
        path = folder / name
        if path.exists():
            continue
        text = files("kefu").joinpath(f"templates/{name}").read_bytes()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
        except OSError as error:
            raise cannot_write(path, error) from None
        made.append(path)
    return tuple(made)


# --- from the file to a plan ---------------------------------------------------


def open_faq(
    workspace: Workspace, settings: Settings, path: str | None, **columns: str | None
) -> Faq:
    """The FAQ that was named, else the one of kefu.toml."""
    if path is None and not settings.faq:
        raise FaqError(
            "No FAQ was named.",
            f'Name one, or write `faq = "FILE"` into {FILE} (`kefu init` makes one).',
        )
    place = Path(path) if path is not None else workspace.root / settings.faq
    return read(place, **columns)


def check_faq(faq: Faq, settings: Settings) -> list[Finding]:
    """What is wrong with the FAQ, counted in the base's own tokens where its tokenizer is here."""
    name = settings.base if settings.base != "auto" else plans.catalogue()[0].name
    return list(check(faq, count_tokens=_counter(name), max_tokens=None))


def _counter(name: str) -> Callable[[str], int] | None:
    try:
        return local_counter(name)
    except Exception:  # a base that is not here yet is no reason to refuse an FAQ
        return None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is decided before anything heavy is loaded."""

    faq: Faq
    split: Split
    examples: tuple[Example, ...]
    """What is trained: wordings, hand-overs, and some of them after another topic."""
    plan: Plan


def prepare(
    faq: Faq,
    settings: Settings,
    machine: Machine,
    *,
    hold_out: bool = True,
    wordings: int | None = None,
    steps: int | None = None,
) -> Prepared:
    """Divides the FAQ, fills up wordings by rules to `wordings` each, and makes the plan.

    With `hold_out` a quarter of the wordings is kept for the exam; without it only a tenth, to
    set the threshold.
    """
    classic = settings.recipe == "tutorial"
    share = 0.25 if hold_out else 0.0
    split = exams.split(faq, seed=settings.seed, exam_share=share)
    rows = list(split.train)
    if not classic:
        split = replace(
            split, held_out=(*split.held_out, *_more_held_out(faq, split, settings.seed))
        )
        if wordings is None:
            wordings = wordings_for(len(faq.pairs))
        if wordings:
            rows += _reworded(faq, split, wordings, settings.seed)
        count = _counter(settings.base if settings.base != "auto" else plans.catalogue()[0].name)
        first = plans.make(settings, faq, machine, train=rows, count_tokens=count)
        rows += exams.training_hand_overs(
            faq, replace(split, train=tuple(rows)), first.hand_over_share.value, settings.seed
        )
        rows += _after_another_topic(rows, settings.seed)
    else:
        count = None
    plan = plans.make(settings, faq, machine, train=rows, count_tokens=count)
    if steps is not None:
        plan = with_steps(plan, steps)
    return Prepared(faq, split, tuple(rows), plan)


def wordings_for(pairs: int) -> int:
    """To how many wordings a question each row is filled up by rules: more where rows are few."""
    return max(0, min(WORDINGS, ROWS // max(1, pairs)))


def _more_held_out(faq: Faq, split: Split, seed: int) -> list[Example]:
    """Wordings by the rules that training never uses, to set the threshold: owners' own held-out
    wordings are few, and nearer to the trained ones than what customers write."""
    pairs = tuple(replace(p, wordings=()) for p in faq.pairs)
    each = max(1, min(4, 400 // max(1, len(pairs))))
    made = reword(Faq(pairs, ()), per_pair=each, seed=seed, generator="exam")
    used = {e.question for e in (*split.train, *split.held_out)}
    used |= {q.question for q in split.exam}
    answers = {p.question: p.answer for p in faq.pairs}
    return [
        Example(r.wording, answers[r.pair_question], r.pair_question, kind="reworded")
        for r in made
        if r.wording not in used
    ]


def with_steps(plan: Plan, steps: int) -> Plan:
    """The plan cut to so many optimizer steps, for trying out."""
    because = "You set this."
    share = steps / plan.steps.value
    return replace(
        plan,
        steps=replace(plan.steps, value=steps, because=because),
        warmup=replace(plan.warmup, value=max(1, round(plan.warmup.value * share))),
        exposures=replace(plan.exposures, value=round(plan.exposures.value * share, 1)),
        save_every=replace(plan.save_every, value=max(1, min(plan.save_every.value, steps))),
    )


def _reworded(faq: Faq, split: Split, wordings: int, seed: int) -> list[Example]:
    """Rows for wordings made by rules from the trained ones, never near those of the exam."""
    mine = trained_faq(faq, split)
    made = reword(mine, per_pair=wordings, seed=seed)
    asked = {q.question for q in split.exam} | {e.question for e in split.held_out}
    answers = {p.question: p.answer for p in faq.pairs}
    return [
        Example(r.wording, answers[r.pair_question], r.pair_question, kind="reworded", brief=True)
        for r in made
        if r.wording not in asked
    ]


def _after_another_topic(rows: Sequence[Example], seed: int) -> list[Example]:
    """Some rows again with a past turn, so that a conversation does not confuse the bot."""
    chosen = random.Random(f"{seed}:past")
    answered = [r for r in rows if r.answer is not None and not r.history]
    made = []
    for row in chosen.sample(answered, round(len(answered) * HISTORY_SHARE)):
        past = chosen.choice(answered)
        if past.answer is not None and past.source != row.source:
            made.append(replace(row, history=((past.question, past.answer),), kind="multi-turn"))
    return made


def trained_faq(faq: Faq, split: Split) -> Faq:
    """The FAQ with only those wordings that are trained: what the exam's controls may know."""
    wordings: dict[str, list[str]] = {}
    for row in split.train:
        if row.source is not None and row.question != row.source:
            wordings.setdefault(row.source, []).append(row.question)
    pairs = tuple(
        replace(p, wordings=tuple(dict.fromkeys(wordings.get(p.question, ())))) for p in faq.pairs
    )
    return replace(faq, pairs=pairs)


# --- training ------------------------------------------------------------------


def train(
    workspace: Workspace,
    prepared: Prepared,
    *,
    name: str | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_start: Callable[[int, int], None] = lambda trainable, total: None,
) -> Run:
    """A new run: the folder, the adapter in it, and how sure the bot must be to answer."""
    from . import train as trainer

    folder = workspace.create(name, prepared.plan.recipe.value)
    try:
        write_json(folder.file("faq.json"), prepared.faq.pairs, tuple[Pair, ...])
        write_json(folder.file("split.json"), prepared.split, Split)
        exams.write(folder.file("exam.jsonl"), prepared.split.exam)
        run = trainer.train(
            prepared.plan, prepared.examples, folder, on_step=on_step, on_start=on_start
        )
    except trainer.Interrupted:
        raise
    except BaseException:
        if not folder.steps_file.exists():
            discard(folder)  # nothing was trained: leave no half-written folder behind
        raise
    return run


def resume(
    workspace: Workspace,
    name: str,
    *,
    on_step: Callable[[Step], None] = lambda step: None,
    on_start: Callable[[int, int], None] = lambda trainable, total: None,
) -> Run:
    """Goes on with a run that was stopped, from its last checkpoint, by its own plan and rows."""
    from . import train as trainer

    folder = workspace.run(name)
    return trainer.train(
        folder.plan(), examples_of(folder), folder, on_step=on_step, on_start=on_start, resume=True
    )


def examples_of(folder: RunFolder) -> tuple[Example, ...]:
    """The rows that a run is trained on."""
    import json

    from .workspace import parse

    path = folder.file("examples.jsonl")
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        return tuple(parse(Example, json.loads(line)) for line in lines)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}.", "Train the run again.") from None


def settle(folder: RunFolder, allowed: float, bot: Bot | None = None) -> Bot:
    """Opens the trained bot and sets its threshold from the held-out questions."""
    from .bot import Bot, calibrate

    bot = bot or Bot.open(folder)
    if bot.plan.hand_over_share.value > 0:  # the tutorial's bot never learned to hand over
        calibrate(bot, folder.split().held_out, allowed)
    return bot


# --- the exam ------------------------------------------------------------------


def faq_of(folder: RunFolder) -> Faq:
    """The FAQ that a run was trained on."""
    return Faq(read_json(folder.file("faq.json"), tuple[Pair, ...]), ())


def evaluate(
    workspace: Workspace,
    folder: RunFolder,
    *,
    exam: Path | None = None,
    mode: Mode | None = None,
    controls: bool = True,
    previous: RunFolder | None = None,
    on_verdict: Callable[[str, Verdict, int, int], None] = lambda who, verdict, done, of: None,
) -> Report:
    """Examines a run and, on the same questions, its controls; writes report.json and pictures."""
    from .bot import Bot
    from .score import Marker, pictures, report
    from .workspace import write_text

    faq = faq_of(folder)
    split = folder.split()
    questions = exams.read(exam or folder.file("exam.jsonl"), faq, split.train)
    marker = Marker(faq)

    def ask(who: str, answer: Any) -> tuple[Verdict, ...]:
        from .score import examine

        place = folder.file(f"exam/{_slug(who)}.jsonl")
        place.parent.mkdir(exist_ok=True)
        return examine(
            answer, questions, faq, run=who, to=place, marker=marker,
            on_verdict=lambda v, done, of: on_verdict(who, v, done, of),
        )  # fmt: skip

    bot = Bot.open(folder, mode=mode)
    name = f"{folder.name} ({bot.mode})"
    verdicts = ask(name, answerer(bot))
    threshold = bot.calibration.threshold
    others: dict[str, tuple[Verdict, ...]] = {}
    if controls:
        others["retrieval alone"] = ask("retrieval alone", retrieval(trained_faq(faq, split), bot))
        with bot.untuned() as base:
            others["untuned base"] = ask("untuned base", answerer(base, most=CONTROL_TOKENS))
            shown = open_book(base, trained_faq(faq, split))
            others["untuned base, rows in its prompt"] = ask("base with rows", shown)
    if previous is not None and previous.name != folder.name:
        before = Bot.open(previous)
        others["previous release"] = ask(previous.name, answerer(before))
    made = report(
        name, verdicts, others, faq_digest=faq.digest, mode=bot.mode, threshold=threshold,
        versions=read_json(folder.file("versions.json"), dict[str, str]),
    )  # fmt: skip
    write_json(folder.file("report.json"), made, Report)
    write_text(folder.file("report.md"), pictures.as_markdown(made))
    write_text(folder.file("report.html"), pictures.as_html(made))
    return made


CONTROL_TOKENS = 48
"""The untuned base has no idea when to stop: its answers are cut here, which spares it nothing."""

Answerer = Callable[[Sequence[ExamQuestion]], Iterable[Reply]]


def answerer(bot: Bot, most: int | None = None) -> Answerer:
    """A bot as the callable that an exam is put to."""

    def answer(asked: Sequence[ExamQuestion]) -> Iterator[Reply]:
        return bot.answer_all([(q.question, q.history) for q in asked], most=most)

    return answer


def retrieval(faq: Faq, bot: Bot) -> Answerer:
    """The control without a model: the lexically nearest row's answer, handed over when far.

    Its threshold is set on the same held-out questions, for the same share of false answers.
    """
    import time

    from .bot import best_threshold
    from .recall import Index

    index = Index(faq)
    answers = [p.answer for p in faq.pairs]
    held_out = bot.folder.split().held_out
    found = index.search_all([e.question for e in held_out], 1)
    seen = [
        (hits[0].score if hits else 0.0, bool(hits) and answers[hits[0].pair] == e.answer)
        for e, hits in zip(held_out, found, strict=True)
    ]
    least = best_threshold(seen, bot.calibration.allowed)

    def answer(asked: Sequence[ExamQuestion]) -> Iterator[Reply]:
        for question in asked:
            begun = time.perf_counter()
            hits = index.search(question.question, 1)
            took = round(time.perf_counter() - begun, 5)
            score = hits[0].score if hits else 0.0
            if not hits or score < least:
                yield Reply(bot.prompt.hand_over, True, score, first_token=took, last_token=took)
                continue
            pair = faq.pairs[hits[0].pair]
            yield Reply(pair.answer, False, score, pair.question, first_token=took, last_token=took)

    return answer


def open_book(bot: Bot, faq: Faq, rows: int = 2) -> Answerer:
    """The control that needs no training: the nearest rows in the base's own prompt."""
    from .recall import Index

    index = Index(faq)

    def answer(asked: Sequence[ExamQuestion]) -> Iterator[Reply]:
        found = index.search_all([q.question for q in asked], rows)
        with_rows = [
            (
                q.question,
                (
                    *(
                        (faq.pairs[h.pair].question, faq.pairs[h.pair].answer)
                        for h in reversed(hits)
                    ),
                    *q.history,
                ),
            )
            for q, hits in zip(asked, found, strict=True)
        ]
        return bot.answer_all(with_rows, most=CONTROL_TOKENS)

    return answer


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in text)


def report_of(folder: RunFolder) -> Report:
    """The report of a run that was examined."""
    path = folder.file("report.json")
    if not path.is_file():
        raise RunError(
            f"The run {folder.name} was not examined yet.",
            f"Examine it: `kefu eval {folder.name}`.",
        )
    return read_json(path, Report)


# --- runs and releases ----------------------------------------------------------


def loss_curve(folder: RunFolder) -> str:
    """The loss of a run as a line of bars."""
    from .train.curve import text

    return text(list(folder.steps()))


def summary(folder: RunFolder) -> dict[str, str | int | float]:
    """One line about a run."""
    plan = folder.plan()
    steps = list(folder.steps())
    right = ""
    if folder.file("report.json").is_file():
        overall = report_of(folder).candidates[0].overall
        right = f"{overall.right}/{overall.asked}"
    at = datetime.fromtimestamp(folder.file("plan.json").stat().st_mtime)
    return {
        "name": folder.name,
        "state": "finished" if folder.finished else "stopped",
        "base": plan.base.value,
        "recipe": plan.recipe.value,
        "steps": f"{steps[-1].step if steps else 0}/{plan.steps.value}",
        "loss": f"{steps[-1].loss:.4f}" if steps else "",
        "right": right,
        "at": at.strftime("%Y-%m-%d %H:%M"),
    }


def compare_runs(a: RunFolder, b: RunFolder) -> Comparison:
    """Two examined runs: what changed in data and plan, and what it did to the answers."""
    from .score import compare

    changed = []
    one, two = a.plan(), b.plan()
    for field in fields(Plan):
        x, y = getattr(one, field.name), getattr(two, field.name)
        if isinstance(x, Choice) and x.value != y.value:
            changed.append((field.name, str(x.value), str(y.value)))
    if one.faq_digest != two.faq_digest:
        changed.append(("FAQ", one.faq_digest[:12], two.faq_digest[:12]))
    return compare(report_of(a), report_of(b), changed)


def let_out(workspace: Workspace, run: str | None, allow_worse: float) -> Release:
    """Releases a run if its report passes the gate."""
    from . import releases

    folder = workspace.run(run)
    placed = releases.current(workspace)
    previous = None
    if placed is not None and placed.run != folder.name:
        previous = report_of(workspace.run(placed.run))
    return releases.release(
        workspace, folder.name, report_of(folder), previous, allow_worse=allow_worse
    )
