"""Why a run's exam fell short, and the run after it. Torch-free until something is trained."""

from __future__ import annotations

from contextlib import suppress

from .. import plan as plans
from ..advise import Advice, Evidence, advise
from ..errors import KefuError
from ..records import Plan
from ..settings import Settings
from ..workspace import RunFolder
from .preparing import check_faq
from .runs import report_of


def advice_on(folder: RunFolder, settings: Settings) -> Advice:
    """Why the run's exam fell short. Raises RunError where it was not examined, or is damaged."""
    return advise(evidence_of(folder, settings))


def evidence_of(folder: RunFolder, settings: Settings) -> Evidence:
    """All that a run and its exam left behind."""
    report, plan, faq = report_of(folder), folder.plan(), folder.faq()
    settled = folder.calibration_file.is_file()
    allowed = folder.calibration().allowed if settled else settings.max_false_answers
    return Evidence(
        run=folder.name,
        plan=plan,
        pairs=faq.pairs,
        examples=folder.examples(),
        steps=tuple(folder.steps()),
        report=report,
        findings=tuple(check_faq(faq, settings)),
        allowed=allowed,
        usual=usual(folder, settings),
        larger=larger(plan),
    )


def usual(folder: RunFolder, settings: Settings) -> Plan | None:
    """What kefu plans by itself for the rows of a run on its base; None where it cannot."""
    plan = folder.plan()
    plain = Settings(base=plan.base.value, hand_over=plan.hand_over.value)
    said = plain.model_copy(update={"thorough": settings.thorough})
    with suppress(KefuError):  # the base is out of reach: then there is nothing to compare with
        return plans.make(said, folder.faq(), plan.machine, train=folder.examples())
    return None


def larger(plan: Plan) -> tuple[str, ...]:
    """Known bases that are larger than the run's; the next larger first."""
    has = plan.total.value - plan.trainable.value
    bases = [b for b in plans.catalogue() if b.auto and b.shape.parameters > 1.2 * has]
    return tuple(b.name for b in sorted(bases, key=lambda b: b.shape.parameters))
