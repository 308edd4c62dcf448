"""Rows of an FAQ with the questions after them, read in one pass; and how well numbers part.

By torch alone, so that what is trained elsewhere (bench/distil.py) needs no more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

SCALE = 20.0
"""Of a number that is to be a logit: two normed vectors give at most 1."""


@torch.compiler.disable
def plain(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention by two matrix products, for transformers' AttentionInterface. With torch's kernel
    for masks a step of the embedded base took 0.19 s on an H200, with this 0.16."""
    batch, heads, long, wide = query.shape
    groups = key.shape[1]
    flat = query.reshape(batch * groups, heads // groups * long, wide)
    scores = torch.bmm(flat, key.reshape(batch * groups, long, wide).transpose(1, 2))
    scores = scores.view(batch, heads, long, long) * scaling + attention_mask
    shares = scores.softmax(-1).view(batch * groups, heads // groups * long, long)
    out = torch.bmm(shares.to(value.dtype), value.reshape(batch * groups, long, wide))
    return out.view(batch, heads, long, wide).transpose(1, 2).contiguous(), None


def states(
    decoder: Any,
    asked: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]],
    device: str,
    normed: bool = True,
) -> list[torch.Tensor]:
    """For each row (its ids, those of its questions) the states (questions, d) where the questions
    end, in float32. They lie in one sequence, see their row and do not see each other."""
    lines = []
    for row, questions in asked:
        ids, seg, at, ends = list(row), [0] * len(row), list(range(len(row))), []
        for n, more in enumerate(questions, start=1):
            ids += more
            seg += [n] * len(more)
            at += range(len(row), len(row) + len(more))
            ends.append(len(ids) - 1)
        lines.append((ids, seg, at, ends))
    width = -(-max(len(line[0]) for line in lines) // 8) * 8
    pad = [
        [[*line[k], *[fill] * (width - len(line[0]))] for line in lines]
        for k, fill in ((0, 0), (1, -1), (2, 0))
    ]
    ids, seg, at = (torch.tensor(p, device=device) for p in pad)
    same = seg.unsqueeze(1) == seg.unsqueeze(2)
    order = torch.ones(width, width, dtype=torch.bool, device=device).tril()
    hidden = ~((same | (seg == 0).unsqueeze(1)) & order).unsqueeze(1)
    mask = torch.zeros(hidden.shape, dtype=torch.bfloat16, device=device)
    mask.masked_fill_(hidden, torch.finfo(mask.dtype).min)
    with torch.autocast(device.split(":")[0], torch.bfloat16):
        out = decoder(
            input_ids=ids,
            position_ids=at,
            attention_mask={"full_attention": mask, "sliding_attention": mask},
            use_cache=False,
        ).last_hidden_state
    found = [out[n, torch.tensor(line[3], device=device)].float() for n, line in enumerate(lines)]
    return [torch.nn.functional.normalize(f, dim=-1) for f in found] if normed else found


def auc(high: Sequence[float], low: Sequence[float]) -> float:
    """The area under the curve: how often one of `high` lies above one of `low`."""
    if not high or not low:
        return math.nan
    a, b = torch.tensor(high).unsqueeze(1), torch.tensor(low).unsqueeze(0)
    return float((a > b).float().mean() + 0.5 * (a == b).float().mean())


def kept(high: Sequence[float], low: Sequence[float], share: float) -> float:
    """Of `high`, how many lie above all but `share` of `low`."""
    if not high or not low:
        return math.nan
    bar = sorted(low, reverse=True)[int(share * len(low))]
    return sum(h > bar for h in high) / len(high)
