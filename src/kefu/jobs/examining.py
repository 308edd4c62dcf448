"""Puts the exam to a run and to its controls, and writes the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .. import exam as exams
from ..records import ExamQuestion, Faq, Mode, Pair, Reply, Report, Verdict, trained_part
from ..weights import import_libraries, sentence_encoder
from ..workspace import RunFolder, write_json, write_text
from .edited import renewed, stale_rows

if TYPE_CHECKING:
    from ..bot import Bot
    from ..recall import Hit

SPARE_TOKENS = 8
"""The untuned base does not know when to stop: its answers are cut this many tokens beyond the
longest answer of the FAQ, so that every right answer still fits."""

RUN, BASE, SHOWN = "run", "untuned base", "base with rows"
"""Who answers with the model of a run: see `answered_by`."""

Answerer = Callable[[Sequence[ExamQuestion]], Iterable[Reply]]
"""What an exam is put to."""


class Finder(Protocol):
    """An index of an FAQ's rows, by letters or by meaning."""

    @property
    def pairs(self) -> tuple[Pair, ...]: ...

    def search_all(self, questions: Sequence[str], k: int = 5) -> list[tuple[Hit, ...]]:
        """The rows nearest to each question, nearest first."""
        ...


def evaluate(
    folder: RunFolder,
    *,
    exam: Path | None = None,
    mode: Mode | None = None,
    bot: Bot | None = None,
    controls: bool = True,
    previous: RunFolder | None = None,
    embedder: str = "",
    spread: Callable[[str, Answerer], Answerer] = lambda who, answer: answer,
    on_verdict: Callable[[str, Verdict, int, int], None] = lambda who, verdict, done, of: None,
) -> Report:
    """Examines a run and, on the same questions, its controls; writes report.json and pictures.

    `bot` is the run's bot where the caller has it open already; `embedder` a sentence-transformers
    model for one control more. `spread` may let others answer for the bot, by `answered_by`.
    """
    import_libraries()
    from ..bot import Bot
    from ..recall import Index, MeaningIndex
    from ..score import Marker, examine, pictures, report

    faq = folder.faq()
    rows = folder.examples()
    known = trained_part(faq, rows)  # all that was trained, for bot and controls alike
    questions = exams.read(exam or folder.file("exam.jsonl"), faq, rows)
    encode = sentence_encoder(embedder) if embedder and controls else None

    bot = bot or Bot.open(folder)
    bot.mode = mode or bot.mode
    threshold, version = bot.calibration.threshold, ""
    if bot.book is not None:  # it answers from the file as it is, and is held to that
        questions = renewed(questions, faq, bot.pairs)
        faq = Faq(bot.pairs, ())
        known, version = trained_part(faq, rows), faq.digest[:12]
    marker = Marker(faq)

    def ask(who: str, answer: Answerer, version: str = "") -> tuple[Verdict, ...]:
        # Replies of another threshold are other replies, and must not be taken up again.
        place = folder.file(f"exam/{_slug(f'{who} {version}'.strip())}.jsonl")
        place.parent.mkdir(exist_ok=True)
        return examine(
            answer, questions, faq, run=who, to=place, marker=marker,
            on_verdict=lambda v, done, of: on_verdict(who, v, done, of),
        )  # fmt: skip

    name = f"{folder.name} ({bot.mode})"
    verdicts = ask(name, spread(RUN, answerer(bot)), f"{threshold:.6f} {version}")
    others: dict[str, tuple[Verdict, ...]] = {}
    if controls:
        indexes: dict[str, Finder] = {"retrieval alone": Index(known)}
        if encode is not None:
            indexes["retrieval by embeddings"] = MeaningIndex(known, encode)
        for who, index in indexes.items():
            others[who] = ask(who, retrieval(index, bot), f"{bot.calibration.allowed}")
        most = bot.longest_answer + SPARE_TOKENS
        with bot.untuned() as base:
            others["untuned base"] = ask(BASE, spread(BASE, answerer(base, most=most)))
            shown = spread(SHOWN, open_book(base, known, most))
            others["untuned base, rows in its prompt"] = ask(SHOWN, shown)
    if previous is not None and previous.name != folder.name:
        before = Bot.open(previous)
        others["previous release"] = ask(
            previous.name, answerer(before), f"{before.mode} {before.calibration.threshold:.6f}"
        )
    made = report(
        name, verdicts, others, faq_digest=faq.digest, mode=bot.mode, threshold=threshold,
        versions=folder.versions(),
    )  # fmt: skip
    made = replace(made, stale=stale_rows(bot))
    write_json(folder.file("report.json"), made, Report)
    write_text(folder.file("report.md"), pictures.as_markdown(made))
    write_text(folder.file("report.html"), pictures.as_html(made))
    return made


def answered_by(bot: Bot, who: str, asked: Sequence[ExamQuestion]) -> list[Reply]:
    """The replies of a run's bot, or of a control with the same model: RUN, BASE or SHOWN."""
    if who == RUN:
        return list(answerer(bot)(asked))
    most = bot.longest_answer + SPARE_TOKENS
    known = trained_part(bot.folder.faq(), bot.folder.examples())
    with bot.untuned() as base:
        made = answerer(base, most=most) if who == BASE else open_book(base, known, most)
        return list(made(asked))


def answerer(bot: Bot, most: int | None = None) -> Answerer:
    """A bot as the callable that an exam is put to."""

    def answer(asked: Sequence[ExamQuestion]) -> Iterator[Reply]:
        return bot.answer_all([(q.question, q.history) for q in asked], most=most)

    return answer


def retrieval(index: Finder, bot: Bot) -> Answerer:
    """The control that only searches: the nearest row's answer, handed over when far.

    Its threshold is set on the same held-out questions, for the same share of false answers.
    """

    from ..bot import best_threshold

    answers = [p.answer for p in index.pairs]
    held_out = bot.folder.split().held_out
    found = index.search_all([e.question for e in held_out], 1)
    seen = [
        (hits[0].score if hits else 0.0, bool(hits) and answers[hits[0].pair] == e.answer)
        for e, hits in zip(held_out, found, strict=True)
    ]
    least = best_threshold(seen, bot.calibration.allowed)

    def answer(asked: Sequence[ExamQuestion]) -> Iterator[Reply]:
        for question in asked:
            begun = time.perf_counter()
            hits = index.search_all([question.question], 1)[0]
            took = round(time.perf_counter() - begun, 5)
            score = hits[0].score if hits else 0.0
            if not hits or score < least:
                yield Reply(bot.prompt.hand_over, True, score, first_token=took, last_token=took)
                continue
            pair = index.pairs[hits[0].pair]
            yield Reply(pair.answer, False, score, pair.question, first_token=took, last_token=took)

    return answer


def open_book(bot: Bot, faq: Faq, most: int, rows: int = 2) -> Answerer:
    """The control that needs no training: the nearest rows in the base's own prompt."""
    from ..recall import Index

    index = Index(faq)

    def answer(asked: Sequence[ExamQuestion]) -> Iterator[Reply]:
        found = index.search_all([q.question for q in asked], rows)
        with_rows = [
            (
                q.question,
                (
                    *(
                        (faq.pairs[h.pair].question, faq.pairs[h.pair].answer)
                        for h in reversed(hits)
                    ),
                    *q.history,
                ),
            )
            for q, hits in zip(asked, found, strict=True)
        ]
        return bot.answer_all(with_rows, most=most)

    return answer


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in text)
