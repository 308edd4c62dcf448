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

    def __init__(self, states: torch.Tensor, at: Sequence[int], owners: Sequence[int]) -> None:
        """From the states (n, d) that the untrained model has of the rows `at`, two or more.

        A row that is not among them is zero until a step has read it, and compared with nothing.
        """
        self.centre = states.mean(0, keepdim=True)
        self.owners = torch.tensor(list(owners), device=states.device)
        self.states = states.new_zeros(len(self.owners), states.shape[1], dtype=torch.float32)
        self.states[torch.tensor(at)] = self._unit(states)
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def _unit(self, states: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(states.float() - self.centre, dim=-1)

    def _near(self, mine: torch.Tensor) -> torch.Tensor:
        """The cosine (n, rows) of `mine` (n, d) to every row; to those not seen yet -inf."""
        return (mine @ self.states.T).masked_fill(~self.states.any(1), -torch.inf)

    def loss(self, states: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """Sum over the rows `at` (n,) (numbers in the bank) with states (n, d).

        Rows to hand over have nothing in common: they are counter-examples only. Nothing here
        waits for the GPU. `remember` puts these states into the bank at the end of the step.
        """
        mine = self._unit(states)
        # The batch's own states carry gradients; the bank's are as they were seen.
        near = self._near(mine) / TEMPERATURE
        owner = self.owners[at]
        same = owner.unsqueeze(1) == self.owners.unsqueeze(0)
        itself = at.unsqueeze(1) == torch.arange(len(self.owners), device=at.device).unsqueeze(0)
        near = near.masked_fill(itself, -torch.inf)
        friends = same & ~itself & (owner >= 0).unsqueeze(1) & near.isfinite()
        # A row without friends has all for its friends: then both sums are one, and nothing pulls.
        friends = torch.where(friends.any(1, keepdim=True), friends, ~itself)
        good = torch.logsumexp(near.masked_fill(~friends, -torch.inf), 1)
        self._seen.append((at, mine.detach()))
        return (torch.logsumexp(near, 1) - good).sum()

    def nearest(self, states: torch.Tensor) -> torch.Tensor:
        """The owner (n,) of the row whose latest state lies nearest to each of `states` (n, d)."""
        return self.owners[self._near(self._unit(states)).argmax(1)]

    def remember(self) -> None:
        """Keeps the states that `loss` saw since last time. Once a step, so that a step is the same
        in any number of portions. In place, as a captured step needs it."""
        for at, mine in self._seen:
            self.states.index_copy_(0, at, mine)
        self.forget()

    def forget(self) -> None:
        """Lets go of what `loss` saw, as of a step that is done again."""
        self._seen.clear()
