"""The eight steps, from a file to a bot that is out: each laid out and wired in one place.

Decides nothing: what happens at a click is a call through one door, and a picture of it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from .. import jobs, releases, show
from ..errors import KefuError
from ..faq import read
from ..plan import probe
from ..records import Turn
from ..score import pictures
from ..settings import parse
from .page import Page, go

Shown = Sequence[Any]
FILES = [".csv", ".tsv", ".xlsx", ".xlsm", ".json", ".jsonl", ".md", ".txt"]
WORDINGS = 5
"""Wordings that a question is filled up to, for a person to read; see the design's figures."""
DIAL = ("quick", "normal", "thorough")
FORMS = ("zip", "adapter", "merged", "gguf", "ollama")
SCROLL = "() => document.getElementById('findings')?.scrollIntoView({behavior: 'smooth'})"
SIGNS = {"stop": "✗", "warn": "▲", "note": "●"}
TABLE: dict[str, Any] = {"type": "array", "interactive": True, "wrap": True, "max_height": 520}
BOT: dict[str, Any] = {"concurrency_id": "bot", "concurrency_limit": 1}


def lay_out(page: Page) -> None:
    """All steps in their order."""
    with page.steps:
        plan(page, *wordings(page, *file(page)))
        for step in (training, exam, compare, chat, live):
            step(page)
    page.end()


def draft(page: Page) -> Path:
    """The table in work, else the sample's."""
    return jobs.draft(page.workspace) or jobs.sample_draft(page.workspace)


def file(page: Page) -> tuple[list[Any], Any]:
    """1: a file is put in; what is wrong stands beside its rows and is mended there. Gives what
    shows the table (which comes last) and the button that leads on."""
    say, workspace = page.say, page.workspace
    with page.step(1, "file_lead"):
        upload = gr.File(
            label=say("file_drop"), show_label=False, file_types=FILES, elem_id="upload", height=190
        )
        with gr.Row():
            sample = page.button("file_sample")
            again = gr.Button(visible=False, elem_id="file_go_on")
        with gr.Column(visible=False) as below:
            findings = gr.HTML(elem_id="findings")
            gr.Markdown(say("table_lead"))
            rows = gr.Dataframe(
                headers=[say(f"col_{c}") for c in jobs.CELLS], static_columns=[0],
                datatype=[*["str"] * 5, "bool"], column_widths=[110, 200, 300, 240, 85, 115],
                elem_id="table", **TABLE,
            )  # fmt: skip
            with gr.Row():
                save, onward = page.button("table_save"), page.button("table_next", True)

    def after(work: Any, *given: Any) -> Shown:
        work(*given)
        return checked(page)[0]

    def last() -> Any:
        kept = jobs.draft(workspace)
        return gr.Button(say("file_go_on", kept.stem if kept else ""), visible=kept is not None)

    shown = [findings, below, rows]
    put_in = partial(after, lambda path: jobs.draft_of(workspace, Path(path), discard=True))
    put = page.on(upload.upload, put_in, upload, shown)
    put.then(lambda: None, None, upload, js=SCROLL)
    page.on(sample.click, partial(after, jobs.sample_draft, workspace), None, shown)
    page.on(again.click, lambda: checked(page)[0], None, shown)
    page.on(save.click, lambda cells: after(jobs.mend, draft(page), cells), rows, shown)
    page.on(page.load, last, None, again)
    return shown, onward


def checked(page: Page) -> tuple[Shown, int]:
    """What step 1 shows of the draft, and how many faults have to be mended first."""
    faq = read(draft(page))
    found = jobs.check_faq(faq, page.workspace.settings())
    stops = sum(f.level == "stop" for f in found)
    rows = jobs.cells(faq, found)
    for row in rows:
        number, levels = row[0]
        marks = [f"{SIGNS[level]} {page.say('level_' + level)}" for level in levels]
        row[0] = f"{number} {' '.join(marks) or '✓'}"
    picture = page.draw("findings", faq, found, stops, SIGNS)
    return (picture, gr.Column(visible=True), rows), stops


def wordings(page: Page, shown: list[Any], before: Any) -> tuple[Any, Any, Any]:
    """2: other ways to ask, to be read. Gives their table, and the buttons with and without."""
    say = page.say
    with page.step(2, "word_lead"):
        none = gr.HTML()
        words = gr.Dataframe(
            headers=[say("word_keep"), say("word_new"), say("col_question")],
            column_widths=[95, 420, 535], static_columns=[2], datatype=["bool", "str", "str"],
            elem_id="words", **TABLE,
        )  # fmt: skip
        with gr.Row():
            skip, accept = page.button("word_skip"), page.button("word_accept", True)

    def propose(cells: Shown) -> Shown:
        jobs.mend(draft(page), cells)
        seen, stops = checked(page)
        if stops:
            gr.Warning(say("check_stop", stops))
            return *seen, gr.skip(), gr.skip(), gr.skip()
        made = jobs.proposals(read(draft(page)), page.workspace.settings(), WORDINGS)
        none = "" if made else page.draw("note", say("word_none"), "good")
        return *seen, go(2), [[True, r.wording, r.pair_question] for r in made], none

    page.on(before.click, propose, shown[-1], [*shown, page.steps, words, none])
    return words, accept, skip


def plan(page: Page, words: Any, accept: Any, skip: Any) -> None:
    """3: the plan with its reasons, and one dial."""
    say, workspace = page.say, page.workspace
    with page.step(3, "plan_lead"):
        usual, choices = workspace.settings().thorough, [(say(d), d) for d in DIAL]
        dial = gr.Radio(choices, value=usual, show_label=False, elem_id="dial")
        picture = gr.HTML(elem_id="plan")
        with gr.Accordion(say("plan_more"), open=False), gr.Row():
            name = gr.Textbox(label=say("plan_name"))
            count = gr.Number(0, label=say("plan_steps"), precision=0, minimum=0)
        start = page.button("plan_start", True)

    def planned(thorough: str, steps: float) -> str:
        settings = parse({**workspace.settings().model_dump(), "thorough": thorough}, "dial")
        faq, most = read(draft(page)), int(steps or 0) or None
        made = jobs.prepare(faq, settings, probe(), steps=most).plan
        return page.draw("plan", made, show.value)

    def enter(thorough: str, cells: Shown = ()) -> Shown:
        jobs.accept(draft(page), cells)
        return go(3), workspace.free_name(draft(page).stem), planned(thorough, 0)

    def train(thorough: str, steps: float, run: str) -> Any:
        return jobs.start_training(workspace, draft(page), run, thorough, int(steps or 0))

    page.on(accept.click, enter, [dial, words], [page.steps, name, picture])
    page.on(skip.click, enter, dial, [page.steps, name, picture])
    for turned in (dial.input, count.change):
        page.on(turned, planned, [dial, count], picture)
    page.begins(start.click, train, [dial, count, name])


def training(page: Page) -> None:
    """4: the training live: stopped, taken up again, and examined."""
    with page.step(4, "train_lead"):
        live = gr.HTML(elem_id="live")
        step, loss = page.say("f_step"), page.say("f_loss")
        chart = gr.LinePlot(x=step, y=loss, height=260, show_label=False)
        gr.Markdown(page.say("train_chart"))
        with gr.Row():
            stop = page.button("train_stop", visible=False)
            resume = page.button("train_resume", True, visible=False)
            to_exam = page.button("train_exam", True, visible=False)

    def look(at: jobs.Progress) -> Shown:
        curve = pd.DataFrame([(s.step, s.loss) for s in at.steps], columns=[step, loss])
        now = (at.busy and at.job.kind == "train", at.halted, at.done and not at.busy)
        shown = [gr.Button(visible=one) for one in now]
        return page.draw("training", at), curve if len(curve) > 1 else None, *shown

    page.watch([live, chart, stop, resume, to_exam], look)
    page.on(stop.click, partial(jobs.stop, page.workspace))
    page.begins(resume.click, partial(jobs.start_again, page.workspace))
    page.begins(to_exam.click, partial(jobs.start_exam, page.workspace))


def exam(page: Page) -> None:
    """5: the exam's report, the worst answers first, and what to do about them."""
    with page.step(5, "exam_lead"):
        start = page.button("exam_start", True)
        exam = gr.HTML(elem_id="exam")
        stop = page.button("train_stop", visible=False, elem_id="exam_stop")
        report = gr.HTML(elem_id="report")
        page.leads(page.button("exam_next", True), 6)

    def reported(run: str | None) -> str:
        folder = page.workspace.run(run) if run else None
        if folder is None or not folder.file("report.json").is_file():
            return page.draw("note", page.say("exam_none") if folder else "")
        shown = pictures.as_html(jobs.report_of(folder), page.say.language)
        try:
            advice = page.draw("advised", jobs.advice_on(folder, page.workspace.settings()))
        except KefuError as error:  # the rows of the run are gone: its report is there
            advice = page.draw("wrong", error)
        return advice + page.draw("report", shown)

    def look(at: jobs.Progress) -> Shown:
        examines = at.busy and at.job.kind == "eval"
        report = gr.skip() if at.busy and not examines else reported(None if examines else at.run)
        return page.draw("exam", at), gr.Button(visible=examines), report

    page.watch([exam, stop, report], look)
    page.on(stop.click, partial(jobs.stop, page.workspace))
    page.on(page.run.change, reported, page.run, report)
    page.begins(start.click, partial(jobs.start_exam, page.workspace), page.run)


def compare(page: Page) -> None:
    """6: one question to two versions, blind if wished; their exams."""
    say = page.say
    with page.step(6, "two_lead"):
        other = gr.Dropdown([], label=say("two_other"))
        blind = gr.Checkbox(True, label=say("two_blind"))
        text = gr.Textbox(label=say("question"), placeholder=say("question_eg"), elem_id="ask-both")
        ask = page.button("two_ask", True)
        answers = gr.HTML(elem_id="answers")
        pair, tally = gr.State(), gr.State({})
        sides = [(say(f"two_{side}"), i) for i, side in enumerate(("left", "same", "right"))]
        votes = gr.Radio(sides, visible=False, show_label=False, elem_id="votes")
        exams = page.button("two_exam")
        difference = gr.HTML(elem_id="difference")
        page.leads(page.button("two_next"), 7)

    def look(at: jobs.Progress) -> Shown:
        return [gr.Dropdown(choices=list(at.trained), value=at.before)]

    def both(asked: str, blind: bool, *names: str | None) -> Shown:
        if not asked.strip():
            return gr.skip(), gr.skip(), gr.skip()
        runs = [page.workspace.run(name) for name in names]
        if blind:
            random.shuffle(runs)
        replies, titles = [jobs.reply(run, asked) for run in runs], [run.name for run in runs]
        shown = ["①", "②"] if blind else titles
        vote = gr.Radio(value=None, visible=True)
        return page.draw("two", replies, shown), (titles, replies), vote

    def chose(side: int, asked: Any, tally: dict[str, int]) -> Shown:
        names, replies = asked
        winner = (names[0], "", names[1])[side]
        tally = {**tally, winner: tally.get(winner, 0) + 1}
        a, b = sorted(names)
        text = say("two_tally", a, tally.get(a, 0), b, tally.get(b, 0), tally.get("", 0))
        picture = page.draw("two", replies, names) + page.draw("note", text, "good")
        return picture, tally, gr.Radio(visible=False)

    def compared(*names: str | None) -> str:
        a, b = map(page.workspace.run, names)
        return page.draw("comparison", jobs.compare_runs(a, b, say.language))

    page.watch([other], look)
    for asks in (ask.click, text.submit):
        page.on(asks, both, [text, blind, other, page.run], [answers, pair, votes], **BOT)
    page.on(votes.input, chose, [votes, pair, tally], [answers, tally, votes])
    page.on(exams.click, compared, [other, page.run], difference)


def chat(page: Page) -> None:
    """7: a chat, as a customer would have it."""
    with page.step(7, "chat_lead"):
        chat = gr.Chatbot(height=380, show_label=False, elem_id="chat", buttons=[])
        turns = gr.State([])
        with gr.Row(equal_height=True):
            hint = page.say("question_eg")
            asked = gr.Textbox(show_label=False, placeholder=hint, scale=4, elem_id="asked")
            send = page.button("chat_send", True)
        with gr.Row():
            anew = page.button("chat_new")
            page.leads(page.button("chat_next"), 8)

    def talk(run: str | None, asked: str, shown: list[Any], turns: list[Turn]) -> Shown:
        if not asked.strip():
            return shown, turns, ""
        reply = jobs.reply(page.workspace.run(run), asked, turns)
        told = {"user": escape(asked), "assistant": page.draw("said", reply)}
        said = [{"role": who, "content": text} for who, text in told.items()]
        return [*shown, *said], [*turns, (asked, reply.text)], ""

    for asks in (send.click, asked.submit):
        page.on(asks, talk, [page.run, asked, chat, turns], [chat, turns, asked], **BOT)
    for clear in (anew.click, chat.clear):
        page.on(clear, lambda: ([], []), None, [chat, turns])


def live(page: Page) -> None:
    """8: the gate, the release, and the files for elsewhere."""
    say, workspace = page.say, page.workspace
    with page.step(8, "live_lead"):
        out = gr.HTML(elem_id="out")
        with gr.Row():
            back, release = page.button("live_back"), page.button("live_release", True)
        forms = [(say(f"form_{f}"), f) for f in FORMS]
        form = gr.Radio(forms, value="zip", label=say("live_form"))
        export = page.button("live_export")
        packing = gr.HTML(elem_id="packing")
        get = gr.DownloadButton(say("live_get"), visible=False, elem_id="get")

    def released(run: str | None) -> str:
        reasons = jobs.refused(workspace, run, say.language)
        if reasons:
            return page.draw("refused", reasons)
        jobs.let_out(workspace, run, 0.0)
        return page.draw("released", releases.current(workspace))

    def look(at: jobs.Progress) -> Shown:
        zipped = at.job.out.endswith(".zip") and not at.busy and not at.wrong
        get = gr.DownloadButton(value=at.job.out if zipped else None, visible=zipped)
        return page.draw("packing", at), get

    page.watch([packing, get], look)
    page.on(page.load, lambda: page.draw("released", releases.current(workspace)), None, out)
    page.on(release.click, released, page.run, out)
    page.on(back.click, lambda: page.draw("released", releases.back(workspace)), None, out)
    page.begins(export.click, partial(jobs.start_export, workspace), [page.run, form])
