"""How many rows a run trains, and how long they are in tokens.

Counts with the base's own tokenizer where the caller lends it; otherwise guesses from the
letters, rather too many than too few, since a row that is too long is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..prompt import BRIEF
from ..records import Example, Faq

TEMPLATE = 24
"""Tokens of a prompt template around question and answer, terminator included, at most."""
MARK = 8
"""Tokens around a row that a prompt carries, at most."""
HAND_OVER_QUESTION = 72
"""Tokens of the longest question that is trained as one to hand over, as a rule."""
MARGIN, STEP = 8, 8

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a run, before any is made. Lengths in tokens, template included."""

    answered: int
    """Rows with an answer: one for each trained wording."""
    handed_over: int
    pairs: int
    longest: int
    longest_at: str
    """Where the longest row stands in the owner's file, or its question."""
    mean: float
    labelled: float
    """Mean tokens of an answer with its terminator."""
    exact: bool
    """Whether the base's tokenizer counted."""
    spread: float = 0.0
    """Standard deviation of the rows' tokens."""
    reading: int = 0
    """Rows that carry rows of the FAQ: they teach to read, and count as practice of no fact."""

    @property
    def total(self) -> int:
        return self.answered + self.handed_over + self.reading

    @property
    def wordings(self) -> float:
        """Mean wordings of a pair, its question among them."""
        return self.answered / self.pairs

    def max_length(self, least: int = 0) -> int:
        """Tokens that every row fits in: the longest and a margin, a multiple of 8."""
        need = max(self.longest + max(MARGIN, self.longest // 20), least)
        return -(-need // STEP) * STEP


def guess(vocab: int) -> Count:
    """Counts tokens by letters: for a large vocabulary one a Chinese character and one for three
    other bytes; a small one has few Chinese characters, and spells the rest in three bytes."""
    wide = 1.0 if vocab >= 100_000 else 3.0

    def count(text: str) -> int:
        high = sum(1 for letter in text if ord(letter) >= 0x2E80)
        return int(high * wide + (len(text.encode("utf-8")) - 3 * high) / 3) + 1

    return count


def measure(
    faq: Faq,
    train: Sequence[Example] | None,
    count: Count | None,
    vocab: int,
    share: float,
    hand_over: str,
    persona: str,
) -> Rows:
    """The rows of this FAQ, or of `train` where the division is made already.

    `share` of all rows hand over; they are added unless `train` holds some.
    """
    tokens = count or guess(vocab)
    around = TEMPLATE + (tokens(persona) if persona else 0)
    sizes: dict[str, int] = {}

    def size(text: str) -> int:
        if text not in sizes:
            sizes[text] = tokens(text)
        return sizes[text]

    found: list[tuple[int, int, str]] = []  # tokens, tokens of the answer, where
    handed = reading = 0
    if train is None:
        for pair in faq.pairs:
            answer = size(pair.answer)
            for text in pair.phrasings:
                found.append((around + size(text) + answer, answer + 1, str(pair.origin)))
    else:
        for row in train:
            answer = size(hand_over if row.answer is None else row.answer)
            if row.brief:
                answer = min(answer, BRIEF)
            past = sum(size(q) + size(a) + TEMPLATE for q, a in row.history)
            past += sum(size(q) + size(a) + MARK for q, a in row.shown)
            reading += bool(row.shown)
            handed += row.answer is None and not row.shown
            where = f"the question {row.question!r}"
            found.append((around + past + size(row.question) + answer, answer + 1, where))
    longest, _, where = max(found)
    mean = sum(total for total, _, _ in found) / len(found)
    labelled = sum(label for _, label, _ in found) / len(found)
    answered = len(found) - handed - reading
    if not handed and share:
        handed = round(answered * share / (1 - share))
        away = size(hand_over)
        mean = (mean * answered + (around + 20 + away) * handed) / (answered + handed)
        labelled = (labelled * answered + (away + 1) * handed) / (answered + handed)
        beside = around + HAND_OVER_QUESTION + away
        if beside > longest:
            longest, where = beside, "a question to hand over"
    spread = (sum((total - mean) ** 2 for total, _, _ in found) / len(found)) ** 0.5
    exact = count is not None
    return Rows(
        answered, handed, len(faq.pairs), longest, where, mean, labelled, exact, spread, reading
    )
