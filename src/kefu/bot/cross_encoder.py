"""Does this answer answer the question? A witness that reads both in one sequence.

The others compare a question with wordings of questions, where a near-miss (the same thing, another
detail) lies as near as a rewording does. The cross-encoder reads the row of the FAQ and then the
question: the base with an adapter that kefu brings beside the warm one. It has learned from 15,591
answers with what they cover and what they do not (`bench/cross_encoder.py`), and then from what a
larger base that had learned the same says of them (`bench/distil.py`). LOG.md has what it tells
apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from ..records import Pair, Turn
from ..weights import warm
from .engine import Crosses

READ = 5
"""Answers that are read for each question: the right one is among the other witnesses' first five
for 98 to 99 of 100 freely worded questions of `shop`, and for 62 to 83 where customers ask far from
the rows' own words (LOG.md)."""
READ_SLOWLY = 3
"""The same where a larger base reads: each row takes it longer, and more gave nothing (LOG.md)."""
LONGEST = 220
"""Tokens of a row that are read."""


def opening(tokenizer: Any, wordings: Sequence[str], answer: str) -> list[int]:
    """A row of the FAQ, as token ids."""
    asked, told = (
        tokenizer.encode(text, add_special_tokens=False)
        for text in (f"問題：{'；'.join(wordings)}", f"\n回答：{answer}")
    )
    return [tokenizer.bos_token_id, *asked, *told][:LONGEST]


HALF = re.compile(r"(?<=[\u3400-\u9fff])[?!,]")
"""Marks of half the width after a Chinese character, as some keyboards write them."""
FULL = {"?": "？", "!": "！", ",": "，"}
ENDS = " 　？?！!。.~～…"
"""Marks at a question's end are not read: whether an answer covers it does not hang on them, but
what was learned of it did (LOG.md)."""


def closing(tokenizer: Any, question: str) -> list[int]:
    """A question after a row, as token ids."""
    asked = HALF.sub(lambda mark: FULL[mark[0]], question).rstrip(ENDS) or question
    text = f"\n客人：{asked}\n答得了嗎："
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


class CrossEncoder:
    """Has questions read after the rows of one FAQ, by the adapter beside the warm adapter `name`.

    `rows` has for each answer, by number, the row with the wordings that may be known; `by` reads,
    in the tokens of `tokenizer`, `most` rows a question.
    """

    def __init__(
        self, tokenizer: Any, name: str, rows: Sequence[Pair], by: Crosses, most: int = READ
    ) -> None:
        self._tokenizer, self._rows, self._by, self.most = tokenizer, rows, by, most
        self._direction = warm.direction(name)
        self._openings: dict[int, list[int]] = {}

    def read(
        self, asked: Sequence[tuple[str, Sequence[Turn], Sequence[int]]]
    ) -> list[torch.Tensor]:
        """For each question, its turns before and the numbers of some answers: how well each
        answers it, as a logit (k,)."""
        openings, closings = [], []
        for question, history, numbers in asked:
            # A follow-up says what it is about only in the turn before.
            text = f"剛才問「{history[-1][0]}」，現在想問：{question}" if history else question
            openings += [self._opening(number) for number in numbers]
            closings += [closing(self._tokenizer, text)] * len(numbers)
        states = torch.nn.functional.normalize(self._by.crossed(openings, closings).cpu(), dim=-1)
        return list((states @ self._direction).split([len(numbers) for _, _, numbers in asked]))

    def _opening(self, number: int) -> list[int]:
        if number not in self._openings:
            row = self._rows[number]
            self._openings[number] = opening(self._tokenizer, row.phrasings[:2], row.answer)
        return self._openings[number]
