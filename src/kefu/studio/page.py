"""What the steps of a page share: words, buttons, the chosen run, and the heavy work under way.

Keeps nothing: all state lies in the workspace, so another tab, or the same one tomorrow, shows
the same. A button is called in the page (`elem_id`) as in data/words.toml.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gradio as gr

from .. import background, jobs
from ..errors import KefuError
from ..score import Language
from ..workspace import Workspace
from .words import Say

PLACES = {"train": 4, "eval": 5, "export": 8}
"""The step on which each kind of heavy work is watched."""
Work = Callable[..., Any]


def go(place: int) -> Any:
    """To another step of the page, 1 to 8."""
    return gr.Walkthrough(selected=place)


class Page:
    """One page in one language: to be made in its Blocks, at the top; `load` is its opening."""

    def __init__(self, workspace: Workspace, language: Language, load: Any) -> None:
        self.workspace, self.say, self.load = workspace, Say(language), load
        self.draw = self.say.picture
        gr.HTML(self.draw("top"))
        self.clock, self.begun = gr.Timer(1, active=False), gr.State(0)
        with gr.Row(visible=False, elem_id="trained") as self.bar:
            self.run = gr.Dropdown([], label=self.say("version"), min_width=300, elem_id="run")
            jumps = [self.button(f"step{place}", size="sm", min_width=70) for place in (5, 6, 7, 8)]
        self.steps = gr.Walkthrough(selected=1)
        for place, jump in enumerate(jumps, start=5):
            self.leads(jump, place)
        self._live: list[tuple[list[Any], Callable[[jobs.Progress], Sequence[Any]]]] = []

    def step(self, place: int, lead: str) -> Any:
        """A step of the walk, to be laid out in a `with`."""
        with gr.Step(self.say(f"step{place}"), id=place) as made:
            gr.Markdown(self.say(lead))
        return made

    def button(self, key: str, first: bool = False, **more: Any) -> Any:
        """A button; the `first` of its step stands out."""
        more.setdefault("elem_id", key)
        return gr.Button(self.say(key), variant="primary" if first else "secondary", **more)

    def on(self, event: Any, work: Work, given: Any = None, shown: Any = None, **more: Any) -> Any:
        """`work` at `event`; what a person can mend is shown with its remedy, nothing is lost."""

        def told(*given: Any) -> Any:
            try:
                return work(*given)
            except KefuError as error:
                gr.Warning(self.draw("error", error), None)
                return gr.skip()

        return event(told, given, shown, **more)

    def leads(self, button: Any, place: int) -> None:
        """`button` leads to a step."""
        self.on(button.click, partial(go, place), None, self.steps)

    # --- heavy work ------------------------------------------------------------------

    def begins(self, event: Any, work: Callable[..., background.Job], given: Any = None) -> None:
        """At `event` heavy work begins, and the page goes where it is watched."""

        def begin(*given: Any) -> Sequence[Any]:
            job = work(*given)
            return go(PLACES[job.kind]), job.born

        self.on(event, begin, given, [self.steps, self.begun])

    def watch(self, shown: list[Any], draw: Callable[[jobs.Progress], Sequence[Any]]) -> None:
        """`draw` gives what is `shown` of the heavy work: while it goes on, and at the opening."""
        self._live.append((shown, draw))

    def end(self) -> None:
        """To be called when all steps are laid out."""

        def look() -> Sequence[Any]:
            at = jobs.progress(self.workspace)
            live = [part for _, draw in self._live for part in draw(at)]
            if at.busy:
                return gr.Timer(active=True), gr.skip(), gr.skip(), *live
            runs = gr.Dropdown(choices=list(at.trained), value=at.run)
            return gr.Timer(active=False), runs, gr.Row(visible=bool(at.trained)), *live

        def where() -> Any:
            at = jobs.progress(self.workspace)
            return go(PLACES[at.job.kind] if at.busy or at.halted else 1)

        shown = [
            self.clock,
            self.run,
            self.bar,
            *(part for parts, _ in self._live for part in parts),
        ]
        for event in (self.load, self.clock.tick, self.begun.change):
            self.on(event, look, None, shown, show_progress="hidden")
        self.on(self.load, where, None, self.steps)
