"""A sweep as a table (Markdown, and lines for a terminal) and as a chart (SVG). Knows trials."""

from __future__ import annotations

from html import escape

from ..jobs import PARTS
from .trials import Trial, verdict

HEAD = (
    "trial", "base", "rank", "rate", "exposures", "wordings", "steps", "trained", "right",
    "sure of",
)  # fmt: skip
_WIDE, _HIGH, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 360, 60, 20, 34, 48


def rows(trials: tuple[Trial, ...]) -> list[tuple[str, ...]]:
    """A row for each trial, under HEAD."""
    return [
        (
            t.name,
            t.base.rsplit("/", 1)[-1],
            str(t.rank or "-"),
            f"{t.learning_rate:.1e}" if t.rank else "-",
            f"{t.exposures:g}",
            str(t.wordings),
            str(t.steps or "-"),
            "failed" if t.fault else f"{t.part / PARTS[-1]:.0%}",
            f"{t.right}/{len(t.each)}" if t.each else "-",
            f"{t.answered:.0%}" if t.whole and t.each else "-",
        )
        for t in trials
    ]


def table(trials: tuple[Trial, ...], best: Trial) -> str:
    """The sweep as a page of Markdown."""
    lines = [f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}"]
    for t, cells in zip(trials, rows(trials), strict=True):
        marked = (f"**{cells[0]}**", *cells[1:]) if t == best else cells
        lines.append(f"| {' | '.join(marked)} |")
    notes = [f"{t.name}: {t.fault}" for t in trials if t.fault]
    said = (
        "Right: held-out wordings whose row was chosen, hand-over aside. Sure of: the share of "
        "questions that are answered at the threshold. The exam was asked nothing."
    )
    return "\n".join([*lines, "", verdict(trials, best), "", said, *notes]) + "\n"


def chart(trials: tuple[Trial, ...], best: Trial) -> str:
    """Share of the held-out wordings that are right over the learning rate; a dot a trial, hollow
    where it was ended early, larger for more exposures, the best one ringed."""
    shown = [t for t in trials if t.each and t.learning_rate > 0]
    low = min(t.learning_rate for t in shown)
    high = max(max(t.learning_rate for t in shown), low * 1.01)
    most = max(t.exposures for t in shown) or 1.0

    def place(t: Trial) -> tuple[float, float]:
        from math import log

        x = log(t.learning_rate / low) / log(high / low)
        y = t.right / len(t.each)
        return _LEFT + 20 + x * (_WIDE - _LEFT - _RIGHT - 40), _HIGH - _BOTTOM - y * (
            _HIGH - _TOP - _BOTTOM
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {_HIGH}" '
        f'width="{_WIDE}" height="{_HIGH}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDE}" height="{_HIGH}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="20" fill="#222">held-out wordings right, over the learning rate'
        "</text>",
    ]
    for i in range(5):
        y = _HIGH - _BOTTOM - i / 4 * (_HIGH - _TOP - _BOTTOM)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{i / 4:.0%}'
            "</text>"
        )
    for value, anchor, edge in ((low, "start", _LEFT + 10), (high, "end", _WIDE - _RIGHT - 10)):
        parts.append(
            f'<text x="{edge}" y="{_HIGH - 18}" text-anchor="{anchor}" fill="#555">{value:.1e}'
            "</text>"
        )
    for t in shown:
        x, y = place(t)
        fill = "#0b5a8a" if t.whole else "none"
        told = f"{t.name}: rank {t.rank}, {t.exposures:g} exposures, {t.wordings} wordings"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4 + 5 * t.exposures / most:.1f}" '
            f'fill="{fill}" fill-opacity=".6" stroke="#0b5a8a"><title>{escape(told)}</title>'
            "</circle>"
        )
        if t == best:
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="14" fill="none" stroke="#c2410c" '
                'stroke-width="2"/>'
            )
    return "\n".join([*parts, "</svg>\n"])
