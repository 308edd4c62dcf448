"""Bot: a finished run that answers, the same way in ask, chat, eval and the server."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..prompt import Prompt
from ..recall import Index, normalise
from ..records import Example, Faq, Mode, Pair, Plan, Reply, Turn, trained_part
from ..score import facts, names_of
from ..weights import load
from ..workspace import RunFolder
from . import calibration as sure
from . import talk
from .engine import Engine, Model
from .generate import MOST, generate, generate_all
from .memory import Memory
from .trie import build
from .weighing import Told, Weighed, Weigher

BATCH = 32
"""Questions that are answered at one time on a CPU; on a GPU eight times as many. Below this a
step of generation is bound by reading the weights, however few answers it goes on with."""
SPREAD = 4
"""Of so many batches the questions are sorted by length, so that each batch holds like ones."""
MOST_ROWS = 20_000
"""Trained wordings that are compared with a question."""


class Bot:
    """Answers questions from one FAQ with the adapter of one run.

    Open one with `Bot.open`. `mode` and `calibration` may be set afterwards.
    """

    def __init__(
        self, folder: RunFolder, plan: Plan, pairs: Sequence[Pair], engine: Model, prompt: Prompt
    ) -> None:
        self.folder, self.plan, self.engine, self.prompt = folder, plan, engine, prompt
        self.mode: Mode = plan.mode.value
        self.calibration = sure.load(folder)
        self.pairs = tuple(pairs)
        texts = list(dict.fromkeys(p.answer for p in self.pairs))
        self.answers = texts
        self._number = {text: i for i, text in enumerate(texts)}
        self._names = names_of(Faq(self.pairs, ()))
        self._facts = [facts(text, self._names) for text in texts]
        self._weigher: Weigher | None = None
        self._known: dict[str, int] = {}
        self._asked = {_bare(p.question) for p in self.pairs}

    @classmethod
    def open(
        cls,
        folder: RunFolder,
        *,
        mode: Mode | None = None,
        adapter: Path | None = None,
        merged: Path | None = None,
    ) -> Bot:
        """Loads base and adapter once; or a `merged` model, which needs neither.

        Raises RunError when the run is not finished, BaseError when the base is not here.
        """
        folder.check_finished()
        plan = folder.plan()
        pairs = folder.faq().pairs
        cuda = plan.machine.device == "cuda" and _has_cuda()
        precision = plan.precision.value if cuda or plan.precision.value == "nf4" else "fp32"
        if merged and precision == "nf4":
            precision = "bf16" if cuda else "fp32"  # it is examined as it is shipped
        loaded = load(
            str(merged) if merged else plan.base.value,
            precision=precision,
            compute=plan.compute.value if cuda else "fp32",
            device="cuda:0" if cuda else "cpu",
            adapter=None if merged else adapter or folder.adapter,
            trust_remote_code=plan.trust_remote_code,
        )
        prompt = Prompt.of_plan(loaded.tokenizer, plan)
        bot = cls(folder, plan, pairs, Engine(loaded.model, loaded.device), prompt)
        bot.mode = mode or bot.mode
        return bot

    # --- answering ---------------------------------------------------------------

    def answer(self, question: str, history: Sequence[Turn] = ()) -> Reply:
        """One answer, or the hand-over sentence."""
        return next(self.answer_all([(question, tuple(history))]))

    @property
    def streams(self) -> bool:
        """Whether an answer comes in pieces: only where nothing in them can be taken back."""
        return self.mode in ("free", "sample")

    def stream(
        self, question: str, history: Sequence[Turn] = (), temperature: float | None = None
    ) -> Iterator[str]:
        """The answer in pieces as they come; whole, where the bot does not stream.

        `temperature` counts in `sample` only, as everywhere.
        """
        if not self.streams:
            yield self.answer(question, history).text
            return
        ids, _ = self._prompt(question, history)
        told, made = "", []
        sample = self.mode == "sample"
        for token in generate(
            self._torch, self.prompt, ids, sample=sample, temperature=temperature
        ):
            if token == self.prompt.terminator:
                break
            made.append(token)
            text = self.prompt.said(made)
            if len(text) > len(told) and not self.prompt.unsettled(text):
                yield text[len(told) :]
                told = text
        rest = self.prompt.said(made)[len(told) :]
        if rest:
            yield rest

    def answer_all(
        self,
        asked: Sequence[tuple[str, Sequence[Turn]]],
        most: int | None = None,
        temperature: float | None = None,
    ) -> Iterator[Reply]:
        """Replies in the order of the questions, several at a time; `most` new tokens each."""
        if self.mode in ("free", "sample"):  # the model is to speak for itself
            yield from self._answer_each(asked, most, temperature)
            return
        kinds = [None if self._in_faq(q) else talk.pleasantry(q) for q, _ in asked]
        parts = [talk.questions(q) for q, _ in asked]
        each = [
            (text, history)
            for (question, history), kind, several in zip(asked, kinds, parts, strict=True)
            if kind is None
            for text in (question, *several)
        ]
        replies = self._answer_each(each, most, temperature)
        for (question, _), kind, several in zip(asked, kinds, parts, strict=True):
            if kind is not None:
                yield talk.polite(kind, question, self._chinese)
                continue
            reply = next(replies)
            if several:
                rest = [next(replies) for _ in several]
                reply = talk.together(reply, rest, several, self.prompt.hand_over)
            yield self._addressed(reply, question)

    def _addressed(self, reply: Reply, question: str) -> Reply:
        """The reply in the script of the question, or understandable at least."""
        text = reply.text
        if reply.handed_over and text == self.prompt.hand_over:
            text = talk.hand_over_in(text, question)
        return replace(reply, text=talk.in_tongue(text, talk.tongue_of(question)))

    def _in_faq(self, question: str) -> bool:
        """Whether the FAQ has this very question: what the owner wrote goes before manners."""
        return _bare(question) in self._asked

    @property
    def _chinese(self) -> bool:
        return talk.tongue_of("".join(self.answers[:20])) != "en"

    def _answer_each(
        self,
        asked: Sequence[tuple[str, Sequence[Turn]]],
        most: int | None,
        temperature: float | None,
    ) -> Iterator[Reply]:
        size = BATCH * (8 if self.engine.device.startswith("cuda") else 1)
        for start in range(0, len(asked), size * SPREAD):
            part = asked[start : start + size * SPREAD]
            prompts = [self._prompt(q, h)[0] for q, h in part]
            order = sorted(range(len(part)), key=lambda i: len(prompts[i]))
            replies: dict[int, Reply] = {}
            for at in range(0, len(part), size):
                these = order[at : at + size]
                begun = time.perf_counter()
                made = self._reply(
                    [part[i][0] for i in these],
                    [prompts[i] for i in these],
                    most or MOST,
                    temperature,
                )
                each = (time.perf_counter() - begun) / len(these)
                replies |= {i: _timed(r, each) for i, r in zip(these, made, strict=True)}
            for i in range(len(part)):
                yield replies[i]

    @property
    def longest_answer(self) -> int:
        """Tokens of the FAQ's longest answer, terminator included."""
        return max(len(self.prompt.answer_ids(a)) for a in self.answers)

    def dropped(self, question: str, history: Sequence[Turn]) -> int:
        """How many of the oldest turns no longer fit the model's context."""
        return self._prompt(question, history)[1]

    def evidence(self, rows: Sequence[Example]) -> Iterator[sure.Seen]:
        """What questions with known answers show, for the calibration."""
        for start in range(0, len(rows), 32):
            part = rows[start : start + 32]
            prompts = [self._prompt(r.question, r.history)[0] for r in part]
            for row, found in zip(
                part, self._weigh([r.question for r in part], prompts), strict=True
            ):
                right = self.answers[found.best] == row.answer
                yield sure.Seen(found.features, right, row.answer is not None)

    def witnesses(self, questions: Sequence[str]) -> Iterator[Told]:
        """What each witness says of each question, for choosing their weights."""
        return self._ready().witnesses(questions, [self.prompt.ids(q) for q in questions])

    @contextmanager
    def untuned(self) -> Iterator[Bot]:
        """The same base without the adapter, answering freely: the exam's control."""
        mode = self.mode
        self.mode = "free"
        try:
            with self._torch.model.disable_adapter():
                yield self
        finally:
            self.mode = mode

    # --- how ---------------------------------------------------------------------

    @property
    def _torch(self) -> Engine:
        """The model, where torch runs it: only then tokens are drawn one by one."""
        assert isinstance(self.engine, Engine)
        return self.engine

    def _prompt(self, question: str, history: Sequence[Turn]) -> tuple[list[int], int]:
        """Token ids that fit the model's context, and the turns that had to be dropped."""
        room = self.engine.context - MOST
        ids, kept = self.prompt.fit(question, history, room)
        if len(ids) > room:
            ids = self.prompt.shortened(question, room)
        return ids, len(history) - len(kept)

    def _reply(
        self,
        questions: Sequence[str],
        prompts: list[list[int]],
        most: int,
        temperature: float | None,
    ) -> list[Reply]:
        if self.mode == "verbatim":
            return [self._verbatim(w) for w in self._weigh(questions, prompts)]
        if self.mode == "sample":
            return [self._sample(p, most, temperature) for p in prompts]
        weighed = self._weigh(questions, prompts) if self.mode == "locked" else None
        texts = generate_all(self.engine, self.prompt, prompts, most=most)
        if weighed is None:
            return [self._free(ids) for ids in texts]
        return [self._locked(ids, w) for ids, w in zip(texts, weighed, strict=True)]

    def _weigh(self, questions: Sequence[str], prompts: Sequence[Sequence[int]]) -> list[Weighed]:
        found = self._ready().weigh(questions, prompts)
        known = [self._known.get(_bare(question)) for question in questions]
        return [
            w if number is None else replace(w, best=number, certain=True)
            for w, number in zip(found, known, strict=True)
        ]

    def _ready(self) -> Weigher:
        if self._weigher is None:
            self._weigher = self._make_weigher()
        return self._weigher

    def _make_weigher(self) -> Weigher:
        away = len(self.answers)
        root = build([self.prompt.answer_ids(a) for a in (*self.answers, None)])
        rows = self._trained()
        self._known = self._by_heart(rows)
        asked = [row for row in rows if row.kind != "answer"]
        prompts = [self.prompt.ids(row.question) for row in asked]
        owners = [away if row.answer is None else self._number[row.answer] for row in asked]
        memory = Memory(self.engine, prompts, owners)
        said = Memory(self.engine, [self.prompt.ids(a) for a in self.answers], range(away))
        # Only what was trained: the FAQ's other wordings are those that the exam asks.
        pairs = trained_part(self.folder.faq(), rows).pairs
        numbers = [self._number[p.answer] for p in pairs]
        return Weigher(self.engine, root, memory, said, Index(pairs), numbers, away)

    def _by_heart(self, rows: Sequence[Example]) -> dict[str, int]:
        """Trained questions that have one answer: what the owner wrote himself is
        answered however sure the bot must be of all else."""
        found: dict[str, set[str | None]] = {}
        for row in rows:
            found.setdefault(_bare(row.question), set()).add(row.answer)
        single = {asked: next(iter(said)) for asked, said in found.items() if len(said) == 1}
        return {q: self._number[a] for q, a in single.items() if q and a is not None}

    def _trained(self) -> list[Example]:
        """The rows that the run was trained on, thinned where they are very many."""
        known = (row for row in self.folder.examples() if not row.history)
        rows = [row for row in known if row.answer is None or row.answer in self._number]
        return random.Random(0).sample(rows, MOST_ROWS) if len(rows) > MOST_ROWS else rows

    def _away(self, confidence: float, found: Weighed, tokens: int) -> Reply:
        return Reply(
            self.prompt.hand_over,
            handed_over=True,
            confidence=confidence,
            tokens=tokens,
            note=f"not sure: {self._source(found.best)}",
            offered=tuple(self._source(number) for number in found.likely),
        )

    def _source(self, number: int) -> str:
        return next(p.question for p in self.pairs if p.answer == self.answers[number])

    def _verbatim(self, found: Weighed) -> Reply:
        confidence = self._confidence(found)
        if not found.certain and confidence < self.calibration.threshold:
            return self._away(confidence, found, found.asked)
        return Reply(
            self.answers[found.best],
            confidence=confidence,
            source=self._source(found.best),
            tokens=found.asked,
        )

    def _confidence(self, found: Weighed) -> float:
        if found.certain:
            return 1.0
        if self.calibration.weights:
            return self.calibration.confidence(found.features)
        return found.share if found.share > found.hand_over else 0.0

    def _free(self, ids: list[int]) -> Reply:
        text = self.prompt.said(ids)
        away = text == self.prompt.hand_over
        return Reply(
            text,
            handed_over=away,
            stopped=self.prompt.ended(ids),
            source=None,
            tokens=len(ids),
        )

    def _sample(self, prompt: list[int], most: int, temperature: float | None) -> Reply:
        # The seed follows from the prompt, so that an exam can be repeated.
        made = generate(
            self._torch,
            self.prompt,
            prompt,
            sample=True,
            most=most,
            seed=sum(prompt),
            temperature=temperature,
        )
        return self._free(list(made))

    def _locked(self, ids: list[int], found: Weighed) -> Reply:
        """Free text whose facts all stand in the one answer that the evidence points to.

        Text with a foreign fact, or text that was cut off, gives way to that answer itself.
        """
        confidence = self._confidence(found)
        free = self._free(ids)
        if not found.certain and confidence < self.calibration.threshold:
            return self._away(confidence, found, len(ids))
        said = facts(free.text, self._names)
        due = self._facts[found.best]
        sound = free.stopped and free.text and not free.handed_over and said <= due
        # Every fact of the row must be there too: an answer that drops the phone number is wrong.
        # A row without facts gives nothing to hold free text against.
        text = free.text if sound and due and due <= said else self.answers[found.best]
        return Reply(
            text,
            confidence=confidence,
            source=self._source(found.best),
            tokens=len(ids),
            note="" if text == free.text else "the free text said something else",
        )


def _bare(question: str) -> str:
    """The question without the marks and blanks at its ends, in one width, script and case."""
    return normalise(question).strip(" ?!.,~。，、…")


def _timed(reply: Reply, seconds: float) -> Reply:
    return replace(reply, first_token=round(seconds, 4), last_token=round(seconds, 4))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
