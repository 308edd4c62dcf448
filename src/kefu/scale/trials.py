"""What is known of the trials of a sweep, one file each, and which is the best. Without Ray."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..jobs import PARTS, Standing
from ..records import Plan
from ..score import mcnemar
from ..workspace import read_json


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a sweep, as far as it came."""

    name: str
    base: str
    rank: int = 0
    learning_rate: float = 0.0
    exposures: float = 0.0
    wordings: int = 0
    """To how many wordings each row was filled up by rules."""
    steps: int = 0
    part: int = 0
    """Quarters of its training that it was let do."""
    each: tuple[bool, ...] = ()
    """For every held-out wording whether its row was chosen."""
    answered: float = 0.0
    """At the end: the share of questions that it is sure enough to answer."""
    fault: str = ""

    @property
    def number(self) -> int:
        return int(self.name.rsplit("-", 1)[1])

    @property
    def whole(self) -> bool:
        return self.part == PARTS[-1]

    @property
    def right(self) -> int:
        return sum(self.each)

    @classmethod
    def of(cls, name: str, wordings: int, plan: Plan, standing: Standing) -> Trial:
        return cls(
            name, plan.base.value, plan.rank.value, plan.learning_rate.value,
            plan.exposures.value, wordings, plan.steps.value, standing.part, standing.each,
            standing.answered,
        )  # fmt: skip


def read_trials(place: Path) -> tuple[Trial, ...]:
    """All trials of a sweep's folder that were looked at, in their order."""
    found = [read_json(path, Trial) for path in (place / "trials").glob("trial-*.json")]
    return tuple(sorted(found, key=lambda t: t.number))


def best_of(trials: tuple[Trial, ...]) -> Trial | None:
    """Of the trials that were trained to their end: the one that chose most rows rightly, then the
    one that may answer most, then the plan's own or whoever is nearest to it in order."""
    done = [t for t in trials if t.whole and t.each]
    return max(done, key=lambda t: (t.right, t.answered, -t.number), default=None)


def verdict(trials: tuple[Trial, ...], best: Trial) -> str:
    """Whether the best trial is better than the plan's own by more than luck, in a sentence."""
    asked = len(best.each)
    own = next((t for t in trials if t.number == 0 and t.whole and t.each), None)
    if own is None:
        return f"The best chose {best.right} of {asked} held-out wordings rightly."
    if own == best:
        return (
            f"The plan's own values are the best: {best.right} of {asked} held-out wordings right."
        )
    pairs = list(zip(best.each, own.each, strict=True))
    p = mcnemar(pairs.count((True, False)), pairs.count((False, True)))
    luck = "more than luck" if p < 0.05 else "which may be luck"
    return (
        f"The best chose {best.right} of {asked} held-out wordings rightly, the plan's own values "
        f"{own.right}: {luck} (p = {p:.2f}, before counting that it is the best of many)."
    )
