"""Constrained decoding over the trie of answers, best first.

At each parting the probabilities of the ways on are those of the model among these ways; an
answer's probability is their product. Paths are followed in the order of their probability, so
the first leaf that comes up is the most probable answer, and most answers are never looked at.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from .engine import Model
from .trie import Node


@dataclass(slots=True)
class Chosen:
    """The most probable answers of one question, best first."""

    leaves: list[tuple[int, float]] = field(default_factory=list)
    """(number of the answer, probability 0 to 1)."""
    asked: int = 0
    """Partings at which the model was asked."""
    read: int = 0
    """Tokens of the prompt, where it carries rows."""


def choose(
    engine: Model,
    root: Node | Sequence[Node],
    prompts: Sequence[Sequence[int]],
    *,
    best: int = 1,
    first: torch.Tensor | None = None,
) -> list[Chosen]:
    """For each prompt (token ids) its `best` most probable answers of the trie, or of its own.

    `first` has the states (n, d) after the prompts, where they are known already.
    """
    roots = [root] * len(prompts) if isinstance(root, Node) else root
    results = [Chosen() for _ in prompts]
    # One heap a question: (minus probability, order of arrival, node).
    heaps: list[list[tuple[float, int, Node]]] = [[(-1.0, 0, one)] for one in roots]
    born = 0
    while True:
        asked: list[tuple[int, float, Node]] = []
        for number, heap in enumerate(heaps):
            found = results[number].leaves
            while heap and heap[0][2].leaf is not None and len(found) < best:
                probability, _, node = heapq.heappop(heap)
                found.append((node.leaf, -probability))  # type: ignore[arg-type]
            if heap and len(found) < best:
                probability, _, node = heapq.heappop(heap)
                asked.append((number, -probability, node))
        if not asked:
            return results
        if first is not None and not any(node.path for _, _, node in asked):
            states = first[[n for n, _, _ in asked]]
        else:
            states = engine.after([prompts[n] for n, *_ in asked], [o.path for *_, o in asked])
        for (number, probability, node), state in zip(asked, states, strict=True):
            tokens = list(node.branches)
            shares = torch.softmax(engine.logits(state, tokens), dim=-1).tolist()
            results[number].asked += 1
            for token, share in zip(tokens, shares, strict=True):
                born += 1
                heapq.heappush(heaps[number], (-probability * share, born, node.branches[token]))
