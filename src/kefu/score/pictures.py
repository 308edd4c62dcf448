"""Pictures of a report: plain text for a terminal, Markdown, and a page (see `page`).

A report is data; nothing here changes or works out a figure beyond a percentage.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Candidate, Report, Tally, Verdict
from .page import as_html
from .reporting import worst
from .sentences import Language, examinee, sentence
from .words import plain, reason, say

STALE = 20
"""Rows answered in their old form that a terminal lists; the page lists all."""

__all__ = ["as_html", "as_markdown", "as_text", "sentence"]


def as_text(report: Report, language: Language = "en") -> str:
    """For a terminal: the sentence, the table, and the worst answers, 80 columns or so."""
    lines = [_line(sentence(report, language), 2000), ""]
    for candidate in report.candidates:
        lines.append(_line(examinee(candidate.name, language), 70))
        for tally in (*candidate.tallies, candidate.overall):
            lines.append("  " + _in_words(tally, language))
        lines.append("")
    if report.stale:
        lines.append(f"{say('stale', language)} ({len(report.stale)}):")
        for row in report.stale[:STALE]:
            lines.append(f"  {_line(f'{row.origin}: {row.question}', 90)}")
            lines.append(f"    {say('old answer', language)}: {_line(row.old, 160)}")
            new = row.new or say("gone", language)
            lines.append(f"    {say('new answer', language)}: {_line(new, 160)}")
        if len(report.stale) > STALE:
            lines.append(f"  … {len(report.stale) - STALE}: report.html")
        lines += [f"  {say('stale note', language)}", ""]
    for number, verdict in enumerate(worst(report.verdicts), 1):
        lines.append(f"{number:2}. {_line(verdict.asked.question, 70)}")
        lines.append(f"    {say('given', language)}: {_line(_given(verdict, language), 160)}")
        lines.append(f"    {say('due', language)}: {_line(_due(verdict, language), 160)}")
        lines.append(f"    {_because(verdict, language)}")
    return "\n".join(lines).rstrip() + "\n"


def _in_words(tally: Tally, language: Language) -> str:
    share = f"{tally.right / tally.asked:4.0%}" if tally.asked else "   –"
    parts = [
        f"{say('right', language)} {tally.right}/{tally.asked} {share} "
        f"({tally.low:.0%}–{tally.high:.0%})",
        f"{say('wrong', language)} {tally.wrong}",
        f"{say('handed over', language)} {tally.handed_over}",
    ]
    for name, count in (
        ("false answers", tally.false_answers),
        ("false hand-overs", tally.false_hand_overs),
        ("offered", tally.offered),
        ("invented", tally.invented),
    ):
        if count:
            parts.append(f"{say(name, language)} {count}")
    return f"{say(tally.kind, language)}: " + ", ".join(parts)


def as_markdown(report: Report, language: Language = "en") -> str:
    """For a README or an issue: a table of all candidates by kind, then the worst answers."""
    lines = [
        f"# {say('title', language)}: {_cell(report.run)}",
        "",
        _cell(sentence(report, language)),
        "",
    ]
    lines += _table(report.candidates, language)
    names = ("false answers", "false hand-overs", "invented")
    lines += ["", _row([say("candidate", language), *(say(n, language) for n in names)])]
    lines.append("|---" * (len(names) + 1) + "|")
    for c in report.candidates:
        counts = (c.overall.false_answers, c.overall.false_hand_overs, c.overall.invented)
        lines.append(_row([_cell(examinee(c.name, language)), *map(str, counts)]))
    if report.stale:
        lines += ["", f"## {say('stale', language)}", "", say("stale note", language), ""]
        lines.append(_row([say(h, language) for h in ("asked row", "old answer", "new answer")]))
        lines.append("|---" * 3 + "|")
        for row in report.stale:
            new = row.new or say("gone", language)
            cells = (f"{row.origin}: {row.question}", row.old, new)
            lines.append(_row([_cell(_line(text, 300)) for text in cells]))
    bad = worst(report.verdicts)
    lines += ["", f"## {say('worst', language)}", ""]
    if not bad:
        lines.append(say("no worst", language))
    else:
        heads = ("kind", "asked", "given", "due")
        lines.append(_row([*(say(h, language) for h in heads), ""]))
        lines.append("|---" * 5 + "|")
    for v in bad:
        said, due = _cell(_line(_given(v, language), 300)), _cell(_line(_due(v, language), 300))
        kind = say(v.asked.kind, language)
        because = _cell(_because(v, language))
        lines.append(_row([kind, _cell(_line(v.asked.question, 200)), said, due, because]))
    return "\n".join(lines) + "\n"


def _table(candidates: Sequence[Candidate], language: Language) -> list[str]:
    lines = [
        _row([say("kind", language), *(_cell(examinee(c.name, language)) for c in candidates)])
    ]
    lines.append("|---" + "|---:" * len(candidates) + "|")
    kinds = [t.kind for t in candidates[0].tallies] if candidates else []
    for kind in (*kinds, "all"):
        cells = []
        for c in candidates:
            tally = next((t for t in (*c.tallies, c.overall) if t.kind == kind), None)
            if tally is None or not tally.asked:
                cells.append("–")
                continue
            share = f"{tally.right}/{tally.asked} {tally.right / tally.asked:.0%}"
            cells.append(f"{share} ({tally.low:.0%}–{tally.high:.0%})")
        lines.append(_row([say(kind, language), *cells]))
    return lines


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    """Text that cannot leave its cell or become markup."""
    cell = " ".join(plain(text).split()).replace("\\", "\\\\")
    for sign in "|*_`[]":
        cell = cell.replace(sign, "\\" + sign)
    return cell.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _line(text: str, most: int) -> str:
    """One line, without signs that move a terminal's cursor."""
    line = " ".join(plain(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _given(verdict: Verdict, language: Language) -> str:
    return verdict.reply.text or say("nothing", language)


def _due(verdict: Verdict, language: Language) -> str:
    answer = verdict.asked.answer
    return f"[{say('to a person', language)}]" if answer is None else answer


def _because(verdict: Verdict, language: Language) -> str:
    mark = verdict.mark
    stated = mark.facts_invented or mark.facts_misplaced or mark.facts_missing
    text = reason(mark.because, language)
    return f"{text}: {_line(', '.join(stated), 120)}" if stated else text
