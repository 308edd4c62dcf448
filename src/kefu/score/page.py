"""A report as one HTML page: no network, no scripts, light and dark, English or zh-TW.

Everything that comes from a file or a bot is escaped. Knows how things look, not what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

from ..records import Candidate, Report, Tally, Verdict
from .charts import bars, curve
from .extraction import spans
from .reporting import worst
from .sentences import Language, examinee, sentence
from .words import escaped, reason, say

LONGEST = 1200
"""Characters of an answer that the page shows."""


def as_html(report: Report, language: Language = "en") -> str:
    """The page. It needs nothing beside itself, and holds the sentence in both languages."""
    style = (files(__package__) / "data" / "page.css").read_text(encoding="utf-8")
    other: Language = "en" if language == "zh-TW" else "zh-TW"
    title = f"{say('title', language)} · {escaped(report.run)}"
    lang = "zh-Hant-TW" if language == "zh-TW" else "en"
    return "\n".join(
        [
            f'<!doctype html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>",
            f"<header><p class='kicker'>{say('title', language)}</p><h1>{escaped(report.run)}</h1>",
            f"<p class='lead'>{escaped(sentence(report, language))}</p>",
            f"<p class='second' lang='{other}'>{escaped(sentence(report, other))}</p></header>",
            _figures(report, language),
            _controls(report, language),
            _kinds(report.candidates, language),
            _curve(report, language),
            _stale(report, language),
            _worst(report, language),
            _details(report.candidates, language),
            _foot(report, language),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _figures(report: Report, language: Language) -> str:
    if not report.candidates:
        return ""
    run = report.candidates[0]
    t = run.overall
    cards = [
        (
            "right",
            _share(t.right, t.asked),
            f"{t.right} / {t.asked} · {say('interval', language)} {t.low:.1%}–{t.high:.1%}",
            "good",
        ),
        ("false answers", str(t.false_answers), _share(t.false_answers, t.asked), "bad"),
        ("false hand-overs", str(t.false_hand_overs), _share(t.false_hand_overs, t.asked), "warn"),
        ("invented", str(t.invented), _share(t.invented, t.asked), "bad"),
        (
            "median",
            f"{run.last_token:.2f}",
            f"{say('p95', language)} {run.last_token_p95:.2f}",
            "plain",
        ),
    ]
    parts = ["<section class='cards'>"]
    for name, value, note, mood in cards:
        calm = "plain" if value == "0" else mood
        parts.append(
            f"<div class='card {calm}'><p>{say(name, language)}</p><strong>{value}</strong>"
            f"<small>{note}</small></div>"
        )
    return "".join([*parts, "</section>"])


def _controls(report: Report, language: Language) -> str:
    rows = [
        (examinee(c.name, language), of.right / of.asked, of.low, of.high, i == 0)
        for i, c in enumerate(report.candidates)
        if (of := c.overall).asked
    ]
    if not rows:
        return ""
    heading = say("controls", language)
    return f"<section><h2>{heading}</h2>{bars(rows, heading)}</section>"


def _kinds(candidates: Iterable[Candidate], language: Language) -> str:
    candidates = list(candidates)
    if not candidates:
        return ""
    heads = "".join(
        f"<th scope='col'{' class=own' if i == 0 else ''}>"
        f"{escaped(examinee(c.name, language))}</th>"
        for i, c in enumerate(candidates)
    )
    parts = [
        f"<section><h2>{say('by kind', language)}</h2><div class='scroll'><table><thead><tr>"
        f"<th scope='col'>{say('kind', language)}</th>{heads}</tr></thead><tbody>"
    ]
    for kind in (*(t.kind for t in candidates[0].tallies), "all"):
        cells = "".join(
            _cell(next((t for t in (*c.tallies, c.overall) if t.kind == kind), None), i == 0)
            for i, c in enumerate(candidates)
        )
        total = " class='total'" if kind == "all" else ""
        parts.append(f"<tr{total}><th scope='row'>{say(kind, language)}</th>{cells}</tr>")
    return "".join([*parts, "</tbody></table></div></section>"])


def _cell(tally: Tally | None, own: bool) -> str:
    if tally is None or not tally.asked:
        return "<td>–</td>"
    share = tally.right / tally.asked
    return (
        f"<td{' class=own' if own else ''}><span class='meter' style='--share:{share:.3f}'></span>"
        f"<b>{share:.0%}</b> <small>{tally.right}/{tally.asked} "
        f"({tally.low:.0%}–{tally.high:.0%})</small></td>"
    )


def _curve(report: Report, language: Language) -> str:
    if not report.curve:
        return ""
    chart = curve(report.curve, report.threshold, say("answered", language), say("error", language))
    return (
        f"<section><h2>{say('curve', language)}</h2><p class='note'>{say('curve note', language)}"
        f"</p>{chart}</section>"
    )


def _stale(report: Report, language: Language) -> str:
    """Rows that were edited since the training, and are answered as they were."""
    if not report.stale:
        return ""
    parts = [f"<section><h2>{say('stale', language)}</h2>"]
    parts.append(f"<p class='note'>{escaped(say('stale note', language))}</p>")
    for row in report.stale:
        new = escaped(row.new) if row.new else f"<em>{say('gone', language)}</em>"
        parts.append(
            f"<article><h3>{escaped(row.question)}</h3><p class='why'>"
            f"<small>{escaped(row.origin)}</small></p><div class='pair'><div class='given'>"
            f"<h4>{say('old answer', language)}</h4><p>{escaped(row.old)}</p></div>"
            f"<div class='due'><h4>{say('new answer', language)}</h4><p>{new}</p></div>"
            "</div></article>"
        )
    return "".join([*parts, "</section>"])


def _worst(report: Report, language: Language) -> str:
    bad = worst(report.verdicts)
    parts = [f"<section><h2>{say('worst', language)}</h2>"]
    if not bad:
        return "".join([*parts, f"<p>{say('no worst', language)}</p></section>"])
    legend = "".join(
        f"<mark class='{kind}'>{say('fact ' + kind, language)}</mark> "
        for kind in ("right", "missing", "invented", "misplaced")
    )
    parts.append(f"<p class='note'>{legend}</p>")
    parts += [_answer(v, language) for v in bad]
    return "".join([*parts, "</section>"])


def _answer(v: Verdict, language: Language) -> str:
    mark = v.mark
    kinds = dict.fromkeys(mark.facts_right, "right") | dict.fromkeys(mark.facts_missing, "missing")
    kinds |= dict.fromkeys(mark.facts_invented, "invented")
    kinds |= dict.fromkeys(mark.facts_misplaced, "misplaced")
    tags = f"<span class='tag'>{say(v.asked.kind, language)}</span>"
    if v.asked.must_pass:
        tags += f"<span class='tag bad'>{say('must pass', language)}</span>"
    before = "".join(
        f"<p class='before'>{say('before', language)}: {escaped(q)} → {escaped(a)}</p>"
        for q, a in v.asked.history
    )
    if v.asked.answer is None:
        due = f"<em>{say('to a person', language)}</em>"
    else:
        due = _coloured(v.asked.answer, kinds)
    given = _coloured(v.reply.text, kinds) or f"<em>{say('nothing', language)}</em>"
    confidence = f"{say('confidence', language)} {v.reply.confidence:.2f}"
    return (
        f"<article><h3>{escaped(v.asked.question)}</h3>{before}<p class='why'>{tags} "
        f"{escaped(reason(mark.because, language))} <small>{confidence}</small></p>"
        f"<div class='pair'><div class='given'><h4>{say('given', language)}</h4>"
        f"<p>{given}</p></div><div class='due'><h4>{say('due', language)}</h4><p>{due}</p></div>"
        "</div></article>"
    )


def _coloured(text: str, kinds: dict[str, str]) -> str:
    """Escaped, with its facts marked by what they are worth."""
    names = frozenset(fact[5:] for fact in kinds if fact.startswith("name:"))
    shown = text[:LONGEST]
    parts, at = [], 0
    for fact in spans(shown, names):
        kind = kinds.get(fact.name)
        if kind is None or fact.start < at:
            continue
        said = shown[fact.start : fact.end]
        start = fact.start + len(said) - len(said.lstrip())  # blanks are not coloured
        said = escaped(said.strip())
        parts += [
            escaped(shown[at:start]),
            f"<mark class='{kind}' title='{escaped(fact.name)}'>{said}</mark>",
        ]
        at = fact.start + len(shown[fact.start : fact.end].rstrip())
    return "".join([*parts, escaped(shown[at:]), "…" if len(text) > LONGEST else ""])


def _details(candidates: Iterable[Candidate], language: Language) -> str:
    names = ["asked", "right", "wrong", "handed over", "false answers", "false hand-overs"]
    names += ["offered", "invented"]
    heads = "".join(f"<th scope='col'>{say(n, language)}</th>" for n in names)
    parts = [
        f"<details><summary>{say('details', language)}</summary><div class='scroll'><table><thead>"
        f"<tr><th scope='col'>{say('candidate', language)}</th>"
        f"<th scope='col'>{say('kind', language)}</th>{heads}</tr></thead><tbody>"
    ]
    for c in candidates:
        for t in (*c.tallies, c.overall):
            counts = [t.asked, t.right, t.wrong, t.handed_over, t.false_answers]
            counts += [t.false_hand_overs, t.offered, t.invented]
            cells = "".join(f"<td>{n}</td>" for n in counts)
            parts.append(
                f"<tr><th scope='row'>{escaped(examinee(c.name, language))}</th>"
                f"<td>{say(t.kind, language)}</td>{cells}</tr>"
            )
    return "".join([*parts, "</tbody></table></div></details>"])


def _foot(report: Report, language: Language) -> str:
    rows = [
        (say("created", language), report.created),
        (say("mode", language), report.mode),
        (say("threshold", language), f"{report.threshold:.3f}"),
        (say("exam", language), report.exam_digest[:12]),
        (say("faq", language), report.faq_digest[:12]),
        (say("versions", language), ", ".join(f"{k} {v}" for k, v in report.versions.items())),
    ]
    told = "".join(f"<dt>{k}</dt><dd>{escaped(v)}</dd>" for k, v in rows if v)
    return f"<footer><dl>{told}</dl></footer>"
