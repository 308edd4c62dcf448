"""Facts are the same however they are written, and only facts are facts."""

from __future__ import annotations

import time
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kefu.records import Faq, Origin, Pair
from kefu.score import facts, names_of

DIGITS = "零一二三四五六七八九"


def chinese(n: int) -> str:
    """1 to 9999 in Chinese numerals."""
    out, zero = "", False
    for unit, sign in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = n // unit % 10
        if digit:
            out += ("零" if zero and out else "") + DIGITS[digit] + sign
            zero = False
        else:
            zero = True
    return out.removeprefix("一") if 10 <= n < 20 else out


def wide(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def faq(*answers: str) -> Faq:
    origin = Origin("a.csv", 1)
    return Faq(tuple(Pair(f"第{i}問", a, origin) for i, a in enumerate(answers)), ())


@pytest.mark.parametrize(
    ("fact", "texts"),
    [
        ("number:7:day", ["7天內", "七天", "7 日內", "７天", "seven days", "一週"]),
        ("number:12:month", ["一年保固", "12個月", "十二個月", "1 year"]),
        ("number:5:workday", ["5個工作天", "五個工作日", "5 business days"]),
        (
            "money:TWD:1200",
            ["NT$1,200", "1,200 元", "一千二百元", "1200元", "TWD 1200", "１２００元"],
        ),
        ("money:USD:100", ["100 美元", "US$100", "100 USD", "一百美金"]),
        ("percent:8", ["8%", "８％", "百分之八"]),
        ("discount:90", ["9 折", "九折", "90折"]),
        (
            "date:2017-08-19",
            ["民國106年8月19日", "106.8.19", "2017/8/19", "2017年8月19日", "2017-08-19"],
        ),
        ("time:18:00", ["18:00", "下午6點", "晚上六點", "6 pm", "６：００ PM"]),
        ("weekday:5", ["週一至週五", "星期一到星期五", "Monday to Friday", "周五", "禮拜五"]),
        ("phone:0227208889", ["02-2720-8889", "(02)2720-8889", "02 27208889", "+886-2-2720-8889"]),
        (
            "phone:0800123456",
            ["0800-123-456", "0800 123 456", "0800123456", "０８００１２３４５６"],
        ),
        ("email:service@example.com", ["service@example.com", "Service@Example.com"]),
        (
            "url:example.com/a",
            ["https://example.com/a", "example.com/a。", "http://example.com/a/"],
        ),
        ("code:ab-1234", ["型號AB-1234", "型號 ab-1234"]),
        ("name:jcb", ["可刷JCB卡", "JCB 信用卡可以"]),
    ],
)
def test_a_fact_is_one_however_it_is_written(fact: str, texts: list[str]) -> None:
    for text in texts:
        assert fact in facts(text, {"jcb"}), (text, facts(text))


def test_a_range_is_both_its_ends_and_all_its_days() -> None:
    assert facts("約 3-5 個工作天") == facts("約三到五個工作天")
    assert {"number:3:workday", "number:5:workday"} == facts("約 3-5 個工作天")
    assert facts("週一至週五 09:00-18:00") == facts("星期一到星期五上午9點到下午6點")
    assert "weekday:3" in facts("Mon-Fri")


def test_units_keep_numbers_apart() -> None:
    texts = ["7天", "7個工作天", "7 元", "7 公斤", "7%", "7 折", "7 小時", "7 美元", "7 樓"]
    assert len({facts(text) for text in texts}) == len(texts)


def test_words_that_hold_a_numeral_are_no_facts() -> None:
    assert facts("統一發票一定會寄出，萬一沒收到請一併告知") == frozenset()
    assert facts("1. 請登入\n2. 請點選訂單") == frozenset()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 9999), st.sampled_from(["天", "元", "小時", "個月", "公斤", "歲", "個工作天"])
)
def test_facts_do_not_depend_on_the_script(number: int, unit: str) -> None:
    plain = facts(f"共{number}{unit}")
    assert len(plain) == 1
    assert facts(f"共{wide(str(number))}{unit}") == plain
    assert facts(f"共{chinese(number)}{unit}") == plain
    assert facts(f"共{number:,}{unit}") == plain


@settings(max_examples=25, deadline=None)
@given(st.from_regex(r"0[2-8][0-9]{8}", fullmatch=True), st.sampled_from(["-", " ", ""]))
def test_facts_do_not_depend_on_the_grouping_of_a_phone_number(digits: str, sign: str) -> None:
    grouped = [
        f"{digits[:2]}{sign}{digits[2:]}",
        f"{digits[:2]}{sign}{digits[2:6]}{sign}{digits[6:]}",
        f"({digits[:2]}){digits[2:6]}-{digits[6:]}",
        wide(digits),
    ]
    assert {facts(f"電話：{text}。") for text in grouped} == {frozenset({f"phone:{digits}"})}


@settings(max_examples=25, deadline=None)
@given(st.dates(date(1950, 1, 1), date(2049, 12, 31)), st.sampled_from(["/", "-"]))
def test_a_date_of_the_republic_is_the_western_one(day: date, sign: str) -> None:
    western = facts(f"於{day.year}{sign}{day.month}{sign}{day.day}截止")
    assert western == {f"date:{day.isoformat()}"}
    assert facts(f"於民國{day.year - 1911}年{day.month}月{day.day}日截止") == western


def test_names_are_those_that_the_faq_lists() -> None:
    names = names_of(faq("可刷 Visa、MasterCard、JCB。", "請到「我的訂單」查詢。"))
    assert {"visa", "mastercard", "jcb", "我的订单"} <= names
    assert "name:visa" in facts("We take Visa", names)
    english = names_of(faq("We accept Visa and Apple Pay, and we ship on Monday."))
    assert {"visa", "apple", "pay"} <= english
    assert "monday" not in english


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "",
        "。，！？" * 3000,
        "0" * 100_000,
        "1-" * 50_000,
        "1," * 50_000,
        "一" * 100_000,
        "a.b" * 30_000,
        "(02" * 30_000,
        "週一至" * 30_000,
        "https://" * 12_000,
        "a@" * 50_000,
        "\u202e\x00\ud83d" * 20_000,
        " " * 100_000,
        "1 月 " * 25_000,
    ],
    ids=lambda text: repr(text[:6]),
)
def test_hostile_text_takes_no_long_time(text: str) -> None:
    start = time.process_time()
    facts(text[:20_000])
    assert time.process_time() - start < 1.5
