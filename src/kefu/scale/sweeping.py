"""sweep(): many runs on one FAQ by Ray Tune, and the best of them as an ordinary run.

What is tried is told in times of what the plan would choose, as that suits every base alike. The
first trial is the plan's own, the control of all others. ASHA (Li et al. 2020, arXiv:1810.05934)
ends the worse half after a quarter and after half of their training. Does not look at the exam.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from .. import jobs
from ..errors import KefuError, RunError, SettingsError
from ..plan import probe
from ..records import Faq, Pair, Plan, Run, Times
from ..settings import Settings, parse
from ..workspace import RunFolder, Workspace, read_json, write_json, write_text
from . import picture
from .cluster import RETRIES, connected, share
from .trials import Trial, best_of, read_trials

FOLDER = "sweeps"
RANK, PRACTICE, RATE = (0.5, 1.0, 2.0), (0.5, 1.0, 2.0), (1 / 3, 3.0)
"""What is tried, in times of the plan's: two lists, and the ends of a range."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What came of a sweep."""

    folder: Path
    trials: tuple[Trial, ...]
    best: Trial
    run: RunFolder
    """The best trial's, among the runs of the workspace."""


def sweep(
    workspace: Workspace,
    settings: Settings,
    faq: Faq,
    *,
    trials: int = 8,
    bases: Sequence[str] = (),
    steps: int | None = None,
    name: str | None = None,
    address: str | None = None,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> Swept:
    """Tries `trials` runs on the FAQ and puts the best among the runs of the workspace.

    `bases` are tried beside the settings' own, and `steps` take the place of the plan's. `tell`
    hears how a trial stands, each time that it was looked at. A sweep that was stopped goes on with
    `resume`. Raises FaqError where no wording can be held out, SettingsError for the tutorial's
    recipe, which has nothing to try.
    """
    if settings.recipe == "tutorial":
        raise SettingsError(
            "The tutorial's recipe is what it is, and a sweep has nothing to try in it.",
            "Leave `recipe` out.",
        )
    first = jobs.prepare(faq, settings, probe())
    jobs.judges(first.split.held_out)
    place = _new(workspace, name)
    most = jobs.wordings_for(len(faq.pairs))
    known = [_absolute(base) for base in dict.fromkeys((settings.base, *bases))]
    write_json(place / "faq.json", faq.pairs, tuple[Pair, ...])
    write_json(
        place / "sweep.json",
        {
            "settings": settings.model_dump(), "bases": known, "trials": trials, "steps": steps,
            "wordings": sorted({0, most // 3, most}), "usual": most,
            "memory": first.plan.forecast.memory,
        },
    )  # fmt: skip
    return _fit(workspace, place, address, tell, again=False)


def resume(
    workspace: Workspace,
    name: str,
    *,
    address: str | None = None,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> Swept:
    """Goes on with a sweep that was stopped; what is done is not done again, and trials that were
    under way go on from their last checkpoints."""
    place = workspace.root / FOLDER / name
    if not (place / "sweep.json").is_file():
        known = sorted(p.parent.name for p in place.parent.glob("*/sweep.json"))
        raise RunError(
            f"There is no sweep {name!r}.", f"The sweeps here: {', '.join(known) or 'none'}."
        )
    return _fit(workspace, place, address, tell, again=True)


def _new(workspace: Workspace, name: str | None) -> Path:
    """The folder of a new sweep; its run will have the same name."""
    if name is None:
        number = 1
        taken = (workspace.root / FOLDER, workspace.runs_folder)
        while any((place / f"sweep-{number}").exists() for place in taken):
            number += 1
        name = f"sweep-{number}"
    folder = workspace.create(name, "sweep")  # says what is wrong with the name
    shutil.rmtree(folder.path)
    place = workspace.root / FOLDER / name
    if (place / "sweep.json").is_file():
        raise RunError(
            f"The sweep name {name} is taken.",
            "Give another with --name, or go on with it: `kefu sweep --resume NAME`.",
        )
    (place / "runs").mkdir(parents=True, exist_ok=True)
    return place


def _absolute(base: str) -> str:
    """Workers work in folders of their own."""
    return str(Path(base).resolve()) if Path(base).is_dir() else base


def _fit(
    workspace: Workspace,
    place: Path,
    address: str | None,
    tell: Callable[[Trial], None],
    *,
    again: bool,
) -> Swept:
    said = read_json(place / "sweep.json", dict[str, Any])
    with connected(address, workspace.root) as ray:
        tuner = _tuner(ray, place.resolve(), said, tell, again)
        grid = tuner.fit()
        if grid.num_terminated + grid.num_errors < said["trials"]:
            raise RunError(
                f"The sweep {place.name} was stopped.",
                f"Go on with it: `kefu sweep --resume {place.name}`.",
            )
        broken = [str(error) for error in grid.errors]
    made = read_trials(place)
    best = best_of(made)
    if best is None:
        faults = [t.fault for t in made if t.fault] + broken
        raise RunError(
            f"No trial of the sweep {place.name} came to its end: {(faults or ['unknown'])[0]}",
            f"Mend that, then go on: `kefu sweep --resume {place.name}`.",
        )
    write_text(place / "table.md", picture.table(made, best))
    write_text(place / "sweep.svg", picture.chart(made, best))
    return Swept(place, made, best, _taken_over(workspace, place, best))


def _taken_over(workspace: Workspace, place: Path, best: Trial) -> RunFolder:
    """The best trial's run among the runs of the workspace, under the sweep's name."""
    to = RunFolder(workspace.runs_folder / place.name)
    if not to.finished:
        source = place / "runs" / best.name
        shutil.copytree(source, to.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock"))
        write_json(to.file("run.json"), replace(to.run(), name=to.name, folder=str(to.path)), Run)
    return to


def _tuner(
    ray: Any, place: Path, said: dict[str, Any], tell: Callable[[Trial], None], again: bool
) -> Any:
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search import BasicVariantGenerator

    from .telling import Tell

    Tell.place, Tell.tell = place, staticmethod(tell)
    needs = _resources(share(ray, said["memory"]))
    work = tune.with_resources(partial(_trial, place=str(place)), needs)
    if again and tune.Tuner.can_restore(str(place / "ray")):
        return tune.Tuner.restore(
            str(place / "ray"), work, resume_unfinished=True, restart_errored=True
        )
    usual = {
        "base": said["bases"][0], "rank": 1.0, "rate": 1.0, "practice": 1.0,
        "wordings": said["usual"],
    }  # fmt: skip
    return tune.Tuner(
        work,
        param_space={
            "base": tune.choice(said["bases"]),
            "rank": tune.choice(RANK),
            "rate": tune.loguniform(*RATE),
            "practice": tune.choice(PRACTICE),
            "wordings": tune.choice(said["wordings"]),
        },
        tune_config=tune.TuneConfig(
            metric="share",
            mode="max",
            num_samples=said["trials"],
            reuse_actors=True,  # a worker has imported torch then, and knows its GPU
            scheduler=ASHAScheduler(
                time_attr="part",
                max_t=jobs.PARTS[-1],
                grace_period=jobs.PARTS[0],
                reduction_factor=2,
            ),
            search_alg=BasicVariantGenerator(
                points_to_evaluate=[usual], random_state=said["settings"]["seed"]
            ),
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(place),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[Tell()],
        ),
    )


def _resources(found: dict[str, float]) -> dict[str, float]:
    """Tune's names for Ray's own."""
    names = {"num_cpus": "cpu", "num_gpus": "gpu"}
    return {names.get(name, name): value for name, value in found.items()}


def _trial(config: dict[str, Any], place: str) -> None:
    """One trial, in a worker: everything that it needs lies in the sweep's folder."""
    from ray import tune

    folder = Path(place)
    said = read_json(folder / "sweep.json", dict[str, Any])
    settings = parse({**said["settings"], "base": config["base"]}, str(folder))
    faq = Faq(read_json(folder / "faq.json", tuple[Pair, ...]), ())
    name = f"trial-{int(tune.get_context().get_trial_id().rsplit('_', 1)[1])}"
    times = Times(config["rank"], config["rate"], config["practice"])

    def prepared() -> jobs.Prepared:
        return jobs.prepare(
            faq, settings, probe(), wordings=config["wordings"], steps=said["steps"], times=times
        )

    def tell(standing: jobs.Standing, plan: Plan) -> None:
        trial = Trial.of(name, config["wordings"], plan, standing)
        write_json(folder / "trials" / f"{name}.json", trial, Trial)
        tune.report({"name": name, "part": standing.part, "share": standing.share})

    try:
        jobs.attempt(Workspace(folder), name, prepared, settings.max_false_answers, tell)
    except KefuError as error:  # the next worker would fail as this one did
        trial = Trial(name, config["base"], wordings=config["wordings"], fault=str(error))
        write_json(folder / "trials" / f"{name}.json", trial, Trial)
        tune.report({"name": name, "part": jobs.PARTS[-1], "share": 0.0})
