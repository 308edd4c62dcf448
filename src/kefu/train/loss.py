"""The loss of labelled tokens without keeping their logits.

A vocabulary of 262,144 makes the logits the largest thing of a step. The frozen head makes it
possible to compute loss and gradient chunk by chunk in one go (as Liger's fused loss does), so
that at no time more than one chunk of logits exists, and none is computed where there is no label.
"""

from __future__ import annotations

from typing import Any

import torch

CHUNK = 256
"""Labels whose logits exist at one time."""
SPARE = 1e-7
"""On a CPU: columns of the gradient whose probability is below this for every row of a chunk..."""
LEFT = 1e-4
"""...are left out, as long as no row loses more probability than this by it."""


class LabelLoss(torch.autograd.Function):
    """Sum of cross entropies, in nats, of `labels` (n,) given `hidden` (n, d) and a frozen head.

    `weight` (v, d) gets no gradient. `cap` is the model's final logit soft cap, or 0. `counted`
    (n,) is 0 where a label only fills a bucket (see graphs.py) and 1 elsewhere.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        labels: torch.Tensor,
        cap: float,
        counted: torch.Tensor | None = None,
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad = torch.empty_like(hidden)
        for start in range(0, hidden.shape[0], CHUNK):
            piece = slice(start, start + CHUNK)
            share = None if counted is None else counted[piece]
            loss, grad[piece] = _chunk(hidden[piece], weight, labels[piece], cap, share)
            total += loss
        ctx.save_for_backward(grad)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return grad * outer[0].to(grad.dtype), None, None, None, None


def _chunk(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    cap: float,
    counted: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and its gradient to `hidden` for one chunk."""
    logits = (hidden.to(weight.dtype) @ weight.T).float()
    slope = None
    if cap:
        squashed = torch.tanh(logits.div_(cap))
        logits = squashed * cap
        slope = squashed.square_().neg_().add_(1)
    norm = torch.logsumexp(logits, dim=-1, keepdim=True)
    at = labels.unsqueeze(-1)
    each = norm - logits.gather(-1, at)
    loss = (each if counted is None else each * counted.unsqueeze(-1)).sum()
    error = logits.sub_(norm).exp_()  # probabilities
    if hidden.device.type == "cpu" and not cap and counted is None:
        few = _columns(error, labels)
        if few is not None:
            columns, place = few
            error = error[:, columns]
            error.scatter_add_(-1, place.unsqueeze(-1), torch.full_like(norm, -1.0))
            return loss, (error @ weight[columns].to(error.dtype)).to(hidden.dtype)
    error.scatter_add_(-1, at, torch.full_like(norm, -1.0))
    if slope is not None:
        error *= slope
    if counted is not None:
        error *= counted.unsqueeze(-1)
    return loss, (error.to(weight.dtype) @ weight).to(hidden.dtype)


def _columns(error: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The columns that matter, and each label's place among them; None when most matter.

    Half of the head's arithmetic goes into a gradient to which most of the vocabulary adds
    nothing once the model has an idea of the answer.
    """
    keep = error.amax(dim=0) > SPARE
    keep[labels] = True
    columns = keep.nonzero().squeeze(-1)
    if columns.numel() > error.shape[1] // 4:
        return None
    left = 1 - error[:, columns].sum(dim=-1)
    if float(left.max()) > LEFT:
        return None
    place = torch.searchsorted(columns, labels)
    return columns, place


class Likely:
    """The part of a large vocabulary that holds nearly all probability on these rows.

    For training on a CPU: tokens that occur in the rows, and those that the base holds likely
    where it has to predict one. The rest of the head's arithmetic would go into probabilities of
    nothing. `EVERY` so many steps the whole vocabulary is used, so that no token outside grows
    unseen.
    """

    EVERY = 8
    BEST = 48
    """Tokens taken for each place that is looked at."""

    def __init__(self, weight: torch.Tensor, labels: Any, hidden: torch.Tensor) -> None:
        """From the label ids of all rows and hidden states (n, d) of some labelled places."""
        keep = torch.zeros(weight.shape[0], dtype=torch.bool)
        keep[torch.as_tensor(sorted(set(labels)))] = True
        with torch.inference_mode():
            for start in range(0, hidden.shape[0], CHUNK):
                logits = hidden[start : start + CHUNK].to(weight.dtype) @ weight.T
                keep[logits.topk(self.BEST).indices.flatten()] = True
            self.tokens = keep.nonzero().squeeze(-1)
        self.weight = weight[self.tokens].clone()

    def labels(self, labels: torch.Tensor) -> torch.Tensor:
        """Labels as numbers within the part."""
        return torch.searchsorted(self.tokens, labels)
