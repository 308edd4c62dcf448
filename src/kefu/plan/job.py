"""What both recipes start from: settings, machine, base and rows, and the choices they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..records import Choice, Faq, Machine, Times
from .bases import Base
from .rows import Rows

if TYPE_CHECKING:
    from ..settings import Settings

YOURS = "You set this."


def swept(times: float) -> str:
    """The words behind a reason whose value a sweep changes."""
    return f" Times {times:g}: a sweep tries it." if times != 1 else ""


@dataclass(frozen=True, slots=True)
class Job:
    """All that a recipe may look at."""

    settings: Settings
    faq: Faq
    machine: Machine
    base: Base
    base_because: str
    rows: Rows
    times: Times = field(default_factory=Times)
    cards: int = 1
    """GPUs that train together."""

    @property
    def cuda(self) -> bool:
        return self.machine.device == "cuda"

    def shared(self) -> dict[str, Any]:
        """The fields of a Plan that come from the settings alone, whatever the recipe."""
        said = self.settings
        usual = type(said).model_fields
        persona = (
            "No system prompt: a serving engine then has nothing to forget or to add."
            if not said.persona
            else f"{YOURS} It is trained and must stay the same when the bot answers."
        )
        return {
            "base": Choice(self.base.name, self.base_because),
            "seed": Choice(
                said.seed,
                "The usual one. The same seed, FAQ and machine give the same adapter."
                if said.seed == usual["seed"].default
                else YOURS,
            ),
            "hand_over": Choice(
                said.hand_over,
                "The usual sentence for a question that goes to a person."
                if said.hand_over == usual["hand_over"].default
                else YOURS,
            ),
            "persona": Choice(said.persona, persona),
            "machine": self.machine,
            "faq_digest": self.faq.digest,
            "trust_remote_code": said.trust_remote_code,
        }
