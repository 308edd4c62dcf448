"""Questions that a bot must hand over, for one FAQ and one side of its split.

Knows by letters alone whether the FAQ may answer a shipped question, and leaves it out
when in doubt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from ..recall import Hit, Index, normalise
from ..records import Example, ExamQuestion, Faq, Kind, Split
from .likeness import shuffled
from .material import Shipped, Side, hostile, out_of_scope, service
from .near_miss import near_misses

ANSWERED = 0.45
"""A shipped question this near to a row (see `recall`) may be answered by it: left out."""
ANSWERED_OF_OWN = 0.8
"""The same for service questions of the FAQ's own topics. Their keys say what would answer
them, and the near ones are the near-misses worth asking: in a shop's FAQ 117 of the 450 that
the keys let through lie above 0.45, and a reading found two of them that it answers."""
RELATED = 0.3
"""From here on the nearest row is named as the one that a question lies near."""
SHARES: tuple[tuple[Kind, float], ...] = (
    ("near-miss", 0.5),
    ("out-of-scope", 0.35),
    ("hostile", 0.15),
)
"""Of the hand-over rows that are trained. Near-misses are the hardest, so half of them."""


@dataclass(frozen=True, slots=True)
class Material:
    """What one side may use for one FAQ, each list in an order set by the seed."""

    near: tuple[ExamQuestion, ...]
    out_of_scope: tuple[ExamQuestion, ...]
    hostile: tuple[ExamQuestion, ...]

    def of(self, kind: Kind) -> tuple[ExamQuestion, ...]:
        """The questions of one kind."""
        return {"near-miss": self.near, "out-of-scope": self.out_of_scope}.get(kind, self.hostile)


def training_hand_overs(faq: Faq, split: Split, share: float, seed: int) -> tuple[Example, ...]:
    """Rows whose target is the hand-over, so that they make up `share` of all training rows.

    `share` is between 0 (none) and below 1; the rows are as many as `split.train` and that
    share ask for, or all there are. Near-misses of this FAQ, service questions that it does
    not answer, out-of-scope and hostile ones, none of which an exam of kefu's asks and none
    of which is in `split.held_out`. Without repetition; ordered by kind, then by the seed.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be at least 0 and below 1, not {share}")
    wanted = round(len(split.train) * share / (1 - share))
    taken = {e.question for e in (*split.train, *split.held_out)}
    material = material_for(faq, "train", seed)
    rows: list[Example] = []
    for kind, part in SHARES:
        fresh = [q for q in material.of(kind) if q.question not in taken]
        rows.extend(as_example(q) for q in fresh[: round(wanted * part)])
        taken.update(q.question for q in fresh)
    if len(rows) < wanted:  # one kind ran dry: the others make up for it
        have = {r.question for r in rows}
        rest = [q for k in ("near-miss", "out-of-scope", "hostile") for q in material.of(k)]
        spare = [q for q in rest if q.question not in have]
        held = {e.question for e in split.held_out}
        rows.extend(as_example(q) for q in spare if q.question not in held)
    return tuple(rows[:wanted])


def as_example(question: ExamQuestion) -> Example:
    """An exam question as a row of training or calibration data."""
    return Example(
        question.question, question.answer, question.source, question.history, question.kind
    )


def material_for(faq: Faq, side: Side, seed: int, index: Index | None = None) -> Material:
    """All hand-over questions that are fair for this FAQ, for one side."""
    index = index or Index(faq)
    swapped = [
        ExamQuestion(
            miss.question,
            "near-miss",
            None,
            miss.pair.question,
            must_not=miss.pair.answer,
            note=f"{miss.how}: {miss.old} -> {miss.new}",
        )
        for miss in near_misses(faq, side, seed, index)
    ]
    close, far = _service(faq, side, seed, index)
    # Turn and turn about, so that the head of the list holds both sorts.
    longest = range(max(len(swapped), len(close)))
    near = [q for i in longest for q in (*swapped[i : i + 1], *close[i : i + 1])]
    beyond = _plain(faq, "out-of-scope", out_of_scope(), side, seed, index)
    if side == "train":  # of no exam kind: too far to be near, too businesslike to be beyond
        beyond += far
    wicked = _plain(faq, "hostile", hostile(), side, seed, None)
    return Material(tuple(near), tuple(beyond), tuple(wicked))


def _plain(
    faq: Faq, kind: Kind, shipped: Iterable[Shipped], side: Side, seed: int, index: Index | None
) -> list[ExamQuestion]:
    mine = shuffled((s for s in shipped if s.side == side), lambda s: s.question, seed)
    if index is not None:
        found = _unanswered(faq, mine, index)
        mine = [item for item, hit in found if hit is None or hit.score < ANSWERED]
    return [ExamQuestion(s.question, kind, None, note=s.topic) for s in mine]


def _service(
    faq: Faq, side: Side, seed: int, index: Index
) -> tuple[list[ExamQuestion], list[ExamQuestion]]:
    """Service questions that no row answers: of the FAQ's own topics, and of others.

    A topic is the FAQ's own when its words stand in the questions of 3 % of the rows. The
    must-not answer is that of the nearest row, if one is near enough to name.
    """
    texts = [normalise("\n".join(p.phrasings)) for p in faq.pairs]
    own: dict[tuple[str, ...], bool] = {}
    close, far = [], []
    mine = shuffled((s for s in service() if s.side == side), lambda s: s.question, seed)
    for shipped, hit in _turn_about(_unanswered(faq, mine, index)):
        if shipped.near not in own:
            words = [normalise(word) for word in shipped.near]
            rows = sum(any(word in text for word in words) for text in texts)
            own[shipped.near] = rows > 0.03 * len(texts)
        pair = faq.pairs[hit.pair] if hit and hit.score >= RELATED else None
        score = hit.score if hit else 0.0
        if score >= (ANSWERED_OF_OWN if own[shipped.near] else ANSWERED):
            continue
        note = f"not in the FAQ: {shipped.topic}"
        if own[shipped.near]:
            source, must_not = (pair.question, pair.answer) if pair else (None, None)
            close.append(
                ExamQuestion(shipped.question, "near-miss", None, source, (), must_not, note=note)
            )
        else:
            far.append(ExamQuestion(shipped.question, "out-of-scope", None, note=note))
    return close, far


def _turn_about(shipped: list[tuple[Shipped, Hit | None]]) -> list[tuple[Shipped, Hit | None]]:
    """One of each aspect, then a second of each: the head of the list is as varied as can be."""
    places: Counter[str] = Counter()
    ranked = []
    for item, hit in shipped:
        ranked.append((places[item.topic], (item, hit)))
        places[item.topic] += 1
    return [found for _, found in sorted(ranked, key=lambda entry: entry[0])]


def _unanswered(faq: Faq, shipped: list[Shipped], index: Index) -> list[tuple[Shipped, Hit | None]]:
    """Those without a row that holds what would answer them, each with its nearest row."""
    rows = [normalise("\n".join((*p.phrasings, p.answer))) for p in faq.pairs]

    @cache
    def held(key: str) -> bool:
        parts = [normalise(part) for part in key.split("+")]
        return any(all(part in row for part in parts) for row in rows)

    fair: list[tuple[Shipped, Hit | None]] = []
    nearest = index.search_all([s.question for s in shipped], 1)
    for item, hits in zip(shipped, nearest, strict=True):
        if not any(held(k) for k in item.keys):
            fair.append((item, hits[0] if hits else None))
    return fair
