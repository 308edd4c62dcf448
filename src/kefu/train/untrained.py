"""What a training takes from the untrained model before its first step, in one pass over some rows.

The contrast begins with the state of one row of each answer, where that begins (contrast.py); the
likely part of the vocabulary is what the base would say at labels of some of them (loss.py). On a
processor this was the longest part of the time before the first step, so the other rows are left to
the steps that read them. Changes nothing of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import torch

from ..prompt import IGNORED, Row
from ..weights import frozen_head, states_at
from .contrast import Bank
from .loss import Likely
from .session import Session

SAMPLE, PLACES = 48, 1024
"""Rows, and labelled places in them, from which the likely vocabulary is taken, at most."""
WORKERS = 8
"""Passes at the same time, at most; each holds what a pass needs."""


def look(session: Session, bank: bool = True) -> tuple[Likely | None, Bank | None]:
    """The likely part of a large vocabulary, where the plan trains on that part, and the bank that
    begins with a row of each answer, where it wants rows contrasted and the caller a `bank`."""
    rows, inner = session.rows, session.model.get_base_model()
    head = frozen_head(inner) if session.plan.softmax.value == "likely" else None
    ones = _one_an_answer(rows)
    asked = ones[:SAMPLE] if head and not head[1] else []
    wanted = bank and session.plan.contrast.value and len(rows) > 1
    contrasted = sorted({0, 1, *ones}) if wanted else []
    labelled = {i: _before_labels(rows[i]) for i in asked}
    chosen = sorted({*asked, *contrasted})
    places = [[_opening(rows[i]), *labelled.get(i, ())] for i in chosen]
    read = [rows[i].ids[: max(own) + 1] for i, own in zip(chosen, places, strict=True)]
    workers = WORKERS if _apart(session) else 1
    states = states_at(inner, read, places, session.device, workers)
    found = dict(zip(chosen, states, strict=True))
    likely = None
    if head and asked:
        labels = {label for row in rows for label in row.labels if label != IGNORED}
        told = torch.cat([found[i][1:] for i in asked])
        # Neighbours hold much the same tokens likely: apart, as many places tell of more.
        likely = Likely(head[0], labels, told[:: max(2, ceil(len(told) / PLACES))])
    if not contrasted:
        return likely, None
    begins = torch.stack([found[i][0] for i in contrasted]).float()
    return likely, Bank(begins, contrasted, session.owners)


def _apart(session: Session) -> bool:
    """Whether passes at the same time keep out of each other's way: they draw nothing, wait for no
    other process, and no weight is unpacked in them."""
    plan = session.plan
    whole = session.device == "cpu" and not session.split and plan.precision.value != "nf4"
    return whole and not plan.dropout.value


def _one_an_answer(rows: Sequence[Row]) -> list[int]:
    """The number of each answer's first row."""
    found: dict[tuple[int, ...], int] = {}
    for i, row in enumerate(rows):
        found.setdefault(row.labels[-row.labelled :], i)
    return list(found.values())


def _before_labels(row: Row) -> list[int]:
    """The places whose next token is learned."""
    return [i for i, label in enumerate(row.labels[1:]) if label != IGNORED]


def _opening(row: Row) -> int:
    """The place of the last token before the answer."""
    return max(0, len(row.ids) - row.labelled - 1)
