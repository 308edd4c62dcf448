"""What a run is worth: exam, eval, advise, runs, compare, release."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from .. import show
from ..records import MODES, Mode, Report
from ..workspace import RunFolder, Workspace, dump
from .base import EXAMPLES, Asked, as_json, cli, emit, ray_option, with_faq


@cli.command(epilog=EXAMPLES + "kefu exam shop.csv --to exam.jsonl")
@click.option("--to", type=click.Path(path_type=Path), help="File to write; else it is shown.")
@with_faq
@as_json
def exam(
    asked: Asked,
    to: Path | None,
    json_: bool,
) -> None:
    """Make an exam from an FAQ: the questions that a bot has to pass."""
    from collections import Counter

    from .. import exam as exams

    found = asked.faq()
    split = exams.split(found, seed=asked.settings.seed)
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
@ray_option
@as_json
@click.pass_obj
def evaluate(
    workspace: Workspace,
    run: str | None,
    exam_: Path | None,
    mode: Mode | None,
    controls: bool,
    language: Any,
    ray: str | None,
    json_: bool,
) -> None:
    """Examine a run and its controls on wordings that were never trained."""
    folder = workspace.run(run)
    work: Any = None
    if ray is not None:
        from .. import scale

        work = partial(scale.evaluate, address=ray)
    report = examined(workspace, folder, work, exam=exam_, mode=mode, controls=controls)
    if json_:
        return emit(dump(report))
    tell_report(folder, report, language)
    return None


def examined(workspace: Workspace, folder: RunFolder, work: Any = None, **said: Any) -> Report:
    """A run's report, beside the release that is out. `work` examines in place of
    `jobs.evaluate`, and gets `said`."""
    from .. import jobs, releases

    placed = releases.current(workspace)
    previous = workspace.run(placed.run) if placed else None
    with show.counting("examined") as tell:
        made: Report = (work or jobs.evaluate)(
            folder,
            previous=previous,
            embedder=workspace.settings().embedder,
            on_verdict=lambda who, verdict, done, of: tell(done, of),
            **said,
        )
    return made


def tell_report(folder: RunFolder, report: Report, language: Any = "en") -> None:
    """The report as text, and where its page lies."""
    from ..score import pictures

    show.say(pictures.as_text(report, language))
    show.say(f"{folder.file('report.html')}")


@cli.command(epilog=EXAMPLES + "kefu advise first")
@click.argument("run", required=False)
@as_json
@click.pass_obj
def advise(workspace: Workspace, run: str | None, json_: bool) -> None:
    """Say why a run's exam fell short, row by row, and what to do about it."""
    from .. import jobs

    made = jobs.advice_on(workspace.run(run), workspace.settings())
    if json_:
        return emit(dump(made))
    show.advice(made)
    return None


@cli.command(epilog=EXAMPLES + "kefu runs")
@as_json
@click.pass_obj
def runs(workspace: Workspace, json_: bool) -> None:
    """List the runs of this folder with what came of them."""
    from .. import jobs

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
    from .. import jobs

    made = jobs.compare_runs(workspace.run(a), workspace.run(b))
    if json_:
        return emit(dump(made))
    show.comparison(made)
    return None


@cli.command(epilog=EXAMPLES + "kefu threshold first --allowed 0.05")
@click.argument("run", required=False)
@click.option(
    "--allowed",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Of what the bot answers, how much may be wrong; else as kefu.toml says.",
)
@click.option(
    "--reranker",
    metavar="BASE",
    help="A larger base that reads rows from now on: a known name, a folder, or none.",
)
@as_json
@click.pass_obj
def threshold(
    workspace: Workspace, run: str | None, allowed: float | None, reranker: str | None, json_: bool
) -> None:
    """Set how sure a run must be to answer, without training it again."""
    from .. import jobs

    folder = workspace.run(run)
    share = allowed if allowed is not None else workspace.settings().max_false_answers
    made = jobs.set_threshold(folder, share, reranker, show.aside)
    if json_:
        return emit(dump(made))
    show.threshold(made)
    show.say(f"Next: `kefu eval {folder.name}`: with another threshold it is another bot.")
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
    from .. import jobs, releases

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
