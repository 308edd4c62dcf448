"""Training rows of an open book: the prompt carries rows of the FAQ, and the answer is read there.

As in RAFT (Zhang et al. 2024): the right row among its nearest neighbours in an order drawn by lot,
and now and then no right one, where the question goes to a person. Two things keep a model from
learning a short cut: no row is shown in the words that are asked, and in half of the rows the
numbers are others than the FAQ's, in the prompt as in the answer, so that they can only be read.

Finds neighbours by letters, as no model is there yet; the bot itself finds them better.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import ceil

from ..recall import Hit, Index, normalise
from ..records import Example, Faq, Pair, trained_part

EACH = 4
"""Wordings of a row that are asked with rows shown, at most."""
LEAST, MOST = 0.1, 0.3
"""Of the questions that the FAQ answers, the share that is asked again without the right row."""
CHANGED = 0.5
"""Of the rows with numbers in their answer, the share whose numbers are changed."""


def open_rows(faq: Faq, rows: Sequence[Example], shown: int, seed: int) -> list[Example]:
    """The rows to train beside `rows`, each with `shown` rows of the FAQ in its prompt."""
    if shown < 2 or len(faq.pairs) < 2:
        return []
    known = trained_part(faq, rows).pairs
    index = Index(known)
    number = {pair.question: i for i, pair in reversed(list(enumerate(known)))}
    asked = _wordings(rows)
    away = [row for row in rows if row.answer is None and not row.history]
    # The very wording must not find itself: it is one that no customer uses letter for letter.
    hits = index.search_all([row.question for row in (*asked, *away)], shown + 1, itself=False)
    put = partial(_with_rows, known=known, shown=shown, seed=seed)
    made, missed = [], 0
    for row, found in zip(asked, hits, strict=False):
        own = number[row.source or ""]
        missed += own not in [hit.pair for hit in found[:shown]]
        made.append(put(row, found, own))
    share = min(MOST, max(LEAST, missed / max(1, len(asked))))
    lot = random.Random(f"{seed}:without")
    for place in sorted(lot.sample(range(len(asked)), ceil(share * len(asked)))):
        without = replace(asked[place], answer=None, kind="without")
        made.append(put(without, hits[place], number[without.source or ""]))
    for row, found in zip(away, hits[len(asked) :], strict=True):
        made.append(put(row, found, None))
    return made


def _wordings(rows: Sequence[Example]) -> list[Example]:
    """Of each row of the FAQ some wordings, the owner's own first."""
    of: dict[str, list[Example]] = {}
    for row in sorted((row for row in rows if row.wording), key=lambda row: row.brief):
        of.setdefault(row.source or "", []).append(row)
    return [row for mine in of.values() for row in mine[:EACH]]


def _with_rows(
    row: Example,
    found: Sequence[Hit],
    own: int | None,
    *,
    known: Sequence[Pair],
    shown: int,
    seed: int,
) -> Example:
    """The row with its own one, where it has an answer, and the nearest others in its prompt."""
    lot = random.Random(f"{seed}:{row.kind}:{row.question}")
    right = [] if own is None or row.answer is None else [own]
    answer = None if own is None else known[own].answer
    near = [hit.pair for hit in found]
    rest = [i for i in range(len(known)) if i not in near]
    near += lot.sample(rest, min(len(rest), shown))  # of few letters there are few neighbours
    others = [i for i in near if known[i].answer != answer]
    pairs = [known[i] for i in (right + others)[:shown]]
    answers = {pair.answer: pair.answer for pair in pairs}
    if row.answer is not None and lot.random() < CHANGED:
        answers[row.answer] = _other_numbers(row.answer, lot)
    rows = [(_put(pair, row.question, lot), answers[pair.answer]) for pair in pairs]
    lot.shuffle(rows)
    target = None if row.answer is None else answers[row.answer]
    return replace(row, answer=target, brief=False, shown=tuple(rows))


def _put(pair: Pair, asked: str, lot: random.Random) -> str:
    """How a row's question is shown: as the owner puts it or, where just that is asked, in another
    of its wordings; without one, its answer stands alone."""
    bare = _bare(asked)
    if _bare(pair.question) != bare:
        return pair.question
    others = [text for text in pair.wordings if _bare(text) != bare]
    return lot.choice(others) if others else ""


def _bare(text: str) -> str:
    return re.sub(r"[\W_]+", "", normalise(text))


def _other_numbers(answer: str, lot: random.Random) -> str:
    """The answer with every digit drawn anew; no number begins with 0."""
    return re.sub(
        r"\d+",
        lambda m: str(lot.randint(1, 9)) + "".join(str(lot.randint(0, 9)) for _ in m[0][1:]),
        answer,
    )
