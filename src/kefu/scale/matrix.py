"""matrix(): a folder of FAQs, an adapter each on one base, as Ray tasks; each an ordinary run.

The base is shared so that one server can hold all of them: it is the largest that the plans of all
FAQs allow on a worker. Said again, the command does only what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import jobs
from ..errors import FaqError, KefuError, RunError
from ..faq import read
from ..plan import catalogue, probe
from ..records import Faq, Run
from ..settings import Settings
from ..workspace import RunFolder, Workspace
from .cluster import RETRIES, connected, share


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of one FAQ: its run, or why there is none."""

    faq: str
    name: str = ""
    run: Run | None = None
    threshold: float = 0.0
    fault: str = ""


def matrix(
    workspace: Workspace,
    settings: Settings,
    folder: Path,
    *,
    steps: int | None = None,
    wordings: int | None = None,
    address: str | None = None,
    tell: Callable[[Trained, int, int], None] = lambda made, done, of: None,
) -> tuple[Trained, ...]:
    """Trains every FAQ in `folder` (a file or folder each), in the order of their names.

    An FAQ that cannot be read, or in which something must be mended first, is told and left out;
    the others are trained. `tell` hears of each as it ends, with how many are done, of how many.
    Raises FaqError where the folder holds no FAQ.
    """
    found = _faqs(folder)
    outcomes: dict[str, Trained] = {}
    sound: dict[str, Faq] = {}
    for path in found:
        try:
            sound[path.name] = _checked(path, settings)
        except KefuError as error:
            outcomes[path.name] = Trained(path.name, fault=str(error))
            tell(outcomes[path.name], len(outcomes), len(found))
    if sound:
        with connected(address, workspace.root) as ray:
            for made in _all(ray, workspace, settings, sound, steps, wordings):
                outcomes[made.faq] = made
                tell(made, len(outcomes), len(found))
    return tuple(outcomes[path.name] for path in found)


def _faqs(folder: Path) -> list[Path]:
    try:
        found = sorted(p for p in folder.iterdir() if not p.name.startswith((".", "~")))
    except OSError:
        found = []
    if not found:
        raise FaqError(
            f"There is no FAQ in the folder {folder}.", "Put a file into it for each bot."
        )
    return found


def _checked(path: Path, settings: Settings) -> Faq:
    faq = read(path)
    stops = [f for f in jobs.check_faq(faq, settings) if f.level == "stop"]
    if stops:
        where = ", ".join(map(str, stops[0].origins[:1]))
        raise FaqError(
            f"{path.name} has {len(stops)} faults that have to be mended first. {where}: "
            f"{stops[0].message}",
            f"See all of them: `kefu check {path}`.",
        )
    return faq


def _all(
    ray: Any,
    workspace: Workspace,
    settings: Settings,
    sound: dict[str, Faq],
    steps: int | None,
    wordings: int | None,
) -> Any:
    """What came of each, as it comes."""
    plain = {"max_retries": RETRIES, **share(ray, 0)}
    base, memory = ray.get(ray.remote(**plain)(_shared_base).remote(settings, list(sound.values())))
    settings = settings.model_copy(update={"base": base})
    work = ray.remote(**{**plain, **share(ray, memory)})(_train)
    waiting = [
        work.remote(workspace.root.resolve(), settings, file, faq, name, steps, wordings)
        for (file, faq), name in zip(sound.items(), _names(workspace, sound), strict=True)
    ]
    files = dict(zip(waiting, sound, strict=True))
    while waiting:
        (done,), waiting = ray.wait(waiting)
        try:
            yield ray.get(done)
        except ray.exceptions.RayError as error:
            said = str(error).strip().splitlines()
            yield Trained(files[done], fault=f"Its workers died: {said[0] if said else error!r}")


def _names(workspace: Workspace, sound: dict[str, Faq]) -> list[str]:
    """A run's name for each FAQ: its file's. One that another FAQ has taken gets a number."""
    names: list[str] = []
    for file, faq in sound.items():
        stem = re.sub(r"[^\w.\-]+", "-", Path(file).stem).strip("-.")[:60] or "faq"
        name, number = stem, 1
        while name in names or not _free(workspace, name, faq):
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names


def _free(workspace: Workspace, name: str, faq: Faq) -> bool:
    """Whether nothing lies there, or this very FAQ's run."""
    folder = RunFolder(workspace.runs_folder / name)
    if not folder.file("plan.json").is_file():
        return True
    try:
        return folder.plan().faq_digest == faq.digest
    except RunError:
        return False


def _shared_base(settings: Settings, faqs: list[Faq]) -> tuple[str, int]:
    """In a worker: the base on which all FAQs can be trained there, and the most memory."""
    known = {base.name: base.shape.parameters for base in catalogue()}
    plans = [jobs.prepare(faq, settings, probe()).plan for faq in faqs]
    base = min((plan.base.value for plan in plans), key=lambda name: known.get(name, 0))
    return base, max(plan.forecast.memory for plan in plans)


def _train(
    root: Path,
    settings: Settings,
    file: str,
    faq: Faq,
    name: str,
    steps: int | None,
    wordings: int | None,
) -> Trained:
    """In a worker: one FAQ's run, from wherever an earlier worker left it."""
    workspace = Workspace(root)

    def prepared() -> jobs.Prepared:
        return jobs.prepare(faq, settings, probe(), wordings=wordings, steps=steps)

    try:
        folder = jobs.take_up(workspace, name, prepared)
        bot = jobs.settle(folder, settings.max_false_answers)
        return Trained(file, name, folder.run(), bot.calibration.threshold)
    except KefuError as error:
        return Trained(file, name, fault=str(error))
