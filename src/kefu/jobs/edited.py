"""What an FAQ file that was edited after a training means for the run's exam.

Rows are told by their question: one whose question was reworded too is a row that is gone and
another that is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import FaqError
from ..records import ExamQuestion, Faq, Pair, Stale
from ..score import Marker

if TYPE_CHECKING:
    from ..bot import Bot


def stale_rows(bot: Bot) -> tuple[Stale, ...]:
    """The rows that were edited or deleted since the training, and that the bot still answers as
    they were. Nothing where the file is gone, or where the run does not say which it is."""
    from ..bot import faq_now

    try:
        now = faq_now(bot.folder)
    except FaqError:
        return ()
    if now is None:
        return ()
    before = bot.folder.faq()
    edited = _edited(before, now)
    marker = Marker(before)
    replies = bot.answer_all([(pair.question, ()) for pair, _ in edited])
    return tuple(
        Stale(pair.question, pair.answer, new, str(pair.origin))
        for (pair, new), reply in zip(edited, replies, strict=True)
        if not reply.handed_over
        and marker.mark(
            ExamQuestion(pair.question, "known", pair.answer, pair.question), reply
        ).right
    )


def _edited(before: Faq, now: Faq) -> list[tuple[Pair, str]]:
    """Rows whose answer is another today, with it; empty for rows that are gone, answer and all."""
    answers = {pair.question: pair.answer for pair in reversed(now.pairs)}
    given = {pair.answer.strip() for pair in now.pairs}
    found = ((pair, answers.get(pair.question, "")) for pair in before.pairs)
    return [(pair, new) for pair, new in found if pair.answer.strip() not in given]


def renewed(
    asked: Sequence[ExamQuestion], before: Faq, now: Sequence[Pair]
) -> tuple[ExamQuestion, ...]:
    """Exam questions with the answers that their rows have today; those whose row is gone are to be
    handed over."""
    answers = {pair.question: pair.answer for pair in reversed(now)}
    given = {pair.answer for pair in now}
    of = {pair.answer: pair.question for pair in reversed(before.pairs)}

    def one(question: ExamQuestion) -> ExamQuestion:
        if question.answer is None or question.answer in given:
            return question
        source = question.source if question.source in answers else of.get(question.answer)
        return replace(question, answer=answers.get(source or ""))

    return tuple(map(one, asked))
