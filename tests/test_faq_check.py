"""Checking: every kind of defect is named with its rows, and sound rows are left in peace."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from conftest import shared_data
from kefu.faq import check, read
from kefu.records import Faq, Finding, Origin, Pair, Source

SOUND = (
    ("商品有保固嗎？保固期是多久？", "本店商品自購買日起享一年免費保固，品質問題免費維修或更換。"),
    ("要怎麼聯絡客服人員？", "客服專線 0800-123-456，週一至週五 9:00-18:00，或寄 a@example.com。"),
    ("商品可以退貨嗎？條件是什麼？", "到貨後 7 天內，未使用且包裝完整，取得退貨授權碼後可以退貨。"),
    ("訂單多久會送達？", "一般 3 至 5 個工作天，偏遠地區再加 1 至 2 天。"),
    ("可以用哪些方式付款？", "信用卡、ATM 轉帳、貨到付款與超商繳費都可以。"),
    ("離島的運費是多少？", "離島每件 200 元。"),
    ("本島的運費是多少？", "本島每件 80 元，滿 1,000 元免運。"),
)  # fmt: skip


def faq(*extra: tuple[str, str], wordings: tuple[str, ...] = ("甲", "乙", "丙")) -> Faq:
    """The sound rows (rows 2 to 8) and `extra` from row 9 on."""
    pairs = tuple(
        Pair(q, a, Origin("shop.csv", row), tuple(f"{q}{w}" for w in wordings))
        for row, (q, a) in enumerate((*SOUND, *extra), start=2)
    )
    complete = tuple(p for p in pairs if p.question and p.answer)
    rest = tuple(p for p in pairs if not (p.question and p.answer))
    return Faq(complete, (Source("shop.csv", "csv", "utf-8", len(complete), "q", "a"),), rest)


def found(of: Faq, code: str) -> list[Finding]:
    return [f for f in check(of) if f.code == code]


def rows(findings: list[Finding]) -> list[int]:
    return sorted({origin.row for f in findings for origin in f.origins})


def test_a_sound_file_is_passed_without_a_word() -> None:
    assert check(faq()) == ()


@pytest.mark.parametrize(
    ("extra", "code", "level", "named"),
    [
        ([("怎麼換貨？", "")], "empty-cell", "stop", [9]),
        ([("", "請洽門市。")], "empty-cell", "stop", [9]),
        ([("怎麼換貨？", "待補")], "empty-cell", "stop", [9]),
        ([("怎麼換貨？", "#REF!")], "spreadsheet-error", "stop", [9]),
        ([SOUND[0]], "exact-duplicate", "warn", [2, 9]),
        ([("請問訂單多久會送達呢?", SOUND[3][1])], "near-duplicate", "warn", [5, 9]),
        ([("退貨的條件是什麼？商品可以退嗎", SOUND[2][1])], "near-duplicate", "warn", [4, 9]),
        ([("訂單多久會送達?", "下單當天就會送達。")], "two-answers", "stop", [5, 9]),
        (
            [("保固期多久？", "保固一年。"), ("產品的保固期是多久呢", "我們提供兩年保固。")],
            "contradiction",
            "warn",
            [9, 10],
        ),
        (
            [("怎麼辦會員卡？", "請洽客服專線 0800-999-888。")],
            "contradiction",
            "warn",
            [3, 9],
        ),
        (
            [
                ("寄物櫃怎麼租用呢？", "請至服務臺登記租用寄物櫃，洽詢電話 02-2345-6789。"),
                ("寄物櫃要如何租？", "請至服務臺登記租用寄物櫃，洽詢電話 02-2345-9876。"),
            ],
            "contradiction",
            "warn",
            [9, 10],
        ),
        ([("會員王小明的電話？", "他的手機是 0912-345-678。")], "personal-data", "warn", [9]),
        ([("我是林美玲，信箱 mei99@gmail.com", "已登記。")], "personal-data", "warn", [9]),
        ([("證件要填什麼？", "例如 A123456789。")], "personal-data", "warn", [9]),
        ([("退款到哪張卡？", "4111 1111 1111 1111。")], "personal-data", "warn", [9]),
        ([("全部條款？", "條款如下，" * 300)], "too-long", "warn", [9]),
        ([("怎麼換貨？", "<p>請洽<br>門市</p>")], "mixed-format", "warn", [9]),
        ([("怎麼換貨？", "請看[說明](https://example.com)")], "mixed-format", "warn", [9]),
        ([("怎么换货？", "请联系门市，我们会为您处理。")], "mixed-format", "warn", [9]),
        ([("怎麼換貨？", "請撥０８００１２３４５６轉１２")], "mixed-format", "warn", [9]),
        ([("怎麼換貨？", "請洽\u200b門市")], "control-character", "warn", [9]),
        ([("怎麼換貨\0？", "請洽門市")], "control-character", "warn", [9]),
    ],
)
def test_each_defect_is_named_with_its_rows_and_its_level(
    extra: list[tuple[str, str]], code: str, level: str, named: list[int]
) -> None:
    findings = found(faq(*extra), code)
    assert rows(findings) == named
    assert {f.level for f in findings} == {level}
    for finding in findings:
        assert finding.message.endswith(".") and finding.remedy.endswith(".")


WRONG = [
    ("utf-8", "cp1252"), ("utf-8", "latin-1"), ("utf-8", "gb18030"), ("utf-8", "cp950"),
    ("cp950", "gb18030"), ("gb18030", "cp950"), ("cp950", "latin-1"), ("gb18030", "cp1252"),
    ("utf-8", "ascii"), ("utf-8", "cp932"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong"), WRONG)
def test_text_read_in_a_wrong_encoding_is_recognised(right: str, wrong: str) -> None:
    for how in ("replace", "ignore"):
        text = SOUND[0][1].encode(right).decode(wrong, how)
        if text:
            assert rows(found(faq(("怎麼換貨？", text)), "mojibake")) == [9], (how, text)


@pytest.mark.parametrize(
    "text",
    [
        "碁峰、堃霖、犇鱻與囍都是店名，喆、淼、焱也是。",
        "Café Zoë – “déjà vu”, naïve señor, Ångström, 20 °C ± 3 × 2 €",
        "ありがとうございます。カタカナもあります。",
        "請見 https://example.com/%E9%A9%9A%E8%89%B7%E9%97%9C?q=%E8%8A%B1",
        "真的嗎??? 太好了!!!",
        "😀👨‍👩‍👧 ✔️ ☎️ 歡迎",
    ],
)
def test_rare_characters_foreign_words_and_links_are_not_mojibake(text: str) -> None:
    of = faq(("這樣可以嗎？", text))
    assert found(of, "mojibake") + found(of, "control-character") == []


@pytest.mark.parametrize(
    "text",
    [
        "請洽服務專線 0912-345-678。",
        "訂購信箱：myshop@gmail.com",
        "統一編號 A123456780，函號 09804750690，訂單 1234567890123456。",
        "市話 (02)2345-6789 轉 12",
    ],
)
def test_a_shops_own_contacts_and_other_numbers_do_not_alarm(text: str) -> None:
    alarms = [f for f in found(faq(("怎麼聯絡分店？", text)), "personal-data") if f.level != "note"]
    assert alarms == []


@pytest.mark.parametrize(
    "extra",
    [
        [("大安店的電話？", "請撥 02-2345-6789。"), ("信義店的電話？", "請撥 02-2345-9999。")],
        [("2023 年的活動日期？", "3 月 5 日。"), ("2024 年的活動日期？", "3 月 9 日。")],
        [("成人票多少錢？", "每張 200 元。"), ("兒童票多少錢？", "每張 100 元。")],
    ],
)
def test_different_facts_under_different_questions_are_no_contradiction(
    extra: list[tuple[str, str]],
) -> None:
    assert [f for f in check(faq(*extra)) if f.level != "note"] == []


def test_private_numbers_are_not_repeated_in_the_report() -> None:
    text = " ".join(f.message for f in check(faq(("王小明？", "他的手機 0912-345-678。"))))
    assert "0912" in text and "345" not in text


def test_length_is_counted_with_the_tokenizer_that_is_given() -> None:
    of = faq()
    assert [f.code for f in check(of, count_tokens=len, max_tokens=20)] == ["too-long"]
    assert check(of, count_tokens=lambda text: 1, max_tokens=20) == ()
    assert check(of, count_tokens=len, max_tokens=20)[0].level == "stop"


def test_too_few_pairs_and_wordings_are_said_of_the_whole() -> None:
    whole = faq(wordings=())
    few = Faq(whole.pairs[:2], whole.sources)
    assert [f.code for f in check(few)] == ["too-few", "too-few-wordings"]
    assert all(not f.origins for f in check(few))


def test_a_wording_that_leads_to_two_answers_is_a_stop() -> None:
    of = faq()
    first, second = of.pairs[0], of.pairs[1]
    twin = Pair(second.question, second.answer, second.origin, (first.wordings[0],))
    findings = found(Faq((first, twin, *of.pairs[2:]), of.sources), "two-answers")
    assert rows(findings) == [2, 3] and findings[0].level == "stop"


def test_the_worst_is_said_first_and_each_row_pair_once() -> None:
    findings = check(faq(SOUND[0], ("怎麼換貨？", ""), ("會員王小明？", "手機 0912-345-678")))
    levels = [f.level for f in findings]
    assert levels == sorted(levels, key=["stop", "warn", "note"].index)
    pairs = [f.origins for f in findings if len(f.origins) == 2]
    assert len(pairs) == len(set(pairs))


@pytest.mark.slow
def test_clean_real_files_raise_few_alarms() -> None:
    named = total = 0
    for path in sorted(shared_data().glob("faq_real_*.jsonl")):
        of = read(path)
        total += len(of.pairs)
        named += len({o for f in check(of) if f.level != "note" for o in f.origins})
    assert total > 1000
    assert named <= 0.02 * total


@pytest.mark.slow
def test_a_thousand_rows_that_look_alike_are_checked_in_five_seconds() -> None:
    draw = random.Random(0)
    words = "門市電話地址時間活動報名費用退貨保固會員卡片運費付款發票客服專線網站訂單商品"
    pairs = tuple(
        Pair(
            f"請問第{row}號分店的{''.join(draw.sample(words, 6))}要怎麼查詢？",
            f"第{row}號分店" + "".join(draw.choices(words, k=150)) + f"，電話 02-2345-{row:04}。",
            Origin("big.csv", row),
        )
        for row in range(2, 1002)
    )
    start = time.perf_counter()
    check(Faq(pairs, ()))
    assert time.perf_counter() - start < 5


def test_a_file_that_a_folder_passed_over_is_named(tmp_path: Path) -> None:
    (tmp_path / "faq.csv").write_text("問題,答案\n甲？,一\n", encoding="utf-8")
    (tmp_path / "notes.md").write_text("沒有問題", encoding="utf-8")
    findings = [f for f in check(read(tmp_path)) if f.code == "file-passed-over"]
    assert [f.origins[0].file for f in findings] == ["notes.md"]


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["A", "9", "[", " ", "a@"])
def test_a_huge_cell_of_one_kind_costs_no_more_than_its_length(piece: str) -> None:
    text = "甲" + piece * (20_000 // len(piece)) + "乙"
    start = time.perf_counter()
    check(faq((text, text + "。")))
    assert time.perf_counter() - start < 1.5
