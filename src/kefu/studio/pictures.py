"""What the studio shows, as HTML: cards, bars and lists. Everything from a file is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ..records import Choice, Comparison, Faq, Finding, Plan, Reply, Report, Step
from ..score import pictures
from .desk import SIGNS, in_words
from .words import Language, Say, plan_words

GIB = 2**30
LEVELS = ("stop", "warn", "note")


def note(text: str, mood: str = "note") -> str:
    """One sentence with a coloured edge: stop, warn, note or good."""
    return f'<div class="k-say k-{mood}">{escape(text)}</div>' if text else ""


def cards(facts: Iterable[tuple[str, str]]) -> str:
    """Figures side by side: what it is, how much."""
    inside = "".join(
        f'<div class="k-card"><span>{escape(name)}</span><b>{escape(value)}</b></div>'
        for name, value in facts
    )
    return f'<div class="k-cards">{inside}</div>'


def time(seconds: float, say: Say) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return say("seconds", round(seconds))
    return say("minutes", round(seconds / 60))


def findings(faq: Faq, found: Sequence[Finding], say: Say, language: Language) -> str:
    """What is wrong with the table, the worst first, each with its rows."""
    wordings = sum(len(p.wordings) for p in faq.pairs)
    parts = [note(say("check_rows", len(faq.pairs), wordings), "good")]
    stops = sum(f.level == "stop" for f in found)
    if stops:
        parts.append(note(say("check_stop", stops), "stop"))
    elif not found:
        parts.append(note(say("check_fine"), "good"))
    for finding in sorted(found, key=lambda f: LEVELS.index(f.level)):
        rows = sorted({o.row for o in finding.origins})
        places = ", ".join(say("row", r) for r in rows[:8]) + (" …" if len(rows) > 8 else "")
        parts.append(
            f'<div class="k-say k-{finding.level}"><b>{SIGNS[finding.level]} {escape(places)}</b>'
            f"{escape(in_words(finding, language == 'zh-TW'))}</div>"
        )
    return "".join(parts)


def plan(made: Plan, say: Say) -> str:
    """The four things that a person wants to know first."""
    f = made.forecast
    free = made.machine.memory
    return cards(
        (
            (say("plan_time"), time(f.seconds, say)),
            (say("plan_memory"), f"{f.memory / GIB:.1f} / {free / GIB:.1f} GiB"),
            (say("plan_practice"), say("times", round(made.exposures.value))),
            (say("plan_base"), made.base.value.rstrip("/").rsplit("/", 1)[-1]),
        )
    )


def numbers(made: Plan, say: Say, language: Language) -> str:
    """Every number of the plan: its name in plain words, value and reason."""
    known = plan_words(language)
    names = [n for n in made.__slots__ if isinstance(getattr(made, n), Choice)]
    rows = []
    for name in sorted(names, key=lambda n: n not in known):
        choice = getattr(made, name)
        title, what = known.get(name, (name, ""))
        value = f"{choice.value:,}" if type(choice.value) is int else str(choice.value)
        rows.append(
            f"<tr><td>{escape(title)}<small>{escape(what)}</small></td>"
            f"<td>{escape(value)}</td><td>{escape(choice.because)}</td></tr>"
        )
    heads = f"<tr><th></th><th>{say('plan_value')}</th><th>{say('plan_because')}</th></tr>"
    return f'<div class="k-scroll"><table>{heads}{"".join(rows)}</table></div>'


def training(steps: Sequence[Step], say: Say) -> str:
    """Where a training stands: bar, loss, rate, memory, time left."""
    now = steps[-1]
    part = [s for s in steps if s.step > now.step - 20 and s.seconds <= now.seconds]
    each = (now.seconds - part[0].seconds) / max(1, now.step - part[0].step)
    left = time(each * (now.of - now.step), say) if len(part) > 1 else "…"
    bar = f'<div class="k-bar"><i style="width:{100 * now.step / now.of:.1f}%"></i></div>'
    return bar + cards(
        (
            (say("f_step"), f"{now.step} / {now.of}"),
            (say("f_loss"), f"{now.loss:.4f}"),
            (say("f_left"), left),
            (say("f_memory"), f"{now.memory / GIB:.1f} GiB"),
            (say("f_rate"), f"{now.learning_rate:.1e}"),
        )
    )


def exam(done: int, of: int, say: Say) -> str:
    """How far an exam is: questions answered by the run and by its controls."""
    if not done:
        return note(say("exam_wait"))
    bar = f'<div class="k-bar"><i style="width:{min(100, 100 * done / max(1, of)):.1f}%"></i></div>'
    return note(say("exam_asked", done)) + bar


def report(made: Report, language: Language) -> str:
    """The report's own page, shut in a frame that can run no scripts."""
    page = escape(pictures.as_html(made, language), quote=True)
    return f'<iframe class="k-report" sandbox="" srcdoc="{page}"></iframe>'


def _reply(reply: Reply, title: str, say: Say) -> str:
    return (
        f'<div class="k-card"><span>{escape(title)}</span><p>{escape(reply.text)}</p>'
        f"{tag(reply, say)}</div>"
    )


def tag(reply: Reply, say: Say) -> str:
    """Whether it was handed over, or how sure the bot was."""
    if reply.handed_over:
        return f'<span class="k-tag away">{say("handed")}</span>'
    return f'<span class="k-tag">{say("sure", f"{reply.confidence:.0%}")}</span>'


def two(replies: Sequence[Reply], titles: Sequence[str], say: Say) -> str:
    """Two answers side by side."""
    inside = "".join(_reply(r, t, say) for r, t in zip(replies, titles, strict=True))
    return f'<div class="k-two">{inside}</div>'


def comparison(made: Comparison, say: Say) -> str:
    """Two exams: which questions were mended and which broken."""
    parts = [
        note(say("two_right_of", made.asked, made.a, made.right_a, made.b, made.right_b)),
        note(made.sentence, "good"),
    ]
    changed = [f"{what}: {a} → {b}" for what, a, b in made.changed]
    for key, lines, mood in (
        ("two_fixed", made.fixed, "good"),
        ("two_broken", made.broken, "stop"),
        ("two_changed", changed, "note"),
    ):
        items = "".join(f"<li>{escape(line)}</li>" for line in lines[:50])
        if items:
            parts.append(f'<div class="k-say k-{mood}"><b>{say(key)}</b><ul>{items}</ul></div>')
    return "".join(parts)
