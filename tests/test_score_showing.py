"""Free text as it may be shown: no fact that the FAQ has nowhere, in pieces or whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kefu.records import Faq, Origin, Pair
from kefu.score import FactFilter, Marker, facts, pieces

ROWS = (
    ("怎麼退貨？", "到貨 7 天內可退，請撥 02-2345-6789，滿 3,000 元免運。"),
    ("When do you open?", "We open at 10:00, every day, at https://shop.example.com/hours."),
)
AWAY = "這題請撥 0800-111-222 找真人。"


@pytest.fixture
def through() -> FactFilter:
    faq = Faq(tuple(Pair(q, a, Origin("shop.csv", n)) for n, (q, a) in enumerate(ROWS, 2)), ())
    return FactFilter(Marker(faq), AWAY)


def grown(text: str) -> Iterator[str]:
    """What there is of a text after each letter."""
    yield from (text[: end + 1] for end in range(len(text)))


@pytest.mark.parametrize("text", [*(answer for _, answer in ROWS), AWAY, "好的。", ""])
def test_text_with_the_faqs_facts_comes_as_it_is(through: FactFilter, text: str) -> None:
    assert through.foreign(text) == frozenset() and through.whole(text) == text
    assert "".join(through.pieces(grown(text))) == text
    assert "".join(pieces(grown(text), None)) == text


def test_it_comes_clause_by_clause_while_it_is_written(through: FactFilter) -> None:
    assert list(through.pieces(grown(ROWS[0][1]))) == [
        "到貨 7 天內可退，", "請撥 02-2345-6789，", "滿 3,000 元免運。",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("請撥 02-2345-6780。", ""),
        ("到貨 7 天內可退，請撥 02-2345-6780，謝謝。", "到貨 7 天內可退，"),
        ("到貨 7 天內可退，滿 3,00", "到貨 7 天內可退，"),
        ("可以，到貨 8 天內", "可以，"),
        ("We open at 10:00, every day, at https://shop.example.com/shop.",
         "We open at 10:00, every day,"),
    ],
)  # fmt: skip
def test_no_fact_from_elsewhere_is_shown(through: FactFilter, text: str, before: str) -> None:
    assert through.foreign(text) and through.whole(text) == AWAY
    assert "".join(through.pieces(grown(text))) == before + AWAY
    assert not through.foreign(before)


def test_what_comes_after_a_foreign_fact_is_not_even_written(through: FactFilter) -> None:
    written = []

    def writes() -> Iterator[str]:
        for text in grown("可以，9 天內，都可以退貨，也可以換貨。"):
            written.append(text)
            yield text

    assert "".join(through.pieces(writes())) == "可以，" + AWAY
    assert written[-1].endswith("9 天內，")


def test_a_fact_may_stand_in_any_row(through: FactFilter) -> None:
    assert not through.foreign("10:00 起，請撥 02-2345-6789。")
    assert through.foreign("11:00 起") == facts("11:00 起")
