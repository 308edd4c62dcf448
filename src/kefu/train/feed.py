"""What one card does of a step, and its fixed place in memory, as recorded steps need it.

Does not know what is done with the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .buckets import Bucket
from .lean import Laid, laid
from .session import Session


@dataclass(frozen=True, slots=True)
class Share:
    """What one card does of a step: the rows with these `numbers` of the `whole` step's, laid end
    to end. `labelled` counts the labels of the whole step."""

    rows: Laid
    numbers: list[int]
    whole: list[int]
    labelled: int


class Feed:
    """A bucket's place in memory for one step's rows: one tensor, and its parts as views."""

    def __init__(self, bucket: Bucket, rows: int, device: str) -> None:
        n, k = bucket.tokens, bucket.labels
        sizes = [n, n, k, k, rows, rows, rows + 2, 3]
        self.bucket = bucket
        self.flat = torch.zeros(sum(sizes), dtype=torch.long, device=device)
        parts = torch.split(self.flat, sizes)
        self.ids, self.places = parts[0].unsqueeze(0), parts[1].unsqueeze(0)
        self.where, self.target, self.starts, self.numbers, self.edges, self.count = parts[2:]
        self.order = torch.arange(k, device=device)

    def fill(self, rows: Laid, numbers: Sequence[int], labelled: int, asked: bool) -> None:
        """Brings this card's rows of a step (whose numbers in the bank are given) to the device,
        with the labels of all cards and whether this process was asked to stop."""
        more = self.bucket.tokens - len(rows.ids)
        fewer = [0] * (self.bucket.labels - len(rows.where))
        whole = (
            (*rows.ids, *[0] * more, *rows.places, *range(more)),
            (*rows.where, *fewer, *rows.target, *fewer),
            (*rows.starts, *numbers),
            (*(i for i, place in enumerate(rows.places) if not place), len(rows.ids)),
            (self.bucket.tokens, len(rows.where), labelled, int(asked)),
        )
        flat = torch.tensor([number for part in whole for number in part])
        # Pinned, so that the copy does not make the host wait for the step that is running.
        self.flat.copy_(flat.pin_memory() if self.flat.is_cuda else flat, non_blocking=True)


def share_of(session: Session, rows: list[int], own: list[int]) -> Share:
    """This card's `own` of the row numbers `rows` of a step."""
    # Rows of like length together, as lean.py lays them.
    numbers = sorted(own, key=session.lengths.__getitem__)
    labelled = sum(session.rows[i].labelled for i in rows)
    return Share(laid([session.rows[i] for i in numbers]), numbers, rows, labelled)
