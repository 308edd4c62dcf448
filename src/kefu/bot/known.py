"""What a bot knows beside its weights: the wordings, and which of them have one answer for certain.

Made once, when the bot is first asked, and again when the rows of its open book have changed.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..plan import read_by
from ..recall import Index, normalise
from ..records import Example, Faq, Pair, trained_part
from ..weights import warm
from ..workspace import RunFolder
from .beside import Beside, beside
from .book import Book, Reader
from .cross_encoder import READ_SLOWLY, CrossEncoder
from .generate import MOST
from .memory import Memory
from .reranker import reranker
from .trie import build
from .weighing import Weigher

if TYPE_CHECKING:
    from .bot import Bot

MOST_ROWS = 20_000
"""Known wordings that are compared with a question."""


def weigher(bot: Bot) -> tuple[Weigher, dict[str, int]]:
    """What weighs questions against the bot's answers, and the answers that are known for certain
    by the bare question."""
    away, book = len(bot.answers), bot.book
    number = {text: i for i, text in enumerate(bot.answers)}
    rows = wordings(bot.folder, book, number)
    asked = [row for row in rows if row.kind != "answer"]
    prompts = [bot.prompt.ids(row.question) for row in asked]
    owners = [away if row.answer is None else number[row.answer] for row in asked]
    engine = book.over(bot.engine) if book else bot.engine
    other = beside(bot.plan, bot.engine.device)
    room = bot.engine.context - MOST

    def tokens(texts: Sequence[str]) -> list[list[int]]:
        return other.ids(texts) if other else [bot.prompt.shortened(t, room) for t in texts]

    memory = Memory(engine.reading(tokens([row.question for row in asked])), owners)
    own = Memory(engine.hidden(prompts), owners) if bot.plan.reads_by else memory
    answers = [bot.prompt.answer_ids(a) for a in (*bot.answers, None)]
    # An answer is read as if it were a question: so it lies near those that it answers.
    said = Memory(engine.reading(tokens(bot.answers)), range(away))
    # Only what was trained: the FAQ's other wordings are those that the exam asks.
    pairs = trained_part(Faq(bot.pairs, ()), rows).pairs
    numbers = [number[pair.answer] for pair in pairs]
    kind = Reader if book else Weigher
    crossed = cross(bot, pairs, other)
    index = Index(pairs)
    trie = build(answers)
    made = kind(bot.engine, trie, memory, own, said, index, numbers, away, crossed, tokens)
    if isinstance(made, Reader) and book:
        shown = [(bot.source(n), text) for n, text in enumerate(bot.answers)]
        made.read_with(bot.prompt, shown, book.shown, room)
    return made, by_heart(rows, number)


def weights_of(bot: Bot) -> tuple[float, ...]:
    """The weights of the witnesses that the bot has."""
    kind = Reader if bot.book else Weigher
    return kind.weights_with(bool(bot.plan.reads_by), warm.has_cross(read_by(bot.plan)))


def cross(bot: Bot, pairs: Sequence[Pair], other: Beside | None) -> CrossEncoder | None:
    """Reads questions after rows, which have the wordings of `pairs`. None where no base of the
    bot's, the `other` beside it or a reranker, has an adapter for it."""
    large, name = reranker(bot.plan, bot.engine.device), bot.plan.reads_by
    if large is None and not warm.has_cross(name):
        return None
    first = {pair.answer: pair for pair in reversed(pairs)}
    rows = [first[text] for text in bot.answers]
    if large is not None:
        return CrossEncoder(large.tokenizer, large.adapter, rows, large, most=READ_SLOWLY)
    words = other.tokenizer if other else bot.prompt.tokenizer
    return CrossEncoder(words, name, rows, bot.engine)


def wordings(folder: RunFolder, book: Book | None, number: Mapping[str, int]) -> list[Example]:
    """The rows that the run was trained on, or that its open book holds now, with an answer among
    `number` or none; thinned where they are very many."""
    known = [row for row in folder.examples() if not (row.history or row.shown)]
    known = book.rows(known) if book else known
    rows = [row for row in known if row.answer is None or row.answer in number]
    return random.Random(0).sample(rows, MOST_ROWS) if len(rows) > MOST_ROWS else rows


def by_heart(rows: Sequence[Example], number: Mapping[str, int]) -> dict[str, int]:
    """Known questions that have one answer: what the owner wrote himself is answered however sure
    the bot must be of all else."""
    found: dict[str, set[str | None]] = {}
    for row in rows:
        found.setdefault(bare(row.question), set()).add(row.answer)
    single = {asked: next(iter(said)) for asked, said in found.items() if len(said) == 1}
    return {q: number[a] for q, a in single.items() if q and a is not None}


def bare(question: str) -> str:
    """The question without the marks and blanks at its ends, in one width, script and case."""
    return normalise(question).strip(" ?!.,~。，、…")
