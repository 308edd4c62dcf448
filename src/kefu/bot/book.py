"""Open book: the FAQ as it is now, and a weigher whose model reads the nearest rows first.

The rows that a question may mean are found by what the bot knows without reading (states, answers,
letters); the model then chooses among their answers with these rows in its prompt. What was trained
is used for how questions are worded; every answer comes from the file as it is when it is asked
for. Does not know how a prompt looks (see prompt.py), nor how an edited row is marked in an exam.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..errors import FaqError
from ..faq import read
from ..prompt import Prompt
from ..recall import normalise
from ..records import Example, Faq, Pair, Shown, Turn
from ..workspace import RunFolder
from .choose import Chosen, choose
from .engine import Model
from .trie import build
from .weighing import ANSWERS, LETTERS, STATES, Asked, Told, Weigher

READING = 0.5
"""Weight of what the model chooses with the rows before it; LOG.md has the figures."""


def faq_now(folder: RunFolder) -> Faq | None:
    """The run's FAQ file as it is now; None where the run names none. Raises FaqError."""
    place = folder.place()
    if place is None:
        return None
    return read(Path(place.path), question=place.question, answer=place.answer, sheet=place.sheet)


Key = tuple[str, tuple[int, ...]]
"""Whose states, and of which tokens."""


class Book:
    """The rows of a run's FAQ file, read again whenever the file has changed.

    A file that is gone or cannot be read leaves the rows that were read last, first those that the
    run itself keeps, and a warning.
    """

    def __init__(self, folder: RunFolder, shown: int) -> None:
        self.folder, self.shown = folder, shown
        self.pairs: tuple[Pair, ...] = folder.faq().pairs
        self._place = folder.place()
        self._stamp: object = None
        self._states: dict[Key, torch.Tensor] = {}
        if self._place is None:
            self._warn("This run does not say where its FAQ file is.")
        self.refresh()

    def refresh(self) -> bool:
        """Looks at the file again; whether the rows are others than before."""
        if self._place is None:
            return False
        stamp = _stamp(Path(self._place.path))
        if stamp == self._stamp:
            return False
        self._stamp, before = stamp, self.pairs
        try:
            found = faq_now(self.folder)
        except FaqError as error:
            self._warn(str(error))
            return False
        if found is None or not found.pairs:
            self._warn(f"{self._place.path} has no row with a question and an answer.")
            return False
        self.pairs = found.pairs
        return self.pairs != before

    def _warn(self, what: str) -> None:
        logging.getLogger("kefu").warning(
            "%s The bot of %s answers from the rows that it has.", what, self.folder.name
        )

    def rows(self, trained: Iterable[Example]) -> list[Example]:
        """Every wording that is known, with today's answer, and what is handed over.

        Wordings that were held out of training, or that the exam asks, stay unknown.
        """
        answers = {pair.question: pair.answer for pair in reversed(self.pairs)}
        split = self.folder.split()
        aside = {normalise(row.question) for row in split.held_out}
        aside |= {normalise(asked.question) for asked in split.exam}
        made: dict[tuple[str, str | None], Example] = {}
        for row in trained:
            if row.answer is None:
                made[row.question, None] = row
            elif row.wording and row.source in answers:
                answer = answers[row.source]
                made[row.question, answer] = replace(row, answer=answer)
        for pair in self.pairs:
            for text in pair.phrasings:
                if text == pair.question or normalise(text) not in aside:
                    new = Example(text, pair.answer, pair.question)
                    made.setdefault((text, pair.answer), new)
        return list(made.values())

    def over(self, engine: Model) -> Model:
        """The model, which keeps the states of what it has read once: after an edit only what is
        new is read."""
        return _Kept(engine, self._states)


class _Kept:
    """A `Model` whose states are kept."""

    def __init__(self, engine: Model, kept: dict[Key, torch.Tensor]) -> None:
        self.device, self.context = engine.device, engine.context
        self.logits, self.write, self.crossed = engine.logits, engine.write, engine.crossed
        self.after = engine.after
        self._engine, self._kept = engine, kept

    def hidden(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """As the model's; (n, d) in float32."""
        return self._states("hidden", sequences)

    def reading(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """As the model's; (n, d) in float32."""
        return self._states("reading", sequences)

    def _states(self, kind: str, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        keys = [(kind, tuple(sequence)) for sequence in sequences]
        new = [key for key in dict.fromkeys(keys) if key not in self._kept]
        if new:
            made = getattr(self._engine, kind)([sequence for _, sequence in new])
            self._kept.update(zip(new, made.cpu(), strict=True))
        return torch.stack([self._kept[key] for key in keys])


class Reader(Weigher):
    """A weigher of an open book. `rows` has for each answer by number the row that gives it."""

    weights = (READING, STATES, ANSWERS, LETTERS)

    def read_with(self, prompt: Prompt, rows: Sequence[Shown], shown: int, room: int) -> None:
        """Says with what it reads: `shown` rows in prompts of at most `room` tokens."""
        self.prompt, self.rows = prompt, list(rows)
        self.shown, self.room = shown, room

    def look_up(
        self, asked: Sequence[Asked], prompts: Sequence[Sequence[int]]
    ) -> list[tuple[list[int], list[int]]]:
        """For each question the answers that it may mean, likeliest first, and the prompt that
        carries their rows."""
        return self._all_shown(asked, self.known(asked, prompts, self.engine.hidden(prompts)))

    def _all_shown(
        self, asked: Sequence[Asked], known: Iterable[tuple[torch.Tensor, torch.Tensor]]
    ) -> list[tuple[list[int], list[int]]]:
        return [
            self._shown(question, history, evidence)
            for (question, history), (evidence, _) in zip(asked, known, strict=True)
        ]

    def _shown(
        self, question: str, history: Sequence[Turn], evidence: torch.Tensor
    ) -> tuple[list[int], list[int]]:
        total = torch.tensor(self.weights[1 : 1 + len(evidence)]) @ evidence[:, :-1]
        likely = total.topk(min(self.shown, self.answers)).indices.tolist()
        ids, _ = self.prompt.fit(question, history, self.room, [self.rows[n] for n in likely])
        return likely, ids if len(ids) <= self.room else self.prompt.shortened(question, self.room)

    def chosen(
        self,
        asked: Sequence[Asked],
        prompts: Sequence[Sequence[int]],
        known: Sequence[tuple[torch.Tensor, torch.Tensor]],
        states: torch.Tensor,
    ) -> list[Chosen]:
        """The model's choice among the answers of the rows that it has read, or to hand over."""
        shown = self._all_shown(asked, known)
        tries = [
            build([self.prompt.answer_ids(a) for a in (*(self.rows[n][1] for n in likely), None)])
            for likely, _ in shown
        ]
        found = choose(self.engine, tries, [ids for _, ids in shown], best=self.shown + 1)
        for one, (likely, ids) in zip(found, shown, strict=True):
            numbers = [*likely, self.answers]
            one.leaves = [(numbers[place], share) for place, share in one.leaves]
            one.read = len(ids)
        return found

    def features(self, told: Told, total: torch.Tensor, best: int) -> tuple[float, ...]:
        """What reading says for the best answer and against handing over, beside the rest."""
        return (
            *super().features(told, total, best),
            float(told.evidence[0, best]),
            -float(told.evidence[0, -1]),
        )


def _stamp(place: Path) -> object:
    """What changes when a file does, or any in a folder."""
    try:
        files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
        return [(str(p), s.st_mtime_ns, s.st_size) for p in files for s in [p.stat()]]
    except OSError:
        return "gone"
