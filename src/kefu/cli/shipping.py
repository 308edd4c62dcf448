"""Export, and the demo of the whole job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from .. import show
from ..export import FORMS, Form
from ..workspace import Workspace, dump
from .base import EXAMPLES, as_json, cli, emit


@cli.command(epilog=EXAMPLES + "kefu export first --to zip --out first.zip")
@click.argument("run", required=False)
@click.option("--to", "form", type=click.Choice(FORMS), default="zip", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="File or folder to write.")
@click.option("--force", is_flag=True, help="Write over what is there.")
@click.option("--repo", metavar="OWNER/NAME", help="Where on the model hub, for `hub`.")
@click.option(
    "--type",
    "types",
    type=click.Choice(["f32", "f16", "q8_0", "q4_k_m"]),
    multiple=True,
    help="Number format of a GGUF file; may be given again.",
)
@click.option("--lora", is_flag=True, help="The adapter alone as a GGUF LoRA, for `gguf`.")
@click.option(
    "--on",
    "base",
    type=click.Path(path_type=Path, exists=True),
    help="GGUF file of the base, on which the LoRA is examined.",
)
@click.option("--check/--no-check", default=True, help="Put the exam to the export itself before.")
@click.option(
    "--exam",
    type=click.Path(path_type=Path, exists=True),
    help="Another exam than the run's own.",
)
@as_json
@click.pass_obj
def export(
    workspace: Workspace,
    run: str | None,
    form: Form,
    out: Path | None,
    force: bool,
    repo: str | None,
    types: tuple[str, ...],
    lora: bool,
    base: Path | None,
    check: bool,
    exam: Path | None,
    json_: bool,
) -> None:
    """Pack a run for another machine or another engine.

    The exam is put to the export itself, in its own engine: where one fact is lost, nothing is
    exported.
    """
    from ..jobs import export as work

    folder = workspace.run(run)
    to = out or Path(f"{folder.name}.zip" if form == "zip" else f"{folder.name}-{form}")
    said = {"repo": repo, "types": types, "lora": lora, "base": base}
    options: dict[str, Any] = {name: value for name, value in said.items() if value}
    say = show.aside if not json_ else lambda message: None
    made = work(folder, form, to, force=force, check=check, exam=exam, say=say, **options)
    if json_:
        return emit(dump(made))
    for note in made.notes:
        show.aside(note)
    show.say(str(made.path))
    return None


@cli.command(epilog=EXAMPLES + "kefu demo")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--steps", type=click.IntRange(1), help="Optimizer steps, in place of the plan's.")
def demo(folder: Path, steps: int | None) -> None:
    """The whole job on the sample FAQ with the embedded base, on this machine."""
    from .. import jobs
    from ..plan import probe

    jobs.init(folder)
    workspace = Workspace(folder.resolve())
    settings = workspace.settings().model_copy(
        update={"thorough": "quick", "base": "gemma-3-270m", "precision": "auto"}
    )
    show.heading("1. 讀檔與檢查 What was found")
    found = jobs.open_faq(workspace, settings, None)
    show.faq(found)
    show.findings(jobs.check_faq(found, settings))
    show.heading("2. 計畫 What is planned")
    prepared = jobs.prepare(found, settings, probe(), hold_out=False, steps=steps)
    why = prepared.plan.base.because.removeprefix("You set this. ")  # its size and its licence
    base = replace(
        prepared.plan.base, because=f"The demo's: it works offline on any machine. {why}"
    )
    prepared = replace(prepared, plan=replace(prepared.plan, base=base))
    show.plan(prepared.plan)
    show.heading("3. 訓練 Training")
    bar = show.Progress()
    try:
        run = jobs.train(workspace, prepared, on_step=bar.step, on_start=bar.start)
    finally:
        bar.close()
    folder_ = workspace.run(run.name)
    show.trained(run, jobs.loss_curve(folder_))
    bot = jobs.settle(folder_, settings.max_false_answers)
    show.heading("4. 問答 Questions in words that were not trained")
    for question in DEMO_QUESTIONS:
        reply = bot.answer(question)
        show.say(f"問 {question}")
        show.say(f"答 {reply.text}  ({reply.last_token:.1f} s)")
    show.heading("5. 接下來 Next")
    for words in (("chat",), ("eval", run.name), ("export", run.name)):
        show.say(f"  {show.command('-C', folder, *words)}")


DEMO_QUESTIONS = ("產品保固多久？", "如何退貨？", "客服電話是什麼？", "今天台北會下雨嗎？")
