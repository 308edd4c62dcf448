"""The two charts of a report's page, as inline SVG without scripts.

Knows shares between 0 and 1 and labels; colours come from the page's style sheet.
"""

from __future__ import annotations

from collections.abc import Sequence

from .words import escaped

_ROW = 40
_WIDE, _LEFT, _RIGHT = 720, 200, 70


def bars(rows: Sequence[tuple[str, float, float, float, bool]], label: str) -> str:
    """Shares as bars with their intervals. A row: name, share, low, high, whether it is the run."""
    high = len(rows) * _ROW + 26
    span = _WIDE - _LEFT - _RIGHT
    parts = [_open(high, label)]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = _LEFT + tick * span
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{high - 22}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{high - 6}" text-anchor="middle">{tick:.0%}</text>'
        )
    for i, (name, share, low, up, own) in enumerate(rows):
        y = i * _ROW + 8
        kind = "bar own" if own else "bar"
        middle = y + 12
        up_down = f'y1="{middle - 5}" y2="{middle + 5}"'
        a, b = _LEFT + low * span, _LEFT + up * span
        short = name if len(name) <= 24 else name[:23] + "…"
        parts += [
            f"<g><title>{escaped(name)}: {share:.1%} ({low:.1%}–{up:.1%})</title>",
            f'<text class="name" x="{_LEFT - 12}" y="{middle + 5}" text-anchor="end">'
            f"{escaped(short)}</text>",
            f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{max(share * span, 1):.1f}" '
            'height="24" rx="4"/>',
            f'<line class="whisker" x1="{a:.1f}" x2="{b:.1f}" y1="{middle}" y2="{middle}"/>',
            f'<line class="whisker" x1="{a:.1f}" x2="{a:.1f}" {up_down}/>',
            f'<line class="whisker" x1="{b:.1f}" x2="{b:.1f}" {up_down}/>',
            f'<text class="value" x="{_WIDE - _RIGHT + 12}" y="{middle + 5}">'
            f"{share:.1%}</text></g>",
        ]
    return "".join([*parts, "</svg>"])


def curve(
    points: Sequence[tuple[float, float, float]], threshold: float, x_label: str, y_label: str
) -> str:
    """Share of questions answered against the share of those answers that are wrong.

    `points`: (threshold, answered, wrong). The point of the threshold in use is marked.
    """
    wide, high, left, bottom, top = _WIDE, 320, 64, 48, 16
    most = max((wrong for _, _, wrong in points), default=0.0)
    ceiling = next((c for c in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if most <= c), 1.0)

    def at(answered: float, wrong: float) -> tuple[float, float]:
        x = left + answered * (wide - left - 20)
        return x, top + (1 - wrong / ceiling) * (high - top - bottom)

    parts = [_open(high, f"{y_label} / {x_label}")]
    for i in range(5):
        x, _ = at(i / 4, 0)
        _, y = at(0, ceiling * i / 4)
        parts += [
            f'<line class="grid" x1="{left}" x2="{wide - 20}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{ceiling * i / 4:.1%}</text>",
            f'<text class="tick" x="{x:.1f}" y="{high - bottom + 18}" text-anchor="middle">'
            f"{i / 4:.0%}</text>",
        ]
    parts += [
        f'<text class="axis" x="{(wide + left) / 2}" y="{high - 6}" text-anchor="middle">'
        f"{escaped(x_label)}</text>",
        f'<text class="axis" transform="rotate(-90)" x="{-(high - bottom + top) / 2}" y="14" '
        f'text-anchor="middle">{escaped(y_label)}</text>',
    ]
    line = sorted(points, key=lambda p: p[1])
    if line:
        path = " ".join("{:.1f},{:.1f}".format(*at(a, w)) for _, a, w in line)
        parts.append(f'<polyline class="line" fill="none" stroke="currentColor" points="{path}"/>')
    for level, answered, wrong in line if len(line) <= 40 else ():
        x, y = at(answered, wrong)
        told = f"≥ {level:.3f}: {answered:.1%}, {wrong:.1%}"
        parts.append(
            f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{told}</title></circle>'
        )
    used = [p for p in line if p[0] >= threshold]
    if used:
        level, answered, wrong = used[-1]
        x, y = at(answered, wrong)
        told = f"{answered:.1%} / {wrong:.1%}"
        parts += [
            f'<circle class="chosen" cx="{x:.1f}" cy="{y:.1f}" r="7"/>',
            f'<text class="value" x="{x - 10:.1f}" y="{max(y - 12, 12):.1f}" text-anchor="end">'
            f"{told}</text>",
        ]
    return "".join([*parts, "</svg>"])


def _open(high: float, label: str) -> str:
    return f'<svg viewBox="0 0 {_WIDE} {high:g}" role="img" aria-label="{escaped(label)}">'
