"""From verdicts to a report, from two reports to a comparison, and whether a run may go out.

Counts only: how an answer was marked is `marking`, how a report looks is `pictures`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import median

from ..errors import ExamError
from ..records import (
    KINDS,
    Candidate,
    Comparison,
    Report,
    Tally,
    Verdict,
    digest,
)
from ..workspace import now
from .examining import key
from .sentences import PREVIOUS, Language, compared, earned
from .significance import mcnemar, wilson
from .words import reason

CURVE_POINTS = 100
"""At most so many points of the curve are kept, evenly spread over the replies."""


def report(
    run: str,
    verdicts: Sequence[Verdict],
    controls: Mapping[str, Sequence[Verdict]] | None = None,
    *,
    faq_digest: str = "",
    mode: str = "",
    threshold: float = 0.0,
    versions: Mapping[str, str] | None = None,
    created: str = "",
) -> Report:
    """The outcome of an exam: of the run and, on the same questions, of the controls.

    Raises ExamError when a control was asked other questions than the run.
    """
    asked = [key(v.asked) for v in verdicts]
    candidates = [_candidate(run, verdicts)]
    for name, theirs in (controls or {}).items():
        if [key(v.asked) for v in theirs] != asked:
            raise ExamError(
                f"The control {name!r} was asked other questions than the run {run!r}.",
                "Examine both on one exam, in one order.",
            )
        gained, lost = _differ(verdicts, theirs)
        candidates.append(_candidate(name, theirs, gained, lost))
    return Report(
        run=run,
        exam_digest=digest([asdict(v.asked) for v in verdicts]),
        faq_digest=faq_digest,
        created=created or now(),
        candidates=tuple(candidates),
        verdicts=tuple(verdicts),
        sentence=earned(candidates),
        mode=mode,
        threshold=threshold,
        curve=_curve(verdicts),
        versions=dict(versions or {}),
    )


def _differ(ours: Sequence[Verdict], theirs: Sequence[Verdict]) -> tuple[int, int]:
    pairs = [(a.mark.right, b.mark.right) for a, b in zip(ours, theirs, strict=True)]
    return pairs.count((True, False)), pairs.count((False, True))


def _candidate(name: str, verdicts: Sequence[Verdict], gained: int = 0, lost: int = 0) -> Candidate:
    kinds = {v.asked.kind for v in verdicts}
    first = [v.reply.first_token for v in verdicts]
    last = sorted(v.reply.last_token for v in verdicts)
    return Candidate(
        name,
        tuple(_tally(k, [v for v in verdicts if v.asked.kind == k]) for k in KINDS if k in kinds),
        _tally("all", verdicts),
        median(first) if first else 0.0,
        median(last) if last else 0.0,
        last[min(len(last) - 1, int(0.95 * len(last)))] if last else 0.0,
        gained,
        lost,
    )


def _tally(kind: str, verdicts: Sequence[Verdict]) -> Tally:
    """`asked` = right + wrong + false_hand_overs; `handed_over` counts rightly handed over too."""
    right = sum(v.mark.right for v in verdicts)
    handed = sum(v.mark.handed_over for v in verdicts)
    false_hand_overs = sum(v.mark.handed_over and not v.mark.right for v in verdicts)
    return Tally(
        kind=kind,
        asked=len(verdicts),
        right=right,
        wrong=len(verdicts) - right - false_hand_overs,
        handed_over=handed,
        false_answers=sum(v.asked.answer is None and not v.mark.handed_over for v in verdicts),
        false_hand_overs=false_hand_overs,
        invented=sum(bool(v.mark.facts_invented) for v in verdicts),
        offered=sum(
            v.mark.handed_over and not v.mark.right and v.asked.source in v.reply.offered
            for v in verdicts
        ),
        low=wilson(right, len(verdicts))[0],
        high=wilson(right, len(verdicts))[1],
    )


def _curve(verdicts: Sequence[Verdict]) -> tuple[tuple[float, float, float], ...]:
    """Were only replies of at least this confidence given: (threshold, share of the questions
    answered, share of the answers wrong). Replies already handed over stay handed over."""
    answered = sorted(
        ((v.reply.confidence, not v.mark.right) for v in verdicts if not v.mark.handed_over),
        reverse=True,
    )
    points = []
    wrong = 0
    for count, (confidence, is_wrong) in enumerate(answered, 1):
        wrong += is_wrong
        if count == len(answered) or answered[count][0] < confidence:
            points.append((confidence, count / len(verdicts), wrong / count))
    step = max(1, -(-len(points) // CURVE_POINTS))
    kept = points[::-1][::step]
    return tuple(kept)


def worst(verdicts: Iterable[Verdict], most: int = 10) -> tuple[Verdict, ...]:
    """The answers that a customer would be hurt by most: first what must pass and did not, then
    invented facts, answers that should not have been given, misplaced facts, and the rest."""

    def harm(v: Verdict) -> tuple[float, ...]:
        return (
            v.asked.must_pass,
            bool(v.mark.facts_invented),
            v.asked.answer is None,
            not v.mark.handed_over,
            bool(v.mark.facts_misplaced),
            bool(v.mark.facts_missing),
            1 - v.mark.agreement,
            v.reply.confidence,
        )

    return tuple(sorted((v for v in verdicts if not v.mark.right), key=harm, reverse=True)[:most])


def compare(
    a: Report,
    b: Report,
    changed: Sequence[tuple[str, str, str]] = (),
    language: Language = "en",
) -> Comparison:
    """Two runs, question by question. Raises ExamError when they took different exams."""
    if a.exam_digest != b.exam_digest:
        raise ExamError(
            f"The runs {a.run!r} and {b.run!r} were examined on different exams.",
            "Examine both on one exam: `kefu eval RUN --exam FILE`.",
        )
    pairs = list(zip(a.verdicts, b.verdicts, strict=True))
    fixed = tuple(_named(y) for x, y in pairs if y.mark.right and not x.mark.right)
    broken = tuple(_named(y) for x, y in pairs if x.mark.right and not y.mark.right)
    right_a = sum(x.mark.right for x, _ in pairs)
    right_b = sum(y.mark.right for _, y in pairs)
    p = mcnemar(len(fixed), len(broken))
    return Comparison(
        a=a.run,
        b=b.run,
        changed=tuple(changed),
        fixed=fixed,
        broken=broken,
        right_a=right_a,
        right_b=right_b,
        asked=len(pairs),
        p_value=p,
        sentence=compared(a.run, b.run, right_a, right_b, len(pairs), p, language),
    )


def _named(verdict: Verdict) -> str:
    before = " / ".join(question for question, _ in verdict.asked.history)
    return f"{before} / {verdict.asked.question}" if before else verdict.asked.question


def gate(
    report: Report,
    previous: Report | None,
    allow_worse: float = 0.0,
    language: Language = "en",
) -> tuple[str, ...]:
    """Why this run may not be released, in whole sentences; empty when it may.

    `allow_worse`: by how much the share of right answers may fall below the release in place,
    0 to 1. Where the two took different exams, the release in place must be among the report's
    candidates, under its run's name or as `previous release`.
    """
    zh = language == "zh-TW"
    missed = [v for v in report.verdicts if v.asked.must_pass and not v.mark.right]
    invented = [v for v in report.verdicts if v.mark.facts_invented]
    reasons = [
        f"「一定要答對」的題目答錯了：{_named(v)}（{reason(v.mark.because, language) or '不對'}）。"
        if zh
        else f"A question that must pass is wrong: {_named(v)} ({v.mark.because or 'not right'})."
        for v in missed
    ]
    reasons += [
        f"回答「{_named(v)}」時，捏造了 FAQ 沒有的事實："
        f"{'、'.join(fact.partition(':')[2] for fact in v.mark.facts_invented)}。"
        if zh
        else f"A fact is invented: {', '.join(v.mark.facts_invented)}, in the answer to {_named(v)}"
        for v in invented
    ]
    if not report.verdicts:
        reasons.append(
            f"{report.run} 一題都沒考：請先考試。"
            if zh
            else f"The run {report.run!r} was asked nothing: examine it first."
        )
    elif previous is not None:
        reasons += _worse(report, previous, allow_worse, zh)
    return tuple(reasons)


def _worse(report: Report, previous: Report, allow_worse: float, zh: bool) -> list[str]:
    before = previous.candidates[0].overall if previous.candidates else None
    if previous.exam_digest != report.exam_digest:
        same = [c for c in report.candidates[1:] if c.name in (previous.run, PREVIOUS)]
        before = same[0].overall if same else None
    if before is None or not before.asked:
        if zh:
            return [
                f"上線中的 {previous.run} 沒有考過這份考題，無法知道這個版本是不是變差了："
                "請用同一份考題各考一次。"
            ]
        return [
            f"The release in place, {previous.run!r}, was not examined on this exam, so nobody "
            "knows whether this run is worse: examine both on one exam."
        ]
    ours = report.candidates[0].overall
    fall = before.right / before.asked - ours.right / ours.asked
    if fall <= allow_worse + 1e-12:
        return []
    if zh:
        return [
            f"比上線中的 {previous.run} 差：{ours.asked} 題答對 {ours.right} 題，原本是 "
            f"{before.asked} 題答對 {before.right} 題，少了 {fall:.1%}"
            f"（最多可少 {allow_worse:.1%}）。"
        ]
    return [
        f"It is worse than the release in place, {previous.run!r}: {ours.right} of {ours.asked} "
        f"right instead of {before.right} of {before.asked}, {fall:.1%} less where "
        f"{allow_worse:.1%} is allowed."
    ]
