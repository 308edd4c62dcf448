"""Manners, several questions in one message, and the customer's own script."""

from __future__ import annotations

import pytest

from kefu.bot import talk
from kefu.records import Reply
from kefu.score import facts

AWAY = "這個問題我請真人客服為您回覆，請稍候。"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("你好", "greeting"), ("您好～", "greeting"), ("哈囉！", "greeting"), ("Hi", "greeting"),
        ("請問有人嗎？", "greeting"), ("早安 😊", "greeting"), ("你好你好", "greeting"),
        ("謝謝", "thanks"), ("好的，謝謝您！", "thanks"), ("了解，感恩", "thanks"),
        ("謝謝你的幫忙", "thanks"), ("Thank you so much!", "thanks"), ("ok thanks", "thanks"),
        ("谢谢", "thanks"), ("掰掰", "goodbye"), ("再見", "goodbye"), ("Bye bye", "goodbye"),
        ("你好，怎麼退貨", None), ("謝謝，那運費多少？", None), ("你好像寄錯了", None),
        ("hi there is a problem with my order", None), ("退貨", None), ("", None), ("？", None),
        ("早上幾點開門", None), ("在嗎？我要退貨", None), ("好", None),
    ],
)  # fmt: skip
def test_only_a_whole_message_is_a_politeness(message: str, kind: str | None) -> None:
    assert talk.pleasantry(message) == kind


def test_politeness_is_answered_in_the_customer_s_language() -> None:
    for message, word in (("謝謝", "不客氣"), ("谢谢", "不客气"), ("Thanks!", "welcome")):
        kind = talk.pleasantry(message)
        assert kind
        reply = talk.polite(kind, message, chinese=True)
        assert word in reply.text
        assert not reply.handed_over
    assert "您好" in talk.polite("greeting", "👋", chinese=True).text
    assert "Hello" in talk.polite("greeting", "👋", chinese=False).text


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("怎麼退貨？可以刷卡嗎？", ("怎麼退貨？", "可以刷卡嗎？")),
        ("How do I pay? When will it arrive?", ("How do I pay?", "When will it arrive?")),
        ("運費多少錢?? 還有保固多久？", ("運費多少錢??", "還有保固多久？")),
        ("怎麼退貨？", ()), ("真的嗎？可以退貨嗎？", ()), ("怎麼退貨，可以刷卡嗎", ()),
        ("可以退嗎？我昨天買的，還沒拆封", ()), ("？？", ()), ("???", ()), ("", ()),
    ],
)  # fmt: skip
def test_a_message_is_taken_apart_only_where_it_asks_twice(
    message: str, parts: tuple[str, ...]
) -> None:
    assert talk.questions(message) == parts


def test_several_answers_become_one_reply_and_nothing_known_is_lost() -> None:
    asked = ("怎麼退貨？", "可以刷卡嗎？")
    back = Reply("七天內可以退貨。", confidence=0.9, source="退貨")
    card = Reply("可以刷 VISA。", confidence=0.8, source="付款")
    away = Reply(AWAY, handed_over=True, confidence=0.1, offered=("保固",))
    both = talk.together(back, (back, card), asked, AWAY)
    assert both.text == "七天內可以退貨。\n可以刷 VISA。"
    assert not both.handed_over
    assert both.source is None
    assert both.confidence == 0.8
    half = talk.together(away, (back, away), asked, AWAY)
    assert half.text == f"七天內可以退貨。\n「可以刷卡嗎？」{AWAY}"
    assert half.handed_over
    assert half.offered == ("保固",)
    # The whole stands where the parts say nothing else, and where the FAQ has these very words.
    assert talk.together(back, (back, away), asked, AWAY) is back
    assert talk.together(away, (away, away), asked, AWAY) is away
    whole = Reply("七天內可以退貨。", confidence=1.0, source="退貨")
    assert talk.together(whole, (back, card), asked, AWAY) is whole


@pytest.mark.parametrize(
    ("message", "tongue"),
    [
        ("請問運費怎麼算", "hant"), ("请问运费怎么算", "hans"), ("how much is shipping", "en"),
        ("可以", ""), ("退貨 return", "hant"), ("123", ""), ("台北里面有后台", ""), ("👍", ""),
    ],
)  # fmt: skip
def test_the_script_is_told_by_characters_that_only_one_has(message: str, tongue: str) -> None:
    assert talk.tongue_of(message) == tongue


def test_the_other_script_changes_no_fact() -> None:
    text = "客服專線 0800-123-456，週一至週五 9:00-18:00，service@example.com，7 天內退貨 80 元。"
    found = talk.in_tongue(text, "hans")
    assert "专线" in found
    assert facts(found) == facts(text)
    assert talk.in_tongue(found, "hant").startswith("客服專線 0800-123-456")
    assert talk.in_tongue(text, "hant") == text
    assert talk.in_tongue(text, "") == text
    assert talk.in_tongue(text, "en") == text


def test_one_who_writes_english_understands_the_hand_over() -> None:
    assert talk.hand_over_in(AWAY, "when do you open").startswith("I will pass")
    assert AWAY in talk.hand_over_in(AWAY, "when do you open")
    assert talk.hand_over_in(AWAY, "幾點開門") == AWAY
    assert talk.hand_over_in("A person will answer.", "when") == "A person will answer."
