"""What happens at each click: a call through one door, and what the page shows of it.

Knows which part of the page shows what (see `page`); keeps nothing: all state lies in the
workspace, so another tab, or the same one tomorrow, shows the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import gradio as gr
import pandas as pd

from .. import background, jobs, releases, show
from ..errors import KefuError
from ..faq import read
from ..plan import probe
from ..records import Choice, Turn
from ..score import pictures
from ..settings import parse
from ..workspace import RunFolder, Workspace
from . import desk
from .words import Language, Say

if TYPE_CHECKING:
    from ..bot import Bot

LEVELS = ("stop", "warn", "note")
PLACES = {"train": 3, "eval": 4, "export": 7}
"""The step of the page on which each kind of heavy work is watched."""
Shown = tuple[Any, ...]
_one_at_a_time = Lock()


@lru_cache(maxsize=2)
def _bot(path: Path, born: float) -> Bot:
    from ..bot import Bot

    return Bot.open(RunFolder(path))


def go(place: int) -> Any:
    """To another step of the page."""
    return gr.Walkthrough(selected=place)


class Face:
    """The handlers of one page in one language."""

    def __init__(self, workspace: Workspace, language: Language) -> None:
        self.workspace, self.say = workspace, Say(language)
        self.draw = self.say.picture

    def told(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`; what a person can mend is shown with its remedy, and nothing is lost."""

        def wrapped(*given: Any) -> Any:
            try:
                return work(*given)
            except KefuError as error:
                title = self.say(type(error).__name__)
                gr.Warning(f"<b>{title}</b><br>{escape(error.what)}<br>{escape(error.fix)}", None)
                return gr.skip()

        return wrapped

    # --- the table and the plan ------------------------------------------------------

    def _file(self) -> Path:
        return desk.on_desk(self.workspace) or desk.sample(self.workspace)

    def table(self) -> Shown:
        """findings, table, the part of the page below the upload"""
        return self._checked()[0]

    def _checked(self) -> tuple[Shown, int]:
        faq = read(self._file())
        found = jobs.check_faq(faq, self.workspace.settings())
        found.sort(key=lambda f: LEVELS.index(f.level))
        stops = sum(f.level == "stop" for f in found)
        picture = self.draw("findings", faq, found, stops, desk.SIGNS)
        return (picture, desk.table(faq, found, self.say), gr.Column(visible=True)), stops

    def uploaded(self, path: str) -> Shown:
        """A file was put in."""
        try:
            desk.take_in(self.workspace, Path(path))
        finally:
            Path(path).unlink(missing_ok=True)  # the table on the desk is all that is kept
        return self.table()

    def sampled(self) -> Shown:
        """The sample is wanted."""
        desk.sample(self.workspace)
        return self.table()

    def saved(self, rows: list[list[Any]]) -> Shown:
        """The table was mended."""
        desk.save(self._file(), rows)
        return self.table()

    def to_wordings(self, rows: list[list[Any]]) -> Shown:
        """what `table` shows, step, proposals, whether there are none"""
        desk.save(self._file(), rows)
        shown, stops = self._checked()
        if stops:
            gr.Warning(self.say("check_stop", stops))
            return *shown, gr.skip(), gr.skip(), gr.skip()
        made = desk.proposals(self.workspace, self._file())
        none = "" if made else self.draw("note", self.say("word_none"), "good")
        return *shown, go(1), made, none

    def to_plan(self, thorough: str, rows: Sequence[Sequence[Any]] = ()) -> Shown:
        """The ticked wordings are taken: step, name of the run, plan, numbers"""
        desk.accept(self._file(), rows)
        name = self.workspace.free_name(self._file().stem)
        return go(2), name, *self.planned(thorough, 0)

    def planned(self, thorough: str, steps: float) -> Shown:
        """What `kefu train` would do with the table at this dial: plan, numbers"""
        settings = parse({**self.workspace.settings().model_dump(), "thorough": thorough}, "dial")
        faq = read(self._file())
        plan = jobs.prepare(faq, settings, probe(), steps=int(steps or 0) or None).plan
        rows = [
            (*self.say.plan(name), show.value(choice.value), choice.because)
            for name in plan.__slots__
            if isinstance(choice := getattr(plan, name), Choice)
        ]
        rows.sort(key=lambda row: not row[1])  # those that have plain words first
        return self.draw("plan", plan), self.draw("numbers", rows)

    # --- heavy work ------------------------------------------------------------------

    def _begin(self, kind: background.Kind, run: str, *words: str, out: str = "") -> Shown:
        """step, clock, then what a tick shows"""
        _bot.cache_clear()  # the memory is wanted elsewhere
        background.start(self.workspace, kind, run, *words, out=out)
        return go(PLACES[kind]), gr.Timer(active=True), *self.tick()

    def train(self, thorough: str, steps: float, name: str) -> Shown:
        """Begins the training that was planned."""
        words = ["train", str(self._file()), "--name", name, "--thorough", thorough, "--json"]
        words += ["--steps", str(int(steps))] if steps else []
        return self._begin("train", name, *words)

    def resume(self) -> Shown:
        """Goes on with a training that was stopped."""
        run = background.last(self.workspace).run
        return self._begin("train", run, "train", "--resume", run, "--json")

    def examine(self, run: str | None) -> Shown:
        """Begins an exam, by default of what was trained last; the report is empty till then."""
        name = self.workspace.run(run or background.last(self.workspace).run).name
        return *self._begin("eval", name, "eval", name, "--json"), ""

    def export(self, run: str | None, form: str) -> Shown:
        """Begins to pack a run."""
        name = self.workspace.run(run).name
        end = ".zip" if form == "zip" else f"-{form}"
        out = str(self.workspace.root / "exports" / f"{name}{end}")
        return self._begin(
            "export", name, "export", name, "--to", form, "--out", out, "--force", out=out
        )

    def stop(self) -> None:
        """Stops whatever is under way, as Ctrl-C would."""
        background.stop(background.last(self.workspace))

    def tick(self) -> Shown:
        """live, chart, stop, resume, to exam; exam, its stop; packing, its download"""
        job = background.last(self.workspace)
        busy = background.runs(job)
        wrong = "" if busy else background.complaint(self.workspace)
        folder = RunFolder(self.workspace.runs_folder / job.run)
        steps, done = list(folder.steps()), folder.finished
        now, each = steps[-1] if steps else None, show.pace(s.seconds for s in steps)
        left = each * (now.of - now.step) if now and each else None
        live = self.draw("training", job, now, left, busy, done, wrong)
        chart = pd.DataFrame({"step": [s.step for s in steps], "loss": [s.loss for s in steps]})
        far = jobs.how_far(folder, releases.current(self.workspace) is not None)
        exam = self.draw("exam", job, busy, wrong, *far)
        packing = self.draw("packing", job, busy, wrong)
        halted = bool(steps) and not busy and not done
        trains, examines = (busy and job.kind == kind for kind in ("train", "eval"))
        buttons = [gr.Button(visible=on) for on in (trains, halted, done and not busy, examines)]
        packed = job.out.endswith(".zip") and not busy and not wrong
        get = gr.DownloadButton(value=job.out if packed else None, visible=packed)
        return live, chart if steps else None, *buttons[:3], exam, buttons[3], packing, get

    def beat(self) -> Shown:
        """What `tick` shows, report, the lists of runs, the clock"""
        job = background.last(self.workspace)
        if background.runs(job):
            return *self.tick(), *[gr.skip()] * 7
        report = self.report(job.run) if job.kind == "eval" else gr.skip()
        return *self.tick(), report, *self.lists(), gr.Timer(active=False)

    # --- reports and answers ---------------------------------------------------------

    def report(self, run: str | None) -> str:
        """The report of a run."""
        if not run:
            return ""
        folder = self.workspace.run(run)
        if not folder.file("report.json").is_file():
            return self.draw("note", self.say("exam_none"))
        page = pictures.as_html(jobs.report_of(folder), self.say.language)
        return self.draw("report", page)

    def _open(self, run: str | None) -> Bot:
        folder = self.workspace.run(run)
        return _bot(folder.path, folder.file("run.json").stat().st_mtime)

    def chat(self, run: str | None, asked: str, shown: list[Any], turns: list[Turn]) -> Shown:
        """chat, the turns so far, an empty box"""
        if not asked.strip():
            return shown, turns, ""
        with _one_at_a_time:
            reply = self._open(run).answer(asked, tuple(turns))
        said = {"user": escape(asked), "assistant": self.draw("said", reply)}
        shown = [*shown, *({"role": who, "content": text} for who, text in said.items())]
        return shown, [*turns, (asked, reply.text)], ""

    def both(self, a: str | None, b: str | None, asked: str, blind: bool) -> Shown:
        """answers, (names, answers), the buttons to choose with"""
        if not asked.strip():
            return gr.skip(), gr.skip(), gr.skip()
        names = [self.workspace.run(a).name, self.workspace.run(b).name]
        if blind:
            random.shuffle(names)
        with _one_at_a_time:
            replies = [self._open(name).answer(asked) for name in names]
        titles = [self.say("two_side")] * 2 if blind else names
        return self.draw("two", replies, titles), (names, replies), gr.Row(visible=True)

    def chose(self, side: int, asked: Any, tally: dict[str, int]) -> Shown:
        """Which answer was better (0 left, 1 right, 2 the same): answers, tally, the buttons"""
        names, replies = asked
        winner = names[side] if side < 2 else ""
        tally = {**tally, winner: tally.get(winner, 0) + 1}
        a, b = sorted(names)
        text = self.say("two_tally", a, tally.get(a, 0), b, tally.get(b, 0), tally.get("", 0))
        picture = self.draw("two", replies, names) + self.draw("note", text, "good")
        return picture, tally, gr.Row(visible=False)

    def exams(self, a: str | None, b: str | None) -> str:
        """Two runs' exams compared."""
        made = jobs.compare_runs(self.workspace.run(a), self.workspace.run(b))
        return self.draw("comparison", made)

    # --- going live, and opening the page --------------------------------------------

    def release(self, run: str | None) -> str:
        """The gate."""
        jobs.let_out(self.workspace, run, 0.0)
        return self.live()

    def back(self) -> str:
        """To the release before."""
        releases.back(self.workspace)
        return self.live()

    def live(self) -> str:
        """Which run is out."""
        placed = releases.current(self.workspace)
        if placed is None:
            return self.draw("note", self.say("live_none"))
        return self.draw("note", self.say("live_now", f"{placed.run} ({placed.at})"), "good")

    def lists(self) -> Shown:
        """The lists of finished runs, the newest chosen: exam, compare a and b, chat, live"""
        names = [r.name for r in self.workspace.runs() if r.finished][::-1]
        first = names[0] if names else None
        second = names[1] if len(names) > 1 else first
        chosen = (first, second, first, first, first)
        return tuple(gr.Dropdown(choices=names, value=name) for name in chosen)

    def opened(self) -> Shown:
        """go on with the last table, step, clock, what a tick shows, lists, which is out, jumps"""
        file, job = desk.on_desk(self.workspace), background.last(self.workspace)
        busy = background.runs(job)
        folder = RunFolder(self.workspace.runs_folder / job.run)
        halted = job.run != "" and any(folder.steps()) and not folder.finished
        again = self.say("file_go_on", file.stem if file else "")
        return (
            gr.Button(again, visible=file is not None),
            go(PLACES[job.kind] if busy or halted else 0),
            gr.Timer(active=busy),
            *self.tick(),
            *self.lists(),
            self.live(),
            gr.Row(visible=any(r.finished for r in self.workspace.runs())),
        )
