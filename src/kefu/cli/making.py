"""From an FAQ file to a trained run: init, check, plan, reword, train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .. import show
from ..workspace import dump
from . import judging, scaling
from .base import EXAMPLES, Asked, as_json, cli, emit, ray_option, with_faq


@cli.command(epilog=EXAMPLES + "kefu init shop")
@click.argument("folder", type=click.Path(path_type=Path), default=".")
@as_json
def init(folder: Path, json_: bool) -> None:
    """Put kefu.toml and a sample FAQ into FOLDER."""
    from ..jobs import init as work

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
@with_faq
@as_json
def check(
    asked: Asked,
    json_: bool,
) -> None:
    """Read an FAQ file and say what is wrong with it, row by row."""
    from .. import jobs

    found = asked.faq()
    findings = jobs.check_faq(found, asked.settings)
    if json_:
        emit({"pairs": len(found.pairs), "findings": [dump(f) for f in findings]})
    else:
        show.faq(found)
        show.findings(findings)
    if any(f.level == "stop" for f in findings):
        raise SystemExit(1)


@cli.command(epilog=EXAMPLES + "kefu plan shop.csv --machine t4")
@click.option(
    "--machine",
    help="Plan for this machine: t4, l4, a10, 3090, 4090, a100-40, h100, h200, cpu.",
)
@click.option("--gpus", type=click.IntRange(1), default=1, help="Plan for so many GPUs at once.")
@click.option("--reasons/--no-reasons", default=True, help="Why each number is what it is.")
@with_faq
@as_json
def plan(
    asked: Asked,
    machine: str | None,
    gpus: int,
    reasons: bool,
    json_: bool,
) -> None:
    """Compute every number of a run, with its reason, before anything is loaded."""
    from .. import jobs
    from ..plan import probe

    found = asked.faq()
    made = jobs.prepare(found, asked.settings, probe(machine), cards=gpus).plan
    if json_:
        return emit(dump(made))
    show.plan(made, reasons)
    return None


@cli.command(epilog=EXAMPLES + "kefu reword shop.csv --to shop_wordings.csv")
@click.option("--per-pair", default=8, show_default=True, help="Wordings that each row shall have.")
@click.option("--to", type=click.Path(path_type=Path), help="File to write; else they are shown.")
@with_faq
@as_json
def reword(
    asked: Asked,
    per_pair: int,
    to: Path | None,
    json_: bool,
) -> None:
    """Fill up other wordings of each question, for you to read and correct."""
    from ..faq import write
    from ..jobs import proposals
    from ..reword import filled

    found = asked.faq()
    made = proposals(found, asked.settings, per_pair)
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
@click.option("--name", help="Name of the run.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was stopped.")
@click.option(
    "--again", metavar="RUN", help="Train anew what this run missed, with what advise says applied."
)
@click.option("--steps", type=click.IntRange(1), help="Optimizer steps, in place of the plan's.")
@click.option("--wordings", type=int, help="Fill up to so many wordings by rules; 0 for none.")
@click.option(
    "--all-wordings", is_flag=True, help="Train on every wording, for an exam of your own."
)
@click.option(
    "--eval", "eval_", is_flag=True, help="Examine it at once, as `kefu eval` does, loaded once."
)
@click.option(
    "--gpus", type=click.IntRange(1), help="Train on so many GPUs of this machine at once."
)
@click.option(
    "--shard/--no-shard",
    default=None,
    help="With --gpus: split the base over them, or not; without it where no GPU holds it whole.",
)
@click.option(
    "--matrix",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Train every FAQ of a folder, through Ray: an adapter each, on one base.",
)
@ray_option
@with_faq
@as_json
def train(
    asked: Asked,
    name: str | None,
    resume: str | None,
    again: str | None,
    steps: int | None,
    wordings: int | None,
    all_wordings: bool,
    eval_: bool,
    gpus: int | None,
    shard: bool | None,
    matrix: Path | None,
    ray: str | None,
    json_: bool,
) -> None:
    """Fine-tune a bot on an FAQ, by the plan."""
    from .. import jobs
    from ..plan import probe

    if again is not None and (resume or wordings is not None or steps is not None):
        raise click.UsageError("--again goes without --resume, --wordings and --steps.")
    if eval_ and (matrix is not None or all_wordings):
        raise click.UsageError("--eval goes without --matrix and --all-wordings.")
    if matrix is not None:
        return scaling.matrix(asked, matrix, steps, wordings, ray, json_)
    if ray is not None:
        raise click.UsageError("--ray goes with --matrix; for one run there is --gpus.")

    if gpus and gpus > 1 and not jobs.launched():
        raise SystemExit(jobs.on_gpus(gpus, click.get_current_context().meta["words"]))
    if jobs.joined():
        return None

    cards = jobs.processes()
    bar = show.Progress(asked.settings.recipe == "tutorial")
    told: dict[str, Any] = {"report_to": asked.settings.report_to}
    if not json_:
        told |= {"on_step": bar.step, "on_start": bar.start}
    try:
        if resume is not None:
            bar.planned = asked.workspace.run(resume).plan().forecast.seconds
            run = jobs.resume(asked.workspace, resume, shard=shard, **told)
        else:
            before = asked.workspace.run(again) if again is not None else None
            lent = before is not None and not (asked.path or asked.settings.faq)
            found = before.faq() if before is not None and lent else asked.faq()
            if jobs.stops(found):
                findings = jobs.check_faq(found, asked.settings)
                if json_:
                    emit({"findings": [dump(f) for f in findings]})
                else:
                    show.findings([f for f in findings if f.level == "stop"])
                raise SystemExit(1)
            if before is not None:
                settings = jobs.settings_of(before, asked.settings, asked.said)
                made = jobs.again(
                    before, found, settings, probe(), hold_out=not all_wordings, cards=cards
                )
                prepared = made.prepared
                if not json_:
                    changed = ((c.what, c.before, c.after, c.because) for c in made.changes)
                    show.again(changed, made.left)
            else:
                prepared = jobs.prepare(
                    found,
                    asked.settings,
                    probe(),
                    hold_out=not all_wordings,
                    wordings=wordings,
                    steps=steps,
                    cards=cards,
                    at_once=True,
                )
            if not json_:
                for note in prepared.split.notes:
                    show.say(note)
            bar.planned = prepared.plan.forecast.seconds
            run = jobs.train(asked.workspace, prepared, name=name, shard=shard, **told)
    finally:
        bar.close()
    folder = asked.workspace.run(run.name)
    bot = jobs.settle(folder, asked.settings.max_false_answers)
    if not json_:
        show.trained(run, jobs.loss_curve(folder))
    report = judging.examined(asked.workspace, folder, bot=bot) if eval_ else None
    if json_:
        told = {**dump(run), "threshold": bot.calibration.threshold}
        return emit({**told, "report": dump(report)} if report else told)
    if report:
        judging.tell_report(folder, report)
        return None
    show.say(f'Next: `kefu ask "QUESTION"`, or examine it: `kefu eval {run.name}`.')
    return None
