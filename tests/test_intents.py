"""The corpus of intents: read as it is written, and dealt without parting siblings."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))

from intents import ASIDE, Intent, dealt, intents, parse

TWO = """# 保固 | 保固期有多長
保固期間是多久？
用三個月就不會動了，這樣還在保固內嗎
! 保固卡弄丟了怎麼辦？

# 保固 | 保固卡遺失
保固卡不見了怎麼辦？
找不到那張卡還修嗎
= 可以，憑發票或訂單編號一樣受理。
+ 發票還在，這樣可以嗎
- 補發一張要多少錢
- 送修要等幾天
"""


def test_a_block_is_an_intent_with_its_wordings_and_near_misses() -> None:
    first, second = parse(TWO)
    assert first == Intent(
        "保固",
        "保固期有多長",
        ("保固期間是多久？", "用三個月就不會動了，這樣還在保固內嗎"),
        ("保固卡弄丟了怎麼辦？",),
    )
    assert first.answer == "" and second.near == ()
    assert second.wordings == ("保固卡不見了怎麼辦？", "找不到那張卡還修嗎")
    assert second.answer == "可以，憑發票或訂單編號一樣受理。"
    assert second.covered == ("發票還在，這樣可以嗎",)
    assert second.beside == ("補發一張要多少錢", "送修要等幾天")
    assert first.covered == first.beside == ()


def test_a_block_without_an_empty_line_before_it_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match=r"no empty line.*保固卡遺失"):
        list(parse(TWO.replace("\n\n", "\n")))


@pytest.mark.parametrize(
    "block", ["保固期間是多久？\n多久", "# 保固\n多久\n多長", "# 保固 | 期\n多久"]
)
def test_a_block_that_is_none_is_refused_with_its_first_line(block: str) -> None:
    with pytest.raises(
        ValueError, match=r"w1\.txt: .*" + block.splitlines()[0].replace("|", r"\|")
    ):
        list(parse(block, "w1.txt"))


def test_siblings_stay_together_and_a_new_topic_moves_nobody() -> None:
    many = [Intent(f"topic {n % 30}", f"intent {n}", ("a", "b")) for n in range(120)]
    hands = dealt(many, 3)
    assert sorted(i.name for hand in hands for i in hand) == sorted(i.name for i in many)
    topics = [{i.topic for i in hand} for hand in hands]
    assert all(hand for hand in hands)
    assert not topics[0] & topics[1] and not topics[1] & topics[2] and not topics[0] & topics[2]
    again = dealt([*many, Intent("new", "new", ("a", "b"))], 3)
    assert [[i for i in hand if i.topic != "new"] for hand in again] == hands


def test_no_topic_and_no_question_that_lies_aside_is_in_the_corpus() -> None:
    def lines(of: Iterable[Intent]) -> set[str]:
        return {t for i in of for t in (*i.wordings, *i.near, *i.covered, *i.beside, i.answer)}

    aside = intents(ASIDE)
    assert len(aside) > 100 and all(i.answer and i.covered and i.beside for i in aside)
    assert not {i.topic for i in aside} & {i.topic for i in intents()}
    assert not lines(aside) & lines(intents())
