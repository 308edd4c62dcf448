"""The trie of an FAQ's answers, as token ids: where answers part, the model has to choose.

Knows token ids only; nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Node:
    """A place where answers part, or a leaf. `path` are the token ids from the root to here."""

    path: tuple[int, ...]
    branches: dict[int, Node] = field(default_factory=dict)
    """First token of each way on -> the next parting (or leaf) on that way."""
    leaf: int | None = None
    """The number of the only answer that is left, where one is."""


def build(answers: Sequence[Sequence[int]]) -> Node:
    """The trie of answers that end in a terminator (so none is the beginning of another).

    Answers with the same tokens share a leaf, which bears the first one's number. Runs of
    tokens without a choice are skipped, so that the model is asked only where it matters.
    """
    first: dict[tuple[int, ...], int] = {}
    for number, answer in enumerate(answers):
        first.setdefault(tuple(answer), number)
    return _part(sorted(first.items()), 0)


def _part(answers: list[tuple[tuple[int, ...], int]], depth: int) -> Node:
    if len(answers) == 1:
        tokens, number = answers[0]
        return Node(tokens[:depth], leaf=number)
    while len({tokens[depth] for tokens, _ in answers}) == 1:
        depth += 1
    node = Node(answers[0][0][:depth])
    groups: dict[int, list[tuple[tuple[int, ...], int]]] = {}
    for tokens, number in answers:
        groups.setdefault(tokens[depth], []).append((tokens, number))
    for token, group in groups.items():
        node.branches[token] = _part(group, depth + 1)
    return node
