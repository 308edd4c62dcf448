"""The page: eight steps from a file to a bot that is out. Layout and wiring only.

A button is called in the page (`elem_id`) as in data/words.toml.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from .desk import COLUMNS
from .face import Face, go
from .words import LANGUAGES

FILES = [".csv", ".tsv", ".xlsx", ".xlsm", ".json", ".jsonl", ".md", ".txt"]
DIAL = ("quick", "normal", "thorough")
FORMS = ("zip", "adapter", "merged", "gguf", "ollama")
SCROLL = "() => document.getElementById('findings')?.scrollIntoView({behavior: 'smooth'})"
TABLE: dict[str, Any] = {"type": "array", "interactive": True, "wrap": True, "max_height": 520}
ONE: dict[str, Any] = {"concurrency_id": "bot", "concurrency_limit": 1}


def build(face: Face) -> Any:
    """The page in the face's language."""
    say = face.say

    def button(key: str, first: bool = False, **more: Any) -> Any:
        more.setdefault("elem_id", key)
        return gr.Button(say(key), variant="primary" if first else "secondary", **more)

    def version() -> Any:
        return gr.Dropdown([], label=say("version"), scale=3)

    def on(event: Any, work: Any, given: Any, shown: Any, **more: Any) -> Any:
        return event(face.told(work), given, shown, **more)

    other = next(x for x in LANGUAGES if x != say.language)
    with gr.Blocks(analytics_enabled=False, title=say("title")) as page:
        gr.HTML(say.picture("top", other))
        clock = gr.Timer(1, active=False)
        with gr.Walkthrough(selected=0) as steps:
            with gr.Step(say("step1"), id=0):
                gr.Markdown(say("file_lead"))
                label = say("file_drop")
                upload = gr.File(label=label, file_types=FILES, elem_id="upload", height=190)
                with gr.Row():
                    sample = button("file_sample")
                    again = gr.Button(visible=False, elem_id="file_go_on")
                with gr.Row(visible=False) as shortcuts:
                    gr.Markdown(say("file_jump"))
                    later = ("step5", "step6", "step7", "step8")
                    jumps = [button(key, size="sm", min_width=70) for key in later]
                with gr.Column(visible=False) as below:
                    findings = gr.HTML(elem_id="findings")
                    gr.Markdown(say("table_lead"))
                    heads = [say(f"col_{c}") for c in COLUMNS]
                    widths: list[str | int] = [110, 200, 330, 240, 85, 85]
                    table = gr.Dataframe(
                        headers=heads, column_widths=widths, static_columns=[0],
                        elem_id="table", **TABLE,
                    )  # fmt: skip
                    with gr.Row():
                        save, to_wordings = button("table_save"), button("table_next", True)
            with gr.Step(say("step2"), id=1):
                gr.Markdown(say("word_lead"))
                none = gr.HTML()
                heads, widths = (
                    [say("word_keep"), say("word_new"), say("col_question")],
                    [95, 420, 535],
                )
                words = gr.Dataframe(
                    headers=heads, column_widths=widths, static_columns=[2],
                    datatype=["bool", "str", "str"], elem_id="words", **TABLE,
                )  # fmt: skip
                with gr.Row():
                    skip, accept = button("word_skip"), button("word_accept", True)
            with gr.Step(say("step3"), id=2):
                gr.Markdown(say("plan_lead"))
                usual = face.workspace.settings().thorough
                choices = [(say(d), d) for d in DIAL]
                dial = gr.Radio(choices, value=usual, show_label=False, elem_id="dial")
                plan = gr.HTML(elem_id="plan")
                with gr.Accordion(say("plan_all"), open=False, elem_id="numbers"):
                    numbers = gr.HTML()
                with gr.Accordion(say("plan_more"), open=False), gr.Row():
                    name = gr.Textbox(label=say("plan_name"))
                    count = gr.Number(0, label=say("plan_steps"), precision=0, minimum=0)
                start = button("plan_start", True)
            with gr.Step(say("step4"), id=3):
                gr.Markdown(say("train_lead"))
                live = gr.HTML(elem_id="live")
                chart = gr.LinePlot(x="step", y="loss", height=260, show_label=False)
                gr.Markdown(say("train_chart"))
                with gr.Row():
                    stop = button("train_stop", visible=False)
                    resume = button("train_resume", True, visible=False)
                    to_exam = button("train_exam", True, visible=False)
            with gr.Step(say("step5"), id=4):
                gr.Markdown(say("exam_lead"))
                with gr.Row(equal_height=True):
                    examinee, examine = version(), button("exam_start", True)
                exam = gr.HTML(elem_id="exam")
                exam_stop = button("train_stop", visible=False, elem_id="exam_stop")
                report = gr.HTML(elem_id="report")
                to_two = button("exam_next", True)
            with gr.Step(say("step6"), id=5):
                gr.Markdown(say("two_lead"))
                with gr.Row():
                    a, b = version(), version()
                blind = gr.Checkbox(True, label=say("two_blind"))
                hint = say("question_eg")
                asked_both = gr.Textbox(label=say("question"), placeholder=hint, elem_id="ask-both")
                ask_both = button("two_ask", True)
                answers = gr.HTML(elem_id="answers")
                pair, tally = gr.State(), gr.State({})
                with gr.Row(visible=False) as votes:
                    sides = [
                        (button(f"two_{x}"), i) for x, i in (("left", 0), ("same", 2), ("right", 1))
                    ]
                compare = button("two_exam")
                difference = gr.HTML(elem_id="difference")
                to_chat = button("two_next")
            with gr.Step(say("step7"), id=6):
                gr.Markdown(say("chat_lead"))
                talker = version()
                chat = gr.Chatbot(height=380, show_label=False, elem_id="chat", buttons=[])
                turns = gr.State([])
                with gr.Row(equal_height=True):
                    asked = gr.Textbox(show_label=False, placeholder=hint, scale=4, elem_id="asked")
                    send = button("chat_send", True)
                with gr.Row():
                    anew, to_live = button("chat_new"), button("chat_next")
            with gr.Step(say("step8"), id=7):
                gr.Markdown(say("live_lead"))
                packed = version()
                out = gr.HTML(elem_id="out")
                with gr.Row():
                    back, release = button("live_back"), button("live_release", True)
                form = gr.Radio(
                    [(say(f"form_{f}"), f) for f in FORMS], value="zip", label=say("live_form")
                )
                export = button("live_export")
                packing = gr.HTML(elem_id="packing")
                get = gr.DownloadButton(say("live_get"), visible=False, elem_id="get")

        shown = [findings, table, below]
        told = [live, chart, stop, resume, to_exam, exam, exam_stop, packing, get]
        lists = [examinee, a, b, talker, packed]
        begun = [steps, clock, *told]
        planned = [steps, name, plan, numbers]
        uploaded = on(upload.upload, face.uploaded, upload, shown)
        uploaded.then(lambda: None, None, upload, js=SCROLL)
        on(sample.click, face.sampled, None, shown)
        on(again.click, face.table, None, shown)
        on(save.click, face.saved, table, shown)
        on(to_wordings.click, face.to_wordings, table, [*shown, steps, words, none])
        on(accept.click, face.to_plan, [dial, words], planned)
        on(skip.click, face.to_plan, dial, planned)
        for turned in (dial.input, count.change):
            on(turned, face.planned, [dial, count], [plan, numbers])
        on(start.click, face.train, [dial, count, name], begun)
        for end in (stop, exam_stop):
            on(end.click, face.stop, None, None)
        on(resume.click, face.resume, None, begun)
        on(clock.tick, face.beat, None, [*told, report, *lists, clock], show_progress="hidden")
        on(to_exam.click, partial(face.examine, None), None, [*begun, report])
        on(examine.click, face.examine, examinee, [*begun, report])
        on(examinee.change, face.report, examinee, report)
        for asks in (ask_both.click, asked_both.submit):
            on(asks, face.both, [a, b, asked_both, blind], [answers, pair, votes], **ONE)
        for side, place in sides:
            on(side.click, partial(face.chose, place), [pair, tally], [answers, tally, votes])
        on(compare.click, face.exams, [a, b], difference)
        for asks in (send.click, asked.submit):
            on(asks, face.chat, [talker, asked, chat, turns], [chat, turns, asked], **ONE)
        for clear in (anew.click, chat.clear):
            on(clear, lambda: ([], []), None, [chat, turns])
        on(release.click, face.release, packed, out)
        on(back.click, face.back, None, out)
        on(export.click, face.export, [packed, form], begun)
        moves = ((to_two, 5), (to_chat, 6), (to_live, 7), *zip(jumps, (4, 5, 6, 7), strict=True))
        for move, place in moves:
            on(move.click, partial(go, place), None, steps)
        on(page.load, face.opened, None, [again, steps, clock, *told, *lists, out, shortcuts])
    return page
