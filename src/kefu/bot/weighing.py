"""Which answer a question asks for: four or five witnesses, weighed.

The model's own choice over the trie of answers, the nearest trained wordings in its hidden
states, the nearest answers there, and the letters that question and FAQ have in common. States are
those of the finder that kefu brings, where the run began warm (begun.py). Each witness alone
errs on other questions (LOG.md has the figures), so their evidence is added as logarithms of
shares. The first few answers are then read with the question, where the base has a cross-encoder:
only this witness looks at what an answer says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from ..recall import Index
from ..records import Turn
from .choose import Chosen, choose
from .cross_encoder import CrossEncoder
from .engine import Model
from .memory import SHARPNESS, Memory
from .trie import Node

TRIE, STATES, ANSWERS, LETTERS = 0.1, 1.0, 0.75, 12.0
"""Weights of the witnesses; LOG.md has the experiment that they come from."""
Asked = tuple[str, Sequence[Turn]]
"""A question with the turns before it."""
WITNESSES = (TRIE, STATES, ANSWERS, LETTERS)
FOUND = (0.5, 1.5, 3.0)
"""The same of states, answers and letters where a finder reads: it has learned to put a question
near the answer, and letters add little."""
CROSS, CHOICE = 1.0, 3.0
"""Of the cross-encoder, whose number is a logarithm of odds as it comes: in how sure the bot is,
and in which answer is best. It knows best which answer is meant; but what the others speak against
is more often wrong than it says (LOG.md has both)."""
LEAST = 1e-4
"""The smallest share that a witness gives an answer: none can veto alone."""
TOP = 2
"""Answers of the trie that are looked at for each question: each costs passes of the model, and
four made no difference (LOG.md)."""
OFFERED, LEAST_OFFERED = 3, 0.02
"""A question that is handed over offers so many answers, each of at least this share: on freely
worded questions the right one is among them in nearly nine of ten (LOG.md)."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """The evidence for one question. Answers by number; the last number is the hand-over."""

    best: int
    """The most likely answer, hand-over aside."""
    share: float
    """Of `best`, among all answers and the hand-over, 0 to 1."""
    hand_over: float
    """Of the hand-over."""
    features: tuple[float, ...]
    """What the calibration looks at, see FEATURES."""
    asked: int = 0
    likely: tuple[int, ...] = ()
    """The answers that may be meant, likeliest first."""
    read: int = 0
    certain: bool = False
    """The question is one that was trained, letter for letter: there is nothing to weigh."""
    elsewhen: bool = False
    """The question names another year than the wordings of the best answer."""


def certain(number: int) -> Weighed:
    """What is known of a question that was trained, letter for letter, with this answer alone."""
    return Weighed(number, 1.0, 0.0, (), likely=(number,), certain=True)


@dataclass(frozen=True, slots=True)
class Told:
    """What the witnesses say of one question."""

    evidence: torch.Tensor
    """(4 or 5, answers + 1), the hand-over last: trie, states and answers as logarithms of shares,
    letters as a likeness of 0 to 1; in the order of WITNESSES. With a cross-encoder its logits:
    what was not read has the least of those that were, and the hand-over 0."""
    states: torch.Tensor
    """(answers + 1): likeness to the nearest trained wording, -1 to 1, in the run's own states."""
    asked: int
    read: int = 0


FEATURES = ("share", "hand_over", "state_margin", "state_hand_over")
"""How far ahead the best answer and how far behind the hand-over is in all, and the best in the
run's own states: what is to be handed over only the run has learned. Each speaks for the answer."""
READ_FEATURES = ("cross", "cross_margin", "share", "hand_over_nearer")
"""The same with a cross-encoder: its number for the best answer, how far ahead of the others that
is, how far ahead the best is in all, but no further than AHEAD, and by how much a question that is
to be handed over lies nearer in the run's own states, if it does. How near the trained wordings lie
says too much of held-out ones, which are like them: without these bounds the confidence of what
customers ask was too low (LOG.md)."""
AHEAD = 4.0
"""Logarithm of odds; whatever is further ahead is a trained wording, or nearly."""


class Weigher:
    """Weighs questions against the answers of one FAQ.

    `memory` holds the trained wordings and `said` the answers as they are read, `own` the wordings
    in the run's own states, or is `memory` itself. `owners` gives for each row of the FAQ's index
    the number of its answer (rows with the same answer share one); `answers` is the number of
    different answers, the hand-over not counted. `cross` reads the likeliest answers. `tokens`
    makes those of questions where a finder compares them.
    """

    weights: tuple[float, ...] = WITNESSES
    choice = CHOICE

    def __init__(
        self,
        engine: Model,
        root: Node,
        memory: Memory,
        own: Memory,
        said: Memory,
        index: Index,
        owners: Sequence[int],
        answers: int,
        cross: CrossEncoder | None = None,
        tokens: Callable[[Sequence[str]], list[list[int]]] | None = None,
    ) -> None:
        self.engine, self.root, self.index = engine, root, index
        self.memory, self.own, self.said = memory, own, said
        self.owners = list(owners)
        self.answers = answers
        self.cross, self.tokens = cross, tokens
        self.weights = self.weights_with(own is not memory, cross is not None)

    @classmethod
    def weights_with(cls, finder: bool, cross: bool) -> tuple[float, ...]:
        """Of the witnesses where a finder reads or not, a cross-encoder the last among them where
        there is one."""
        first = (cls.weights[0], *FOUND) if finder else cls.weights
        return (*first, CROSS) if cross else first

    @property
    def bytes(self) -> int:
        """What the states of wordings and answers take."""
        kept = {id(m): m.states.nbytes for m in (self.memory, self.own, self.said)}
        return int(sum(kept.values()))

    def weigh(self, asked: Sequence[Asked], prompts: Sequence[Sequence[int]]) -> list[Weighed]:
        """The evidence for each question, given the prompt that asks it."""
        if not asked:
            return []
        return [self.weighed(told) for told in self.witnesses(asked, prompts)]

    def witnesses(
        self, asked: Sequence[Asked], prompts: Sequence[Sequence[int]], rows: int | None = None
    ) -> Iterator[Told]:
        """What each witness says of each question, before it is weighed; `rows` are read where not
        as many as the cross-encoder is to read."""
        states = self.engine.hidden(prompts)
        known = list(self.known(asked, prompts, states))
        chosen = self.chosen(asked, prompts, known, states)
        found = []
        for leaves, (others, _) in zip(chosen, known, strict=True):
            trie = torch.full((self.answers + 1,), LEAST)
            for number, probability in leaves.leaves:
                trie[number] = max(probability, LEAST)
            found.append(torch.cat([trie.log().unsqueeze(0), others]))
        if self.cross is not None:
            found = self._read(self.cross, asked, found, rows or self.cross.most)
        for evidence, leaves, (_, nearest) in zip(found, chosen, known, strict=True):
            yield Told(evidence, nearest, leaves.asked, leaves.read)

    def _read(
        self, cross: CrossEncoder, asked: Sequence[Asked], found: Sequence[torch.Tensor], rows: int
    ) -> list[torch.Tensor]:
        """The evidence with what the cross-encoder says of the answers that are likeliest by it."""
        weights = torch.tensor(self.weights[:-1])
        likely = [(weights @ e)[:-1].topk(min(rows, self.answers)).indices for e in found]
        told = cross.read([(q, h, few.tolist()) for (q, h), few in zip(asked, likely, strict=True)])
        whole = []
        for evidence, few, logits in zip(found, likely, told, strict=True):
            row = torch.full((self.answers + 1,), float(logits.min()))
            row[few] = logits
            row[-1] = 0.0
            whole.append(torch.cat([evidence, row.unsqueeze(0)]))
        return whole

    def chosen(
        self,
        asked: Sequence[Asked],
        prompts: Sequence[Sequence[int]],
        known: Sequence[tuple[torch.Tensor, torch.Tensor]],
        states: torch.Tensor,
    ) -> list[Chosen]:
        """The model's own choice; `states` (n, d) as in `known`."""
        return choose(self.engine, self.root, prompts, best=TOP, first=states)

    def known(
        self, asked: Sequence[Asked], prompts: Sequence[Sequence[int]], states: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """What the witnesses without the trie say of each question (3, answers + 1), and its
        likeness to the nearest trained wordings (answers + 1) in the run's own `states` (n, d)."""
        warm = self.own is not self.memory
        read = self._finding(asked) if warm else states
        likeness, said = self.memory.likeness(read), self.said.likeness(read)
        mine = self.own.likeness(states) if warm else likeness
        found = self.index.search_all([question for question, _ in asked], 10)
        size = self.answers + 1
        for near, own, answers, hits in zip(likeness, mine, said, found, strict=True):
            shares = torch.softmax(_sized(near, size) * SHARPNESS, 0).clamp_min(LEAST)
            told = torch.softmax(answers * SHARPNESS, 0).clamp_min(LEAST).log()
            # No answer stands for the hand-over: here it is as likely as any.
            told = torch.cat([told, told.mean().unsqueeze(0)])
            letters = torch.zeros(size)
            for hit in hits:
                owner = self.owners[hit.pair]
                letters[owner] = max(float(letters[owner]), hit.score)
            yield torch.stack([shares.log(), told, letters]), _sized(own, size)

    def _finding(self, asked: Sequence[Asked]) -> torch.Tensor:
        """The states by which a finder compares questions (n, d).

        It has learned of questions and not of conversations: with the turns in its prompt it finds
        the last answer once more. So a follow-up lies between itself alone and itself after the
        question before it.
        """
        assert self.tokens is not None
        after = [turns[-1][0] + question for question, turns in asked if turns]
        states = self.engine.reading(self.tokens([*(question for question, _ in asked), *after]))
        found = states[: len(asked)].clone()
        follow = [n for n, (_, turns) in enumerate(asked) if turns]
        found[follow] = (found[follow] + states[len(asked) :]) / 2
        return found

    def weighed(self, told: Told) -> Weighed:
        """What follows from what the witnesses say of one question."""
        total = chosen = torch.tensor(self.weights) @ told.evidence
        if self.cross is not None:
            chosen = total + (self.choice - self.weights[-1]) * told.evidence[-1]
        ranked = chosen[:-1].argsort(descending=True).tolist()
        total = torch.softmax(total, 0)
        best = ranked[0]
        likely = tuple(n for n in ranked[:OFFERED] if float(total[n]) >= LEAST_OFFERED)
        share, away = float(total[best]), float(total[-1])
        features = self.features(told, total, best)
        return Weighed(best, share, away, features, told.asked, likely, told.read)

    def features(self, told: Told, total: torch.Tensor, best: int) -> tuple[float, ...]:
        """What the calibration looks at, see FEATURES and READ_FEATURES; `total` has the share
        (answers + 1) of each answer and of the hand-over."""
        states = told.states
        away = float(states[best] - states[-1])
        if self.cross is not None:
            read = told.evidence[-1]
            sure = min(_logit(float(total[best])), AHEAD)
            margin = float(read[best] - _other(read, best, 0.0))
            return float(read[best]), margin, sure, min(away, 0.0)
        ahead = float(states[best] - _other(states, best, -1.0)) if self.answers > 1 else 1.0
        return _logit(float(total[best])), -_logit(float(total[-1])), ahead, away


def _other(values: torch.Tensor, best: int, none: float) -> float:
    """The highest of all other answers, the hand-over aside; `none` where there is none."""
    others = torch.cat([values[:best], values[best + 1 : -1]])
    return float(others.max()) if len(others) else none


def _sized(likeness: torch.Tensor, size: int) -> torch.Tensor:
    """With the least likeness for answers that have no wording."""
    found = torch.full((size,), -1.0)
    found[: likeness.shape[0]] = likeness
    return found


def _logit(share: float) -> float:
    share = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(share / (1 - share))
