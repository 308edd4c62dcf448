"""A second aim beside the answer's words: questions of one answer lie together, others apart.

The hidden state where the answer begins has to tell which answer it will be. With only a few
wordings each, the words of the answer alone teach the model those wordings by heart; drawing the
states of one answer's wordings together teaches it what they have in common. Costs nothing but a
product of small matrices: the states are there already.

Method: supervised contrast (Khosla et al. 2020) against a memory bank of all rows' states (Wu et
al. 2018), so that every other answer is a counter-example in every step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

TEMPERATURE = 0.05


class Bank:
    """The latest state of every row. `owners` gives each row's answer, -1 for the hand-over."""

    def __init__(self, states: torch.Tensor, owners: Sequence[int]) -> None:
        """From states (rows, d) that the untrained model has."""
        self.centre = states.mean(0, keepdim=True)
        self.owners = torch.tensor(list(owners), device=states.device)
        self.states = self._unit(states)

    def _unit(self, states: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(states.float() - self.centre, dim=-1)

    def loss(self, states: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """Sum over `rows` (numbers in the bank) with states (n, d); the bank then holds these.

        Rows to hand over have nothing in common: they are counter-examples only.
        """
        at = torch.tensor(list(rows), device=states.device)
        mine = self._unit(states)
        # The batch's own states carry gradients on both sides; the bank's are as they were seen.
        near = mine @ self.states.T / TEMPERATURE
        owner = self.owners[at]
        same = owner.unsqueeze(1) == self.owners.unsqueeze(0)
        itself = at.unsqueeze(1) == torch.arange(len(self.owners), device=at.device).unsqueeze(0)
        near = near.masked_fill(itself, float("-inf"))
        friends = same & ~itself & (owner >= 0).unsqueeze(1)
        counts = friends.any(1)
        total = states.new_zeros((), dtype=torch.float32)
        if bool(counts.any()):
            good = torch.logsumexp(near.masked_fill(~friends, float("-inf"))[counts], 1)
            total = (torch.logsumexp(near[counts], 1) - good).sum()
        # Not in place: the backward pass still needs the states as they were.
        self.states = self.states.index_copy(0, at, mine.detach())
        return total
