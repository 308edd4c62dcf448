"""Whether a finished run, loaded again as everybody loads it, computes what was trained.

A loss that falls says this of the model as it was trained: with other kernels, in other precision,
cut up over cards. Where one of these computes something else, training notices nothing.
"""

from __future__ import annotations

from typing import Any

import torch

from ..errors import RunError
from ..prompt import Prompt
from ..workspace import RunFolder
from .lean import summed_loss

ROWS = 8
"""Rows that are tried."""
LAST = 10
"""Steps at the end of the training whose losses count."""
TIMES, MORE = 2.0, 1.0
"""The loss may be so many times that of these steps, and so many nats a token more: rows differ,
and the last steps are a few of them. An adapter in a model that it does not fit is far beyond."""


def prove(folder: RunFolder, engine: Any, prompt: Prompt) -> None:
    """Raises RunError where the run does not know the rows that it has learned.

    `engine` has the run's `model` and its `device`.
    """
    steps = [step.loss for step in folder.steps()][-LAST:]
    examples = folder.examples()
    if not steps or not examples:
        return
    answer_only = folder.plan().answer_only_loss.value
    some = examples[:: -(-len(examples) // ROWS)]
    rows = [prompt.row(example, answer_only=answer_only) for example in some]
    with torch.no_grad():  # one by one: not every model that TRL trains takes rows end to end
        summed = [summed_loss(engine.model, [row], engine.device)[0] for row in rows]
    found = float(sum(summed)) / sum(row.labelled for row in rows)
    due = sum(steps) / len(steps)
    if not found <= TIMES * due + MORE:
        raise RunError(
            f"The run {folder.name}, loaded again, has a loss of {found:.2f} on rows that it was "
            f"trained on; its training ended at {due:.2f}. What was saved is not what was trained.",
            "That is a fault of kefu or of a library under it, and of no setting: please report "
            "it, with plan.json and versions.json of the run.",
        )
