"""The page: eight steps from a file to a bot that is out. Layout and wiring only."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from .face import Face
from .words import LANGUAGES

FILES = [".csv", ".tsv", ".xlsx", ".xlsm", ".json", ".jsonl", ".md", ".txt"]
DIAL = ("quick", "normal", "thorough")
SCROLL = "() => document.getElementById('findings')?.scrollIntoView({behavior: 'smooth'})"
FORMS = ("zip", "adapter", "merged", "gguf", "ollama")


def build(face: Face) -> Any:
    """The page in the face's language."""
    say = face.say
    other = next(x for x in LANGUAGES if x != face.language)
    with gr.Blocks(analytics_enabled=False, title=say("title")) as page:
        gr.HTML(
            f'<div class="k-top"><div class="k-mark">客</div><div><h1>{say("title")}</h1>'
            f'<p>{say("tagline")}</p></div><a href="../{other}/">{say("other")}</a></div>'
        )
        clock = gr.Timer(1, active=False)
        with gr.Walkthrough(selected=0) as steps:
            with gr.Step(say("step1"), id=0):
                gr.Markdown(say("file_lead"))
                upload = gr.File(
                    label=say("file_drop"), file_types=FILES, elem_id="upload", height=190
                )
                with gr.Row():
                    sample = gr.Button(say("file_sample"), elem_id="sample")
                    again = gr.Button(visible=False, elem_id="again")
                with gr.Row(visible=False) as shortcuts:
                    gr.Markdown(say("file_jump"))
                    jumps = [
                        gr.Button(say(f"step{n}"), size="sm", min_width=70, elem_id=f"jump{n}")
                        for n in (5, 6, 7, 8)
                    ]
                with gr.Column(visible=False) as below:
                    findings = gr.HTML(elem_id="findings")
                    gr.Markdown(say("table_lead"))
                    columns = ("finding", "question", "answer", "wordings", "topic", "must")
                    table = gr.Dataframe(
                        headers=[say(f"col_{c}") for c in columns],
                        type="array",
                        interactive=True,
                        wrap=True,
                        static_columns=[0],
                        column_widths=[110, 190, 310, 230, 80, 80],
                        max_height=520,
                        elem_id="table",
                    )
                    with gr.Row():
                        save = gr.Button(say("table_save"), elem_id="save")
                        to_wordings = gr.Button(
                            say("table_next"), variant="primary", elem_id="to-wordings"
                        )
            with gr.Step(say("step2"), id=1):
                gr.Markdown(say("word_lead"))
                none = gr.HTML()
                words = gr.Dataframe(
                    headers=[say("word_keep"), say("word_new"), say("col_question")],
                    datatype=["bool", "str", "str"],
                    type="array",
                    interactive=True,
                    wrap=True,
                    static_columns=[2],
                    column_widths=[70, 400, 510],
                    max_height=520,
                    elem_id="words",
                )
                with gr.Row():
                    skip = gr.Button(say("word_skip"), elem_id="skip")
                    accept = gr.Button(say("word_accept"), variant="primary", elem_id="accept")
            with gr.Step(say("step3"), id=2):
                gr.Markdown(say("plan_lead"))
                dial = gr.Radio(
                    [(say(d), d) for d in DIAL],
                    value=face.workspace.settings().thorough,
                    show_label=False,
                    elem_id="dial",
                )
                plan = gr.HTML(elem_id="plan")
                with gr.Accordion(say("plan_all"), open=False, elem_id="numbers"):
                    numbers = gr.HTML()
                with gr.Accordion(say("plan_more"), open=False, elem_id="more"), gr.Row():
                    name = gr.Textbox(label=say("plan_name"), elem_id="name")
                    count = gr.Number(0, label=say("plan_steps"), precision=0, minimum=0)
                start = gr.Button(say("plan_start"), variant="primary", size="lg", elem_id="start")
            with gr.Step(say("step4"), id=3):
                gr.Markdown(say("train_lead"))
                live = gr.HTML(elem_id="live")
                chart = gr.LinePlot(x="step", y="loss", height=260, show_label=False)
                gr.Markdown(say("train_chart"))
                with gr.Row():
                    stop = gr.Button(
                        say("train_stop"), variant="stop", visible=False, elem_id="stop"
                    )
                    resume = gr.Button(
                        say("train_resume"), variant="primary", visible=False, elem_id="resume"
                    )
                    to_exam = gr.Button(
                        say("train_exam"), variant="primary", visible=False, elem_id="to-exam"
                    )
            with gr.Step(say("step5"), id=4):
                gr.Markdown(say("exam_lead"))
                with gr.Row(equal_height=True):
                    examinee = gr.Dropdown([], label=say("version"), scale=3)
                    examine = gr.Button(say("exam_start"), variant="primary", elem_id="examine")
                exam = gr.HTML(elem_id="exam")
                exam_stop = gr.Button(say("train_stop"), visible=False, elem_id="exam-stop")
                report = gr.HTML(elem_id="report")
                to_two = gr.Button(say("exam_next"), variant="primary", elem_id="to-two")
            with gr.Step(say("step6"), id=5):
                gr.Markdown(say("two_lead"))
                with gr.Row():
                    a = gr.Dropdown([], label=say("version"))
                    b = gr.Dropdown([], label=say("version"))
                blind = gr.Checkbox(True, label=say("two_blind"))
                asked_both = gr.Textbox(
                    label=say("question"), placeholder=say("question_eg"), elem_id="ask-both"
                )
                ask_both = gr.Button(say("two_ask"), variant="primary", elem_id="both")
                answers = gr.HTML(elem_id="answers")
                pair, tally = gr.State(), gr.State({})
                with gr.Row(visible=False) as votes:
                    sides = [
                        (gr.Button(say(key), elem_id=key), side)
                        for key, side in (("two_left", 0), ("two_same", 2), ("two_right", 1))
                    ]
                compare = gr.Button(say("two_exam"), elem_id="compare")
                difference = gr.HTML(elem_id="difference")
                to_chat = gr.Button(say("two_next"), elem_id="to-chat")
            with gr.Step(say("step7"), id=6):
                gr.Markdown(say("chat_lead"))
                talker = gr.Dropdown([], label=say("version"))
                chat = gr.Chatbot(height=380, show_label=False, elem_id="chat", buttons=[])
                turns = gr.State([])
                with gr.Row(equal_height=True):
                    asked = gr.Textbox(
                        show_label=False, placeholder=say("question_eg"), scale=4, elem_id="asked"
                    )
                    send = gr.Button(say("chat_send"), variant="primary", elem_id="send")
                with gr.Row():
                    anew = gr.Button(say("chat_new"))
                    to_live = gr.Button(say("chat_next"), elem_id="to-live")
            with gr.Step(say("step8"), id=7):
                gr.Markdown(say("live_lead"))
                packed = gr.Dropdown([], label=say("version"))
                out = gr.HTML(elem_id="out")
                with gr.Row():
                    back = gr.Button(say("live_back"), elem_id="back")
                    release = gr.Button(say("live_release"), variant="primary", elem_id="release")
                form = gr.Radio(
                    [(say(f"form_{f}"), f) for f in FORMS], value="zip", label=say("live_form")
                )
                export = gr.Button(say("live_export"), elem_id="export")
                export_state = gr.HTML(elem_id="export-state")
                get = gr.DownloadButton(say("live_get"), visible=False, elem_id="get")

        shown = [findings, table, below]
        told = [live, chart, stop, resume, to_exam, exam, exam_stop, export_state, get]
        lists = [examinee, a, b, talker, packed]
        begun = [steps, clock, *told]
        upload.upload(face.uploaded, upload, shown).then(lambda: None, None, upload, js=SCROLL)
        sample.click(face.sampled, None, shown)
        again.click(face.went_on, None, shown)
        save.click(face.saved, table, shown)
        to_wordings.click(face.to_wordings, table, [*shown, steps, words, none])
        planned = [steps, plan, numbers, name]
        accept.click(face.to_plan, [words, dial], planned)
        skip.click(partial(face.to_plan, []), dial, planned)
        gr.on([dial.input, count.change], face.planned, [dial, count], [plan, numbers])
        start.click(face.train, [dial, count, name], begun)
        gr.on([stop.click, exam_stop.click], face.stop)
        resume.click(face.resume, None, begun)
        clock.tick(face.beat, None, [*told, report, *lists, clock], show_progress="hidden")
        to_exam.click(partial(face.examine, None), None, [*begun, report])
        examine.click(face.examine, examinee, [*begun, report])
        examinee.change(face.report, examinee, report)
        one = {"concurrency_id": "bot", "concurrency_limit": 1}
        gr.on(
            [ask_both.click, asked_both.submit],
            face.both,
            [a, b, asked_both, blind],
            [answers, pair, votes],
            **one,
        )
        for button, side in sides:
            button.click(partial(face.chose, side), [pair, tally], [answers, tally, votes])
        compare.click(face.exams, [a, b], difference)
        gr.on(
            [send.click, asked.submit],
            face.chat,
            [talker, asked, chat, turns],
            [chat, turns, asked],
            **one,
        )
        gr.on([anew.click, chat.clear], lambda: ([], []), None, [chat, turns])
        release.click(face.release, packed, out)
        back.click(face.back, None, out)
        export.click(face.export, [packed, form], begun)
        moves = ((to_two, 5), (to_chat, 6), (to_live, 7), *zip(jumps, (4, 5, 6, 7), strict=True))
        for button, place in moves:
            button.click(partial(_go, place), None, steps)
        page.load(face.opened, None, [again, steps, clock, *told, *lists, out, shortcuts])
    return page


def _go(place: int) -> Any:
    return gr.Walkthrough(selected=place)
