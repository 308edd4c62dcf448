"""The loss curve, as a picture (SVG) and as text."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Step

_BARS = "▁▂▃▄▅▆▇█"


def loss_text(steps: Sequence[Step], width: int = 60) -> str:
    """The loss as one line of bars, each the mean of its share of the steps."""
    losses = [s.loss for s in steps if s.loss == s.loss]
    if not losses:
        return ""
    width = min(width, len(losses))
    means = []
    for i in range(width):
        part = losses[i * len(losses) // width : (i + 1) * len(losses) // width]
        means.append(sum(part) / len(part))
    top = max(means) or 1.0
    return "".join(_BARS[min(7, int(m / top * 7.999))] for m in means)


def loss_picture(steps: Sequence[Step], width: int = 640, height: int = 260) -> str:
    """The loss over the steps as a self-contained SVG."""
    points = [(s.step, s.loss) for s in steps if s.loss == s.loss and s.loss < 1e6]
    left, right, top, bottom = 52, width - 14, 30, height - 36
    if not points:
        points = [(0, 0.0)]
    most = max(loss for _, loss in points) or 1.0
    last = max(step for step, _ in points) or 1

    def x(step: float) -> float:
        return left + (right - left) * step / last

    def y(loss: float) -> float:
        return bottom - (bottom - top) * loss / most

    line = " ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="18" fill="#222">loss (nats a target token) by optimizer step</text>',
    ]
    for i in range(5):
        value = most * i / 4
        parts.append(
            f'<line x1="{left}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
            f'stroke="#ddd"/><text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end" '
            f'fill="#555">{value:.2f}</text>'
        )
        step = last * i / 4
        parts.append(
            f'<text x="{x(step):.1f}" y="{bottom + 18}" text-anchor="middle" fill="#555">'
            f"{step:.0f}</text>"
        )
    parts.append(f'<polyline points="{line}" fill="none" stroke="#c2410c" stroke-width="2"/>')
    parts.append("</svg>\n")
    return "\n".join(parts)
