"""Bot: a finished run that answers, the same way in ask, chat, eval and the server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path

from ..prompt import Prompt
from ..records import Example, Mode, Pair, Plan, Reply, Turn
from ..score import pieces
from ..weights import load
from ..workspace import RunFolder
from . import calibration as sure
from . import talk
from .begun import warm_of
from .beside import beside
from .book import Book, Reader
from .engine import Engine, Model, Reads
from .generate import MOST, generate, generate_all, growing
from .known import bare, weigher, weights_of
from .lock import Lock
from .weighing import Asked, Told, Weighed, Weigher, certain
from .years import of_another_year

BATCH = 32
"""Questions that are answered at one time on a CPU; on a GPU eight times as many. Below this a
step of generation is bound by reading the weights, however few answers it goes on with."""
SPREAD = 4
"""Of so many batches the questions are sorted by length, so that each batch holds like ones."""


class Bot:
    """Answers questions from one FAQ with the adapter of one run.

    Open one with `Bot.open`. `mode` and `calibration` may be set afterwards.
    """

    def __init__(self, folder: RunFolder, plan: Plan, engine: Model, prompt: Prompt) -> None:
        self.folder, self.plan, self.engine, self.prompt = folder, plan, engine, prompt
        self._batch = BATCH * (8 if engine.device.startswith("cuda") else 1)
        self.mode: Mode = plan.mode.value
        self._bare = False  # what the base says by itself is a control, and stays as it is
        self.book = Book(folder, plan.shown.value) if plan.book.value == "open" else None
        self.weights = weights_of(self)  # of the witnesses
        self.calibration = sure.load(folder, self.weights)
        self._learn(self.book.pairs if self.book else folder.faq().pairs)

    def _learn(self, pairs: Sequence[Pair]) -> None:
        """Takes these rows for the FAQ."""
        self.pairs = tuple(pairs)
        texts = list(dict.fromkeys(p.answer for p in self.pairs))
        self.answers = texts
        self._lock: Lock | None = None
        self._weigher: Weigher | None = None
        self._known: dict[str, int] = {}
        self._asked = {bare(p.question) for p in self.pairs}

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
        reader: Reads | None = beside(plan, loaded.device)
        if merged and plan.warm.value:
            # A merged model's adapter is in its weights, and cannot be put aside to read.
            reader = cls.open(folder)._torch
        begun = None if merged else warm_of(folder)
        bot = cls(folder, plan, Engine(loaded.model, loaded.device, begun, reader), prompt)
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

        In `free` a piece is a clause, and the hand-over takes the place of one with a fact that is
        not in the FAQ, and of all after it. `temperature` counts in `sample` only, as everywhere.
        """
        if not self.streams:
            yield self.answer(question, history).text
            return
        self._look()
        ids = self._read([(question, history)], [self._prompt(question, history)[0]])[0]
        sample = self.mode == "sample"
        grown = growing(self._torch, self.prompt, ids, sample=sample, temperature=temperature)
        yield from pieces(grown, None if sample else self._facts_of().filter)

    def answer_all(
        self,
        asked: Sequence[tuple[str, Sequence[Turn]]],
        most: int | None = None,
        temperature: float | None = None,
    ) -> Iterator[Reply]:
        """Replies in the order of the questions, several at a time; `most` new tokens each."""
        self._look()
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
        return bare(question) in self._asked

    @property
    def _chinese(self) -> bool:
        return talk.tongue_of("".join(self.answers[:20])) != "en"

    def _answer_each(
        self,
        asked: Sequence[tuple[str, Sequence[Turn]]],
        most: int | None,
        temperature: float | None,
    ) -> Iterator[Reply]:
        size = self._batch
        for start in range(0, len(asked), size * SPREAD):
            part = asked[start : start + size * SPREAD]
            prompts = [self._prompt(q, h)[0] for q, h in part]
            order = sorted(range(len(part)), key=lambda i: len(prompts[i]))
            replies: dict[int, Reply] = {}
            for at in range(0, len(part), size):
                these = order[at : at + size]
                begun = time.perf_counter()
                made = self._reply(
                    [part[i] for i in these],
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
        for start in range(0, len(rows), self._batch):
            part = rows[start : start + self._batch]
            asked = [(r.question, r.history) for r in part]
            prompts = [self._prompt(*one)[0] for one in asked]
            for row, found in zip(part, self._ready().weigh(asked, prompts), strict=True):
                right = self.answers[found.best] == row.answer
                yield sure.Seen(found.features, right, row.answer is not None)

    def witnesses(self, questions: Sequence[str], rows: int | None = None) -> Iterator[Told]:
        """What each witness says of each question, for choosing their weights, and how many `rows`
        are read."""
        asked = [(q, ()) for q in questions]
        return self._ready().witnesses(asked, [self.prompt.ids(q) for q in questions], rows)

    @contextmanager
    def untuned(self) -> Iterator[Bot]:
        """The same base without the adapter, answering freely: the exam's control."""
        mode, book = self.mode, self.book
        self.mode, self.book, self._bare = "free", None, True
        try:
            with self._torch.model.disable_adapter():
                yield self
        finally:
            self.mode, self.book, self._bare = mode, book, False

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
        asked: Sequence[Asked],
        prompts: list[list[int]],
        most: int,
        temperature: float | None,
    ) -> list[Reply]:
        if self.mode == "verbatim":
            return [self._verbatim(w) for w in self._weigh(asked, prompts)]
        if self.mode == "locked":
            return self._locked(asked, prompts, most)
        prompts = self._read(asked, prompts)
        if self.mode == "sample":
            made = [self._sample(p, most, temperature) for p in prompts]
        else:
            made = list(map(self._free, generate_all(self.engine, self.prompt, prompts, most=most)))
            made = made if self._bare else list(map(self._facts_of().free, made))
        return [replace(r, read=len(p)) for r, p in zip(made, prompts, strict=True)]

    def _locked(self, asked: Sequence[Asked], prompts: list[list[int]], most: int) -> list[Reply]:
        """The model's own words where they say what the row says that is meant, else that row.

        Text with a foreign fact, without one of the row's (an answer that drops the phone number is
        wrong), or cut off gives way. A row without facts gives nothing to hold text against, and
        what is handed over needs no text.
        """
        lock = self._facts_of()
        weighed = self._weigh(asked, prompts)
        replies = [self._verbatim(found) for found in weighed]
        due = [self.answers[found.best] for found in weighed]
        some = [i for i, r in enumerate(replies) if not r.handed_over and lock.holds(due[i])]
        if not some:
            return replies
        read = self._read([asked[i] for i in some], [prompts[i] for i in some])
        texts = generate_all(self.engine, self.prompt, read, most=most)
        for i, given, ids in zip(some, read, texts, strict=True):
            free = self._free(ids)
            sound = lock.sound(free, self.source(weighed[i].best), due[i])
            replies[i] = replace(
                replies[i],
                text=free.text if sound else replies[i].text,
                tokens=len(ids),
                read=len(given),
                note="" if sound else "the free text said something else",
            )
        return replies

    def _facts_of(self) -> Lock:
        self._lock = self._lock or Lock(self.pairs, self.prompt.hand_over)
        return self._lock

    def _look(self) -> None:
        """Takes the rows of an open book as they are now."""
        if self.book is not None and self.book.refresh():
            self._learn(self.book.pairs)

    def _read(self, asked: Sequence[Asked], prompts: list[list[int]]) -> list[list[int]]:
        """What the model reads before it writes: in open book with the rows that may be meant."""
        if self.book is None:
            return prompts
        reader = self._ready()
        assert isinstance(reader, Reader)
        return [ids for _, ids in reader.look_up(asked, prompts)]

    def _weigh(self, asked: Sequence[Asked], prompts: Sequence[Sequence[int]]) -> list[Weighed]:
        """A question known letter for letter needs no weighing, and the model is not asked."""
        weigher = self._ready()
        by_heart = [self._known.get(bare(question)) for question, _ in asked]
        new = [i for i, number in enumerate(by_heart) if number is None]
        found = iter(weigher.weigh([asked[i] for i in new], [prompts[i] for i in new]))
        return [
            self._settled(question, next(found)) if number is None else certain(number)
            for (question, _), number in zip(asked, by_heart, strict=True)
        ]

    def _settled(self, question: str, found: Weighed) -> Weighed:
        """With a look at the year that it names."""
        rows = (p.phrasings for p in self.pairs if p.answer == self.answers[found.best])
        return replace(found, elsewhen=of_another_year(question, chain.from_iterable(rows)))

    def _ready(self) -> Weigher:
        if self._weigher is None:
            self._weigher, self._known = weigher(self)
        return self._weigher

    def _away(self, confidence: float, found: Weighed, tokens: int) -> Reply:
        return Reply(
            self.prompt.hand_over,
            handed_over=True,
            confidence=confidence,
            tokens=tokens,
            note=f"not sure: {self.source(found.best)}",
            read=found.read,
            offered=tuple(self.source(number) for number in found.likely),
        )

    def source(self, number: int) -> str:
        """The question of the answer with this number."""
        return next(p.question for p in self.pairs if p.answer == self.answers[number])

    def _verbatim(self, found: Weighed) -> Reply:
        confidence = self._confidence(found)
        if not found.certain and confidence < self.calibration.threshold:
            return self._away(confidence, found, found.asked)
        return Reply(
            self.answers[found.best],
            confidence=confidence,
            source=self.source(found.best),
            tokens=found.asked,
            read=found.read,
        )

    def _confidence(self, found: Weighed) -> float:
        if found.certain or found.elsewhen:
            return float(found.certain)
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


def _timed(reply: Reply, seconds: float) -> Reply:
    return replace(reply, first_token=round(seconds, 4), last_token=round(seconds, 4))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
