"""make(): every number of a run from the settings, the FAQ and the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import FaqError, SettingsError
from ..records import Example, Faq, Machine, Plan, Times
from . import default, tables, tutorial
from .bases import Base, catalogue, resolve
from .job import YOURS, Job
from .reasons import base_note
from .rows import Rows, measure

if TYPE_CHECKING:
    from ..settings import Settings

CPU_BASE = "gemma-3-270m"
TUTORIAL_BASE = "Qwen/Qwen-7B"


def make(
    settings: Settings,
    faq: Faq,
    machine: Machine,
    *,
    base_config: Mapping[str, Any] | None = None,
    train: Sequence[Example] | None = None,
    count_tokens: Callable[[str], int] | None = None,
    times: Times = Times(),  # noqa: B008 (frozen)
    cards: int = 1,
) -> Plan:
    """The plan of a run, every value with its reason. Imports no torch, reads no weights.

    `train` are the rows that will be trained, where the FAQ is divided already (with or without
    hand-over rows); without it every wording of every pair counts. `count_tokens` is the base's
    own tokenizer, a callable from text to its number of tokens; without it lengths are guessed,
    rather too long. `base_config` is the base's config.json, where the caller has it; otherwise
    it comes from the catalogue, a folder or the model hub. `times` is for sweeps over the default
    recipe. `cards` is how many GPUs train together: a base that none of them holds is cut up.

    Raises FaqError for an FAQ without pairs, BaseError for a base that is unknown, out of reach
    or too big (with what would fit), SettingsError for settings that do not go together.
    """
    if not faq.pairs or (train is not None and not any(row.answer for row in train)):
        raise FaqError(
            "The FAQ has no row with a question and an answer, so there is nothing to train.",
            "Add some, or name the columns.",
        )
    share = 0.0 if settings.recipe == "tutorial" else tables.HAND_OVER_SHARE

    def job(base: Base, because: str) -> Job:
        rows = measure(
            faq,
            train,
            count_tokens,
            base.shape.vocab,
            share,
            settings.hand_over,
            settings.persona,
        )
        _check_length(base, rows)
        said = f"{because} {base_note(base)}"
        # What is chosen unasked fits one card: the bot has to answer on one.
        together = cards if because == YOURS else 1
        return Job(settings, faq, machine, base, said, rows, times, together)

    recipe = tutorial if settings.recipe == "tutorial" else default
    if settings.base == "auto" and base_config is None:
        chosen = _choose(machine, recipe.fit, job, settings.recipe)
    else:
        name = settings.base if settings.base != "auto" else CPU_BASE
        chosen = job(resolve(name, base_config), YOURS)
    return tutorial.tutorial(chosen) if recipe is tutorial else default.default(chosen)


def _choose(
    machine: Machine,
    fit: Callable[[Job], object],
    job: Callable[[Base, str], Job],
    recipe: str,
) -> Job:
    """The base for this machine: on a GPU the largest of the standard ones that fits."""
    by_name = {b.name: b for b in catalogue()}
    if machine.device == "cpu":
        return job(by_name[CPU_BASE], "Small enough to train on a processor, and it works offline.")
    if recipe == "tutorial":
        classic = job(by_name[TUTORIAL_BASE], "The base of the classic tutorial.")
        if fit(classic):
            return classic
    for base in sorted((b for b in catalogue() if b.auto), key=lambda b: b.auto):
        found = job(base, f"The largest of the standard bases that fits {machine.name}.")
        if fit(found):
            return found
    return job(by_name[CPU_BASE], f"None of the standard bases fits {machine.name}.")


def _check_length(base: Base, rows: Rows) -> None:
    """Refuses rows longer than the base can read; a guess gets the benefit of the doubt."""
    most = base.shape.positions
    if rows.exact and most and rows.longest > most:
        raise SettingsError(
            f"{rows.longest_at} has {rows.longest:,} tokens with its answer, and {base.name} "
            f"reads {most:,} at most.",
            "Shorten that answer, or choose another base.",
        )
