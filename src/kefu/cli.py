"""The command line: one adapter a command. Parse, call one door, hand the result to `show`.

Only `main` exits. Nothing here imports torch; the commands that need it do so when they run.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from . import __version__, show
from .errors import KefuError
from .export import FORMS, Form
from .records import MODES, Mode
from .settings import Settings, parse
from .workspace import Workspace, cannot_write, dump

EXAMPLES = "\b\nExample:\n  "


class Commands(click.Group):
    """Lists commands in the order of the work, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kefu")
@click.option(
    "-C", "--folder", type=click.Path(path_type=Path), help="Work in this folder, not in this one."
)
@click.pass_context
def cli(ctx: click.Context, folder: Path | None) -> None:
    """kefu 客服: from an FAQ file to a customer-service bot that its owner can trust.

    \b
    Example:
      kefu init && kefu check && kefu train && kefu ask "如何退貨？"
    """
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.chdir(folder)
        except OSError as error:
            raise cannot_write(folder, error) from None
    ctx.obj = Workspace.find()


Command = Callable[..., Any]


def with_settings(command: Command) -> Command:
    """The options that override kefu.toml, and the FAQ to read."""
    options = [
        click.option("--base", help="Base model: a known name, a folder, or OWNER/NAME."),
        click.option("--recipe", type=click.Choice(["default", "tutorial"]), help="How to train."),
        click.option(
            "--thorough",
            type=click.Choice(["quick", "normal", "thorough"]),
            help="The one dial: how much practice.",
        ),
        click.option(
            "--precision",
            type=click.Choice(["auto", "nf4", "bf16", "fp16", "fp32"]),
            help="In which the base is kept.",
        ),
        click.option("--seed", type=int, help="Of everything that is drawn by lot."),
        click.option("--question", help="Name of the question column."),
        click.option("--answer", help="Name of the answer column."),
        click.option("--sheet", help="Sheet of a workbook to read."),
    ]

    @wraps(command)
    def wrapped(*args: Any, **given: Any) -> Any:
        names = ("base", "recipe", "thorough", "precision", "seed")
        said = {name: given.pop(name) for name in names}
        said = {name: value for name, value in said.items() if value is not None}
        columns = {name: given.pop(name) for name in ("question", "answer", "sheet")}
        workspace = click.get_current_context().obj
        settings = workspace.settings()
        if said:
            settings = parse({**settings.model_dump(), **said}, "the command line")
        return command(*args, settings=settings, columns=columns, **given)

    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


as_json = click.option("--json", "json_", is_flag=True, help="Print JSON for a script.")


def emit(data: Any) -> None:
    """JSON on standard output, Chinese readable."""
    click.echo(json.dumps(data, ensure_ascii=False, indent=1))


# --- from the file to a plan --------------------------------------------------------


@cli.command(epilog=EXAMPLES + "kefu init shop")
@click.argument("folder", type=click.Path(path_type=Path), default=".")
@as_json
def init(folder: Path, json_: bool) -> None:
    """Put kefu.toml and a sample FAQ into FOLDER."""
    from .jobs import init as work

    made = work(folder)
    if json_:
        return emit([str(p) for p in made])
    for path in made:
        show.say(f"made {path}")
    if not made:
        show.say("everything is here already")
    show.say("Next: put your questions into faq.csv, then run `kefu check`.")
    return None


@cli.command(epilog=EXAMPLES + "kefu check shop.xlsx")
@click.argument("faq", required=False)
@with_settings
@as_json
@click.pass_obj
def check(
    workspace: Workspace,
    faq: str | None,
    settings: Settings,
    columns: dict[str, str | None],
    json_: bool,
) -> None:
    """Read an FAQ file and say what is wrong with it, row by row."""
    from . import jobs

    found = jobs.open_faq(workspace, settings, faq, **columns)
    findings = jobs.check_faq(found, settings)
    if json_:
        emit({"pairs": len(found.pairs), "findings": [dump(f) for f in findings]})
    else:
        show.faq(found)
        show.findings(findings)
    if any(f.level == "stop" for f in findings):
        raise SystemExit(1)


@cli.command(epilog=EXAMPLES + "kefu plan shop.csv --machine t4")
@click.argument("faq", required=False)
@click.option(
    "--machine",
    help="Plan for this machine: t4, l4, a10, 3090, 4090, a100-40, h100, h200, cpu.",
)
@click.option("--reasons/--no-reasons", default=True, help="Why each number is what it is.")
@with_settings
@as_json
@click.pass_obj
def plan(
    workspace: Workspace,
    faq: str | None,
    machine: str | None,
    reasons: bool,
    settings: Settings,
    columns: dict[str, str | None],
    json_: bool,
) -> None:
    """Compute every number of a run, with its reason, before anything is loaded."""
    from . import jobs
    from .plan import probe

    found = jobs.open_faq(workspace, settings, faq, **columns)
    made = jobs.prepare(found, settings, probe(machine)).plan
    if json_:
        return emit(dump(made))
    show.plan(made, reasons)
    return None


@cli.command(epilog=EXAMPLES + "kefu reword shop.csv --to shop_wordings.csv")
@click.argument("faq", required=False)
@click.option("--per-pair", default=8, show_default=True, help="Wordings that each row shall have.")
@click.option("--to", type=click.Path(path_type=Path), help="File to write; else they are shown.")
@with_settings
@as_json
@click.pass_obj
def reword(
    workspace: Workspace,
    faq: str | None,
    per_pair: int,
    to: Path | None,
    settings: Settings,
    columns: dict[str, str | None],
    json_: bool,
) -> None:
    """Fill up other wordings of each question, for you to read and correct."""
    from . import jobs
    from .faq import write
    from .reword import endpoint, filled
    from .reword import reword as work

    found = jobs.open_faq(workspace, settings, faq, **columns)
    ask = None
    if settings.reword_endpoint:
        ask = endpoint(settings.reword_endpoint, settings.reword_model, "KEFU_API_KEY")
    made = work(found, per_pair=per_pair, seed=settings.seed, ask=ask)
    if to is not None:
        write(filled(found, made).pairs, to)
    if json_:
        return emit([dump(r) for r in made])
    if to is None:
        for r in made:
            show.say(f"{r.pair_question}\t{r.wording}")
    show.aside(f"{len(made)} wordings" + (f" written to {to}" if to else ""))
    return None


# --- training -----------------------------------------------------------------------


@cli.command(epilog=EXAMPLES + "kefu train shop.csv --name first")
@click.argument("faq", required=False)
@click.option("--name", help="Name of the run.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was stopped.")
@click.option("--steps", type=click.IntRange(1), help="Optimizer steps, in place of the plan's.")
@click.option("--wordings", type=int, help="Fill up to so many wordings by rules; 0 for none.")
@click.option(
    "--all-wordings", is_flag=True, help="Train on every wording, for an exam of your own."
)
@with_settings
@as_json
@click.pass_obj
def train(
    workspace: Workspace,
    faq: str | None,
    name: str | None,
    resume: str | None,
    steps: int | None,
    wordings: int | None,
    all_wordings: bool,
    settings: Settings,
    columns: dict[str, str | None],
    json_: bool,
) -> None:
    """Fine-tune a bot on an FAQ, by the plan."""
    from . import jobs
    from .plan import probe

    bar = show.Progress(settings.recipe == "tutorial")
    told: dict[str, Any] = {} if json_ else {"on_step": bar.step, "on_start": bar.start}
    try:
        if resume is not None:
            run = jobs.resume(workspace, resume, **told)
        else:
            found = jobs.open_faq(workspace, settings, faq, **columns)
            findings = jobs.check_faq(found, settings)
            if any(f.level == "stop" for f in findings):
                if json_:
                    emit({"findings": [dump(f) for f in findings]})
                else:
                    show.findings([f for f in findings if f.level == "stop"])
                raise SystemExit(1)
            prepared = jobs.prepare(
                found, settings, probe(), hold_out=not all_wordings, wordings=wordings, steps=steps
            )
            if not json_:
                for note in prepared.split.notes:
                    show.say(note)
            run = jobs.train(workspace, prepared, name=name, **told)
    finally:
        bar.close()
    folder = workspace.run(run.name)
    bot = jobs.settle(folder, settings.max_false_answers)
    if json_:
        return emit({**dump(run), "threshold": bot.calibration.threshold})
    show.trained(run, jobs.loss_curve(folder))
    show.say(f'Next: `kefu ask "QUESTION"`, or examine it: `kefu eval {run.name}`.')
    return None


@cli.command(epilog=EXAMPLES + "kefu ask 產品保固多久？")
@click.argument("question", nargs=-1, required=True)
@click.option("--run", "name", help="The run that answers; the newest one without this.")
@click.option("--mode", type=click.Choice(MODES), help="How to answer.")
@as_json
@click.pass_obj
def ask(
    workspace: Workspace,
    question: tuple[str, ...],
    name: str | None,
    mode: Mode | None,
    json_: bool,
) -> None:
    """Ask a bot one question; prints the answer and nothing else."""
    from .bot import Bot

    bot = Bot.open(workspace.run(name), mode=mode)
    asked = " ".join(question)
    if json_:
        return emit(dump(bot.answer(asked)))
    for piece in bot.stream(asked):
        click.echo(piece, nl=False)
        sys.stdout.flush()
    click.echo()
    return None


@cli.command(epilog=EXAMPLES + "kefu chat --run first")
@click.option("--run", "name", help="The run that answers; the newest one without this.")
@click.option("--mode", type=click.Choice(MODES), help="How to answer.")
@click.pass_obj
def chat(workspace: Workspace, name: str | None, mode: Mode | None) -> None:
    """Talk to a bot; it remembers what was said. An empty line or Ctrl-D ends it."""
    from .bot import Bot

    bot = Bot.open(workspace.run(name), mode=mode)
    history: list[tuple[str, str]] = []
    shown = sys.stdin.isatty()
    while True:
        try:
            asked = input("> " if shown else "").strip()
        except (EOFError, KeyboardInterrupt):
            break
        if not asked:
            break
        said = ""
        for piece in bot.stream(asked, history):
            said += piece
            click.echo(piece, nl=False)
            sys.stdout.flush()
        click.echo()
        history.append((asked, said))
        dropped = bot.dropped(asked, history)
        if dropped:
            show.aside(f"(the oldest {dropped} turns no longer fit and are forgotten)")


# --- the exam -------------------------------------------------------------------------


@cli.command(epilog=EXAMPLES + "kefu exam shop.csv --to exam.jsonl")
@click.argument("faq", required=False)
@click.option("--to", type=click.Path(path_type=Path), help="File to write; else it is shown.")
@with_settings
@as_json
@click.pass_obj
def exam(
    workspace: Workspace,
    faq: str | None,
    to: Path | None,
    settings: Settings,
    columns: dict[str, str | None],
    json_: bool,
) -> None:
    """Make an exam from an FAQ: the questions that a bot has to pass."""
    from collections import Counter

    from . import exam as exams
    from . import jobs

    found = jobs.open_faq(workspace, settings, faq, **columns)
    split = exams.split(found, seed=settings.seed)
    if to is not None:
        exams.write(to, split.exam)
    if json_:
        return emit({"leak": split.leak, "questions": [dump(q) for q in split.exam]})
    if to is None:
        for q in split.exam:
            show.say(f"{q.kind}\t{q.question}\t{q.answer or '-'}")
    counts = Counter(q.kind for q in split.exam)
    show.aside(", ".join(f"{n} {kind}" for kind, n in counts.items()))
    show.aside(f"leak score {split.leak}: the likeness of an asked wording to a trained one")
    for note in split.notes:
        show.aside(note)
    return None


@cli.command(name="eval", epilog=EXAMPLES + "kefu eval first --exam exam.jsonl")
@click.argument("run", required=False)
@click.option("--exam", "exam_", type=click.Path(path_type=Path), help="An exam of your own.")
@click.option("--mode", type=click.Choice(MODES), help="How to answer.")
@click.option("--controls/--no-controls", default=True, help="Examine the controls too.")
@click.option(
    "--language", type=click.Choice(["en", "zh-TW"]), default="en", help="Of what is printed."
)
@as_json
@click.pass_obj
def evaluate(
    workspace: Workspace,
    run: str | None,
    exam_: Path | None,
    mode: Mode | None,
    controls: bool,
    language: Any,
    json_: bool,
) -> None:
    """Examine a run and its controls on wordings that were never trained."""
    from . import jobs, releases
    from .score import pictures

    folder = workspace.run(run)
    placed = releases.current(workspace)
    previous = workspace.run(placed.run) if placed else None
    with show.counting("examined") as tell:
        report = jobs.evaluate(
            folder,
            exam=exam_,
            mode=mode,
            controls=controls,
            previous=previous,
            on_verdict=lambda who, verdict, done, of: tell(done, of),
        )
    if json_:
        return emit(dump(report))
    show.say(pictures.as_text(report, language))
    show.say(f"{folder.file('report.html')}")
    return None


@cli.command(epilog=EXAMPLES + "kefu runs")
@as_json
@click.pass_obj
def runs(workspace: Workspace, json_: bool) -> None:
    """List the runs of this folder with what came of them."""
    from . import jobs

    found = [jobs.summary(folder) for folder in workspace.runs()]
    if json_:
        return emit(found)
    if not found:
        show.say(f"There is no run in {workspace.runs_folder} yet. Train one: `kefu train`.")
        return None
    head = ("run", "state", "base", "recipe", "steps", "last loss", "right", "trained")
    keys = ("name", "state", "base", "recipe", "steps", "loss", "right", "at")
    for line in show.table(head, [[str(r[k]) for k in keys] for r in found]):
        show.say(line)
    return None


@cli.command(epilog=EXAMPLES + "kefu compare first second")
@click.argument("a")
@click.argument("b")
@as_json
@click.pass_obj
def compare(workspace: Workspace, a: str, b: str, json_: bool) -> None:
    """Say what changed between two runs, and whether it is more than luck."""
    from . import jobs

    made = jobs.compare_runs(workspace.run(a), workspace.run(b))
    if json_:
        return emit(dump(made))
    show.comparison(made)
    return None


@cli.command(epilog=EXAMPLES + "kefu release first")
@click.argument("run", required=False)
@click.option("--back", is_flag=True, help="Return to the release before.")
@click.option("--allow-worse", default=0.0, help="Share of right answers that may be lost.")
@click.option("--history", is_flag=True, help="List who released what and when.")
@as_json
@click.pass_obj
def release(
    workspace: Workspace,
    run: str | None,
    back: bool,
    allow_worse: float,
    history: bool,
    json_: bool,
) -> None:
    """Let a run out, if its exam allows; or go back to the one before."""
    from . import jobs, releases

    if history:
        found = releases.history(workspace)
        if json_:
            return emit([dump(r) for r in found])
        for record in found:
            show.release(record)
        return None
    made = releases.back(workspace) if back else jobs.let_out(workspace, run, allow_worse)
    if json_:
        return emit(dump(made))
    show.release(made)
    return None


# --- shipping -------------------------------------------------------------------------


@cli.command(epilog=EXAMPLES + "kefu export first --to zip --out first.zip")
@click.argument("run", required=False)
@click.option("--to", "form", type=click.Choice(FORMS), default="zip", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="File or folder to write.")
@click.option("--force", is_flag=True, help="Write over what is there.")
@click.option("--repo", metavar="OWNER/NAME", help="Where on the model hub, for `hub`.")
@as_json
@click.pass_obj
def export(
    workspace: Workspace,
    run: str | None,
    form: Form,
    out: Path | None,
    force: bool,
    repo: str | None,
    json_: bool,
) -> None:
    """Pack a run for another machine or another engine."""
    from .export import export as work

    folder = workspace.run(run)
    to = out or Path(f"{folder.name}.zip" if form == "zip" else f"{folder.name}-{form}")
    where: dict[str, Any] = {"repo": repo} if form == "hub" else {}
    made = work(folder, form, to, force=force, **where)
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
    from . import jobs
    from .plan import probe

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
    base = replace(prepared.plan.base, because="The demo's: it works offline on any machine.")
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


def main() -> None:
    """Runs a command; every fault of input ends with one sentence, a remedy and exit code 2."""
    for stream in (sys.stdout, sys.stderr):  # Windows and bare locales would trip over Chinese
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(encoding="utf-8", errors="replace")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        cli(standalone_mode=False)
    except KefuError as error:
        show.error(error.what, error.fix)
        sys.exit(2)
    except click.exceptions.Abort:
        show.aside("stopped")
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        show.aside("stopped")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
