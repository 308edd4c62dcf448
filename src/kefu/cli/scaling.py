"""Many runs at once: sweep, and the matrix of `kefu train --matrix`."""

from __future__ import annotations

from pathlib import Path

import click

from .. import show
from ..workspace import dump
from .base import EXAMPLES, Asked, as_json, cli, emit, ray_option, with_faq


@cli.command(epilog=EXAMPLES + "kefu sweep shop.csv --trials 16")
@click.option("--name", help="Name of the sweep, and of its best run.")
@click.option("--resume", metavar="SWEEP", help="Go on with a sweep that was stopped.")
@click.option("--trials", type=click.IntRange(2), default=8, show_default=True, help="Runs to try.")
@click.option("--also", multiple=True, metavar="BASE", help="Another base to try; may be repeated.")
@click.option("--steps", type=click.IntRange(1), help="Optimizer steps, in place of the plan's.")
@ray_option
@with_faq
@as_json
def sweep(
    asked: Asked,
    name: str | None,
    resume: str | None,
    trials: int,
    also: tuple[str, ...],
    steps: int | None,
    ray: str | None,
    json_: bool,
) -> None:
    """Try other ranks, rates, exposures, wordings and bases, and keep the best run.

    Trials are compared on held-out wordings, never on the exam, which the best run alone is asked
    at the end. The first trial is the plan's own. Ray Tune ends the worse half of them early.
    """
    from .. import jobs, releases, scale

    def tell(trial: scale.Trial) -> None:
        if not json_:
            show.trial(
                trial.name, trial.part / jobs.PARTS[-1], trial.right, len(trial.each), trial.fault
            )

    if resume is not None:
        made = scale.resume_sweep(asked.workspace, resume, address=ray, tell=tell)
    else:
        found = asked.faq()
        if any(f.level == "stop" for f in jobs.check_faq(found, asked.settings)):
            raise click.UsageError("The FAQ has to be mended first: `kefu check` tells what.")
        made = scale.sweep(
            asked.workspace, asked.settings, found,
            trials=trials, bases=also, steps=steps, name=name, address=ray, tell=tell,
        )  # fmt: skip
    placed = releases.current(asked.workspace)
    report = jobs.evaluate(
        made.run,
        controls=False,
        previous=asked.workspace.run(placed.run) if placed else None,
    )
    overall = report.candidates[0].overall
    if json_:
        return emit(
            {
                "trials": [dump(t) for t in made.trials],
                "best": made.best.name,
                "run": made.run.name,
                "right": overall.right,
                "asked": overall.asked,
            }
        )
    for line in show.table(scale.HEAD, scale.rows(made.trials)):
        show.say(line)
    show.say(scale.verdict(made.trials, made.best))
    show.say(
        f"Run {made.run.name} (it was {made.best.name}): exam {overall.right}/{overall.asked}."
    )
    show.say(f"In {made.folder}: table.md, sweep.svg. Next: `kefu release {made.run.name}`.")
    return None


def matrix(
    asked: Asked,
    folder: Path,
    steps: int | None,
    wordings: int | None,
    ray: str | None,
    json_: bool,
) -> None:
    """`kefu train --matrix`: every FAQ of a folder. Ends with 1 where one of them was left out."""
    from .. import scale

    def tell(made: scale.Trained, done: int, of: int) -> None:
        if not json_:
            show.trained_one(made.faq, made.name, made.fault, done, of)

    made = scale.matrix(
        asked.workspace,
        asked.settings,
        folder,
        steps=steps,
        wordings=wordings,
        address=ray,
        tell=tell,
    )
    if json_:
        emit([dump(one) for one in made])
    elif not any(one.fault for one in made):
        show.say("Next: serve them all on one base: `kefu serve --all`.")
    if any(one.fault for one in made):
        raise SystemExit(1)
