"""What a model thinks of a question, beside what it thought of the trained ones.

The hidden state at the place where the answer begins holds what is asked for. A question whose
state lies near those of one answer's trained wordings is most likely one more wording of it:
nearest neighbours in the model's own space, which carries further than its first token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

SHARPNESS = 20.0
"""Of the softmax over likenesses, which lie between -1 and 1."""


class Memory:
    """The states (n, d) of the trained wordings, each with the number of its answer."""

    def __init__(self, states: torch.Tensor, owners: Sequence[int]) -> None:
        self.owners = torch.tensor(list(owners))
        states = states.cpu()
        # All states share a large common part, which says only "here an answer begins".
        self.centre = states.mean(0, keepdim=True)
        self.states = torch.nn.functional.normalize(states - self.centre, dim=-1)
        self.answers = int(self.owners.max()) + 1

    def likeness(self, states: torch.Tensor) -> torch.Tensor:
        """For each state (n, d) its likeness to the nearest wording of each answer (n, answers)."""
        mine = torch.nn.functional.normalize(states.cpu() - self.centre, dim=-1)
        near = mine @ self.states.T
        best = torch.full((near.shape[0], self.answers), -1.0)
        return best.scatter_reduce(1, self.owners.expand_as(near), near, "amax")
