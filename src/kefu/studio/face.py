"""What happens at each click: a call through one door, and what the page shows of it.

Knows which part of the page shows what (see `page`); keeps nothing: all state lies in the
workspace, so another tab, or the same one tomorrow, shows the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache, wraps
from html import escape
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import gradio as gr
import pandas as pd

from .. import jobs, releases
from ..errors import KefuError
from ..records import Report, Step, Turn
from ..workspace import RunFolder, Workspace, read_lines
from . import child, desk, pictures
from .words import Language, sayer

if TYPE_CHECKING:
    from ..bot import Bot

CONTROLS = 3
"""Examinees beside the run when nothing is released yet; only the bar's length hangs on it."""
_one_at_a_time = Lock()


@lru_cache(maxsize=2)
def _bot(path: Path, born: float) -> Bot:
    from ..bot import Bot

    return Bot.open(RunFolder(path))


def told(work: Callable[..., Any]) -> Callable[..., Any]:
    """A mistake that a person can mend is shown with its remedy; nothing on the page is lost."""

    @wraps(work)
    def wrapped(self: Face, *given: Any) -> Any:
        try:
            return work(self, *given)
        except KefuError as error:
            title = self.say(type(error).__name__)
            gr.Warning(f"<b>{title}</b><br>{escape(error.what)}<br>{escape(error.fix)}", None)
            return gr.skip()

    return wrapped


class Face:
    """The handlers of one page in one language."""

    def __init__(self, workspace: Workspace, language: Language) -> None:
        self.workspace, self.language, self.say = workspace, language, sayer(language)

    # --- the table -------------------------------------------------------------------

    def _file(self) -> Path:
        return desk.on_desk(self.workspace) or desk.sample(self.workspace)

    def _shown(self) -> tuple[Any, ...]:
        """findings, table, the part of the page below the upload"""
        faq, found = desk.checked(self.workspace, self._file())
        below = gr.Column(visible=True)
        picture = pictures.findings(faq, found, self.say, self.language)
        return picture, desk.table(faq, found, self.say), below

    @told
    def uploaded(self, path: str) -> Any:
        """A file was put in."""
        try:
            desk.take_in(self.workspace, Path(path))
        finally:
            Path(path).unlink(missing_ok=True)  # the table on the desk is all that is kept
        return self._shown()

    @told
    def sampled(self) -> Any:
        """The sample is wanted."""
        desk.sample(self.workspace)
        return self._shown()

    @told
    def went_on(self) -> Any:
        """The table of last time is wanted."""
        return self._shown()

    @told
    def saved(self, rows: list[list[Any]]) -> Any:
        """The table was mended."""
        desk.save(self._file(), rows)
        return self._shown()

    @told
    def to_wordings(self, rows: list[list[Any]]) -> Any:
        """findings, table, below, steps, proposals, whether there are none"""
        desk.save(self._file(), rows)
        faq, found = desk.checked(self.workspace, self._file())
        shown = pictures.findings(faq, found, self.say, self.language)
        table = desk.table(faq, found, self.say)
        stops = sum(f.level == "stop" for f in found)
        if stops:
            gr.Warning(self.say("check_stop", stops))
            return shown, table, gr.skip(), gr.skip(), gr.skip(), gr.skip()
        made = desk.proposals(self.workspace, self._file())
        none = "" if made else pictures.note(self.say("word_none"), "good")
        return shown, table, gr.skip(), gr.Walkthrough(selected=1), made, none

    # --- the plan --------------------------------------------------------------------

    @told
    def to_plan(self, rows: list[list[Any]], thorough: str) -> Any:
        """The ticked wordings are taken: steps, plan, numbers, name of the run"""
        desk.accept(self._file(), rows)
        name = desk.free_name(self.workspace, self._file())
        return gr.Walkthrough(selected=2), *self._plan(thorough, 0), name

    @told
    def planned(self, thorough: str, steps: float) -> Any:
        """The dial was turned."""
        return self._plan(thorough, int(steps or 0))

    def _plan(self, thorough: str, steps: int) -> tuple[str, str]:
        made = desk.prepared(self.workspace, self._file(), thorough, steps).plan
        return pictures.plan(made, self.say), pictures.numbers(made, self.say, self.language)

    @told
    def train(self, thorough: str, steps: float, name: str) -> Any:
        """steps of the page, timer, then what a tick shows"""
        words = ["train", str(self._file()), "--name", name, "--thorough", thorough, "--json"]
        words += ["--steps", str(int(steps))] if steps else []
        return self._begin(3, "train", name, *words)

    def _begin(self, page: int, kind: child.Kind, run: str, *words: str, out: str = "") -> Any:
        _bot.cache_clear()  # the memory is wanted elsewhere
        child.start(self.workspace, kind, run, *words, out=out)
        return gr.Walkthrough(selected=page), gr.Timer(active=True), *self.tick()

    @told
    def resume(self) -> Any:
        """Goes on with a training that was stopped."""
        job = child.last(self.workspace)
        run = job.run if job else ""
        return self._begin(3, "train", run, "train", "--resume", run, "--json")

    def stop(self) -> None:
        """Stops whatever is under way, as Ctrl-C would."""
        if job := child.last(self.workspace):
            child.stop(job)

    # --- what is under way -----------------------------------------------------------

    def tick(self) -> tuple[Any, ...]:
        """live, chart, stop, resume, to exam; exam and its stop; export and its download"""
        job = child.last(self.workspace)
        if job is None:
            none = pictures.note(self.say("train_none"))
            return none, None, *_visible(0, 0, 0), "", *_visible(0), "", _hidden()
        busy = child.runs(job)
        wrong = "" if busy else child.complaint(self.workspace)
        live, chart, buttons = self._training(job, busy, wrong)
        exam = export = ""
        if job.kind == "eval":
            exam = self._examining(job.run) if busy else pictures.note(wrong, "stop")
        if job.kind == "export":
            export = pictures.note(self.say("live_work"))
            if not busy:
                made = self.say("live_made", job.out)
                export = pictures.note(wrong, "stop") if wrong else pictures.note(made, "good")
        ready = job.out.endswith(".zip") and not busy and not wrong
        get = gr.DownloadButton(value=job.out, visible=True) if ready else _hidden()
        return live, chart, *buttons, exam, *_visible(busy and job.kind == "eval"), export, get

    def _training(self, job: child.Job, busy: bool, wrong: str) -> tuple[Any, Any, Any]:
        folder = RunFolder(self.workspace.runs_folder / job.run)
        steps = list(folder.steps())
        live = pictures.training(steps, self.say) if steps else ""
        chart = _chart(steps) if steps else None
        if busy and job.kind == "train":
            if not steps:
                live = pictures.note(self.say("train_wait"))
            elif folder.finished:
                live += pictures.note(self.say("train_settle"))
        elif folder.finished:
            live += pictures.note(self.say("train_done", job.run), "good")
        elif steps:
            live += pictures.note(self.say("train_stopped", steps[-1].step), "warn")
        if job.kind == "train" and wrong and "--resume" not in wrong:
            live += pictures.note(wrong, "stop")
        halted = bool(steps) and not busy and not folder.finished
        done = folder.finished and not busy
        return live, chart, _visible(busy and job.kind == "train", halted, done)

    def _examining(self, run: str) -> str:
        folder = self.workspace.run(run)
        done = sum(len(read_lines(p)) for p in folder.path.glob("exam/*.jsonl"))
        each = len(read_lines(folder.file("exam.jsonl")))
        of = each * (1 + CONTROLS + bool(releases.current(self.workspace)))
        return pictures.exam(done, of, self.say)

    def beat(self) -> Any:
        """A tick of the page's clock: what `tick` shows, report, the lists of runs, the clock"""
        job = child.last(self.workspace)
        if job is not None and child.runs(job):
            return *self.tick(), gr.skip(), *[gr.skip()] * 5, gr.skip()
        report = self._report(job.run) if job and job.kind == "eval" else gr.skip()
        return *self.tick(), report, *self.lists(), gr.Timer(active=False)

    # --- the exam --------------------------------------------------------------------

    @told
    def examine(self, run: str | None) -> Any:
        """steps, timer, then what a tick shows, and the report"""
        job = child.last(self.workspace)
        run = run or (job.run if job else None)
        name = self.workspace.run(run).name
        return *self._begin(4, "eval", name, "eval", name, "--json"), ""

    @told
    def report(self, run: str | None) -> Any:
        """The report of the chosen run."""
        return self._report(run) if run else ""

    def _report(self, run: str) -> str:
        folder = self.workspace.run(run)
        if not folder.file("report.json").is_file():
            return pictures.note(self.say("exam_none"))
        made: Report = jobs.report_of(folder)
        return pictures.report(made, self.language)

    # --- answers ---------------------------------------------------------------------

    def _open(self, run: str | None) -> Bot:
        folder = self.workspace.run(run)
        return _bot(folder.path, folder.file("run.json").stat().st_mtime)

    @told
    def chat(self, run: str | None, asked: str, shown: list[Any], turns: list[Turn]) -> Any:
        """chat, the turns so far, an empty box"""
        if not asked.strip():
            return shown, turns, ""
        with _one_at_a_time:
            reply = self._open(run).answer(asked, tuple(turns))
        said = f"{escape(reply.text)}<br>{pictures.tag(reply, self.say)}"
        shown = [*shown, {"role": "user", "content": escape(asked)}]
        shown.append({"role": "assistant", "content": said})
        return shown, [*turns, (asked, reply.text)], ""

    @told
    def both(self, a: str | None, b: str | None, asked: str, blind: bool) -> Any:
        """answers, (left, right, answers), the buttons to choose with"""
        if not asked.strip():
            return gr.skip(), gr.skip(), gr.skip()
        names = [self.workspace.run(a).name, self.workspace.run(b).name]
        if blind:
            random.shuffle(names)
        with _one_at_a_time:
            replies = [self._open(name).answer(asked) for name in names]
        titles = [self.say("two_side")] * 2 if blind else names
        return pictures.two(replies, titles, self.say), (names, replies), gr.Row(visible=True)

    def chose(self, side: int, asked: Any, tally: dict[str, int]) -> Any:
        """Which answer was better (0 left, 1 right, 2 the same): answers, tally, in words"""
        names, replies = asked
        winner = names[side] if side < 2 else ""
        tally = {**tally, winner: tally.get(winner, 0) + 1}
        a, b = sorted(names)
        text = self.say("two_tally", a, tally.get(a, 0), b, tally.get(b, 0), tally.get("", 0))
        picture = pictures.two(replies, names, self.say) + pictures.note(text, "good")
        return picture, tally, gr.Row(visible=False)

    @told
    def exams(self, a: str | None, b: str | None) -> Any:
        """Two runs' exams compared."""
        made = jobs.compare_runs(self.workspace.run(a), self.workspace.run(b))
        return pictures.comparison(made, self.say)

    # --- going live ------------------------------------------------------------------

    @told
    def release(self, run: str | None) -> Any:
        """The gate."""
        jobs.let_out(self.workspace, run, 0.0)
        return self.live()

    @told
    def back(self) -> Any:
        """To the release before."""
        releases.back(self.workspace)
        return self.live()

    def live(self) -> str:
        """Which run is out."""
        placed = releases.current(self.workspace)
        if placed is None:
            return pictures.note(self.say("live_none"))
        return pictures.note(self.say("live_now", f"{placed.run} ({placed.at})"), "good")

    @told
    def export(self, run: str | None, form: str) -> Any:
        """steps, timer, then what a tick shows"""
        name = self.workspace.run(run).name
        end = ".zip" if form == "zip" else f"-{form}"
        out = str(self.workspace.root / "exports" / f"{name}{end}")
        words = ["export", name, "--to", form, "--out", out, "--force"]
        return self._begin(7, "export", name, *words, out=out)

    # --- opening the page ------------------------------------------------------------

    def lists(self) -> tuple[Any, ...]:
        """The lists of finished runs, the newest chosen: exam, compare a and b, chat, live"""
        names = [r.name for r in self.workspace.runs() if r.finished][::-1]
        first = names[0] if names else None
        second = names[1] if len(names) > 1 else first
        chosen = (first, second, first, first, first)
        return tuple(gr.Dropdown(choices=names, value=name) for name in chosen)

    def opened(self) -> Any:
        """go on with the last table, steps, timer, what a tick shows, lists, which is out"""
        file, job = desk.on_desk(self.workspace), child.last(self.workspace)
        busy = job is not None and child.runs(job)
        again = gr.Button(
            self.say("file_go_on", file.stem if file else ""), visible=file is not None
        )
        halted = bool(job and any(RunFolder(self.workspace.runs_folder / job.run).steps()))
        halted = halted and job is not None and not self.workspace.run(job.run).finished
        page = {"train": 3, "eval": 4, "export": 7}[job.kind] if job and (busy or halted) else 0
        return (
            again,
            gr.Walkthrough(selected=page),
            gr.Timer(active=busy),
            *self.tick(),
            *self.lists(),
            self.live(),
            gr.Row(visible=any(r.finished for r in self.workspace.runs())),
        )


def _visible(*shown: object) -> tuple[Any, ...]:
    return tuple(gr.Button(visible=bool(one)) for one in shown)


def _hidden() -> Any:
    return gr.DownloadButton(visible=False)


def _chart(steps: list[Step]) -> Any:
    return pd.DataFrame({"step": [s.step for s in steps], "loss": [s.loss for s in steps]})
