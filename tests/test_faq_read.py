"""Reading: whatever file an owner has, the same pairs come out, or a sentence says what to do."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import openpyxl
import pytest

from conftest import shared_data
from kefu.errors import FaqError
from kefu.faq import read
from kefu.records import Faq

QA = (
    ("商品有保固嗎？", "自購買日起一年免費保固。"),
    ("可以退貨嗎？", "到貨七天內，\n未使用且包裝完整可以退貨。"),
    ("多久會到貨？", "三到五個工作天。"),
)


def pairs(faq: Faq) -> list[tuple[str, str]]:
    return [(p.question, p.answer) for p in faq.pairs]


def rows(faq: Faq) -> list[int]:
    return [p.origin.row for p in faq.pairs]


def put(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def table(qa: tuple[tuple[str, str], ...] = QA, head: str = "問題,答案", comma: str = ",") -> str:
    lines = [head.replace(",", comma)]
    lines += [comma.join(f'"{cell}"' for cell in pair) for pair in qa]
    return "\r\n".join(lines) + "\r\n"


def fails(path: Path, **options: str) -> FaqError:
    with pytest.raises(FaqError) as caught:
        read(path, **options)
    error = caught.value
    assert error.what.endswith(".") and error.fix.endswith("."), str(error)
    return error


# --- the files that customer-service people really have -------------------------------


@pytest.mark.parametrize("number", range(1, 10))
def test_each_messy_file_gives_the_pairs_and_the_columns_that_it_holds(number: int) -> None:
    folder = shared_data()
    expected = json.loads((folder / "messy_expected.json").read_text(encoding="utf-8"))
    name = next(name for name in expected if name.startswith(f"messy_{number:02}"))
    faq = read(folder / name)
    assert len(faq.pairs) == expected[name]["valid_pairs"]
    assert not faq.incomplete
    assert faq.pairs[0].question == expected[name]["first_question"]
    source = faq.sources[0]
    assert [source.question_column, source.answer_column] == expected[name][
        "question_answer_fields"
    ]


# --- encodings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "cp950", "gb18030", "utf-16", "utf-16-le", "utf-16-be", "utf-32"],
)
def test_a_table_of_three_rows_reads_the_same_in_every_encoding(
    tmp_path: Path, encoding: str
) -> None:
    assert pairs(read(put(tmp_path, "faq.csv", table(), encoding))) == list(QA)


def test_simplified_text_of_two_rows_in_gb18030_is_not_taken_for_big5(tmp_path: Path) -> None:
    qa = (("怎么退货？", "七天内联系客服。"), ("运费多少？", "满一千元免运费。"))
    faq = read(put(tmp_path, "faq.csv", table(qa, "问题,答案"), "gb18030"))
    assert pairs(faq) == list(qa)
    assert faq.sources[0].encoding == "gb18030"


def test_short_real_samples_are_told_apart_between_big5_and_gb18030(shared: Path) -> None:
    real = [p for f in sorted(shared.glob("faq_real_*")) for p in read(f).pairs]
    draw = random.Random(0)
    from kefu.faq.decode import decode  # the door would write 300 files

    for _ in range(150):
        text = "\n".join(p.question + "," + p.answer[:40] for p in draw.sample(real, 2))
        for codec in ("cp950", "gb18030"):
            data = text.encode(codec, errors="ignore")
            found = decode(data)
            assert found is not None and found.text == data.decode(codec)


def test_a_broken_byte_costs_one_character_and_is_said(tmp_path: Path) -> None:
    data = table().encode().replace("保".encode(), b"\xe4\xff", 1)
    (tmp_path / "faq.csv").write_bytes(data)
    faq = read(tmp_path / "faq.csv")
    assert len(faq.pairs) == 3
    assert "\ufffd" in faq.pairs[0].question
    assert "damaged" in faq.sources[0].remark


# --- tables ---------------------------------------------------------------------------


def test_rows_are_numbered_as_a_spreadsheet_shows_them(tmp_path: Path) -> None:
    text = '問題,答案\n甲是什麼？,"一\n二"\n\n乙是什麼？,三\n丙是什麼？,\n'
    faq = read(put(tmp_path, "faq.csv", text))
    assert rows(faq) == [2, 4]
    assert [p.origin.row for p in faq.incomplete] == [5]
    assert str(faq.incomplete[0].origin) == "faq.csv row 5"


@pytest.mark.parametrize(
    ("head", "comma", "name"),
    [
        ("question,answer", ",", "a.csv"),
        ("Q,A", "\t", "a.txt"),
        ("常見問題,標準答覆", ";", "a.csv"),
        ("客戶問題,參考答案", ",", "a.csv"),
        ("Question (zh),Answer (zh)", "\t", "a.tsv"),
        ("问题,回复内容", "|", "a.csv"),
        ("instruction,output", ",", "a.csv"),
    ],
)
def test_columns_are_known_by_name_whatever_divides_them(
    tmp_path: Path, head: str, comma: str, name: str
) -> None:
    assert pairs(read(put(tmp_path, name, table(head=head, comma=comma)))) == list(QA)


def test_other_columns_do_not_pass_for_question_and_answer(tmp_path: Path) -> None:
    text = "問題編號,問題類別,回覆日期,提問者,問題,答案\n1,退貨,8/1,王,可退嗎？,可以。\n"
    faq = read(put(tmp_path, "faq.csv", text))
    assert pairs(faq) == [("可退嗎？", "可以。")]
    assert faq.pairs[0].topic == "退貨"


def test_optional_columns_are_read(tmp_path: Path) -> None:
    text = (
        "question,answer,wordings,topic,must_pass\n"
        "保固多久？,一年。,保多久｜幾年保固|保固多久？,保固,是\n可退嗎？,可以。,,,\n"
    )
    faq = read(put(tmp_path, "faq.csv", text))
    assert faq.pairs[0].wordings == ("保多久", "幾年保固")
    assert (faq.pairs[0].topic, faq.pairs[0].must_pass) == ("保固", True)
    assert (faq.pairs[1].wordings, faq.pairs[1].must_pass) == ((), False)


def test_columns_named_by_hand_by_name_or_by_letter(tmp_path: Path) -> None:
    path = put(tmp_path, "faq.csv", "題名,內文\n甲,一\n乙,二\n")
    error = fails(path)
    assert "題名, 內文" in error.what and "--question" in error.fix
    assert pairs(read(path, question="題名", answer="內文")) == [("甲", "一"), ("乙", "二")]
    assert pairs(read(path, question="A", answer="B")) == [("甲", "一"), ("乙", "二")]
    assert "'沒有'" in fails(path, question="沒有", answer="內文").what


def test_a_table_without_a_header_is_understood_and_said(tmp_path: Path) -> None:
    faq = read(put(tmp_path, "faq.csv", table().split("\r\n", 1)[1]))
    assert pairs(faq) == list(QA)
    assert "no header" in faq.sources[0].remark


def test_an_unclosed_quotation_mark_is_an_error_with_its_row_not_a_lost_file(
    tmp_path: Path,
) -> None:
    error = fails(put(tmp_path, "faq.csv", '問題,答案\n甲？,一\n乙？,"二\n丙？,三\n丁？,四\n'))
    assert "row 3" in error.what and "quotation mark" in error.what


def test_a_workbook_with_titles_blank_rows_merged_cells_and_notes(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    one = book.active
    one.title = "售後"
    one.append(["客服常見問題集"])
    one.merge_cells("A1:D1")
    one.append([])
    one.append(["類別", "問題", "答案", "備註"])
    one.append(["保固", QA[0][0], QA[0][1]])
    one.append([None, QA[1][0], QA[1][1]])
    one.append([])
    one.append([None, "保固期從哪天算？", None])
    one.append(["物流", QA[2][0], 3])
    two = book.create_sheet("付款")
    two.append(["問題", "答案"])
    two.append(["可以刷卡嗎？", "可以。"])
    two.append(["可以用現金嗎？", None])
    two.merge_cells("B2:B3")
    book.create_sheet("說明").append(["本檔更新於八月"])
    path = tmp_path / "faq.xlsx"
    book.save(path)
    faq = read(path)
    assert [(p.origin.sheet, p.origin.row) for p in faq.pairs] == [
        ("售後", 4), ("售後", 5), ("售後", 8), ("付款", 2), ("付款", 3),
    ]  # fmt: skip
    assert [p.topic for p in faq.pairs[:3]] == ["保固", "保固", "物流"]
    assert [p.answer for p in faq.pairs[2:]] == ["3", "可以。", "可以。"]
    assert [p.origin.row for p in faq.incomplete] == [7]
    assert "'說明'" in faq.sources[0].remark
    assert len(read(path, sheet="付款").pairs) == 2
    assert "'售後', '付款', '說明'" in fails(path, sheet="運費").what


def test_a_stray_format_in_the_last_row_of_a_sheet_costs_no_time(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for line in (("問題", "答案"), *QA):
        book.active.append(line)
    book.active.cell(1048576, 16384).number_format = "0.00"
    book.save(tmp_path / "faq.xlsx")
    assert len(read(tmp_path / "faq.xlsx").pairs) == 3


# --- JSON -----------------------------------------------------------------------------

CHAT = [
    {"role": "system", "content": "你是客服"},
    {"role": "user", "content": "甲？"},
    {"role": "assistant", "content": [{"type": "text", "text": "一"}]},
    {"role": "user", "content": "乙？"},
    {"role": "assistant", "content": "二"},
]
SHAPES: dict[str, object] = {
    "alpaca": [
        {"instruction": "甲？", "input": "", "output": "一"},
        {"instruction": "乙？", "output": "二"},
    ],
    "same instruction": [
        {"instruction": "回答", "input": "甲？", "output": "一"},
        {"instruction": "回答", "input": "乙？", "output": "二"},
    ],
    "nested": {"version": 1, "data": [{"q": "甲？", "a": ["一"]}, {"q": "乙？", "a": "二"}]},
    "groups": {
        "退貨": [{"問題": "甲？", "答案": "一"}],
        "保固": [{"問題": "乙？", "答案": "二"}],
    },
    "categories": {
        "faqs": [
            {
                "category": "x",
                "items": [
                    {"question": "甲？", "answer": "一"},
                    {"question": "乙？", "answer": "二"},
                ],
            }
        ]
    },
    "messages": [{"messages": CHAT}],
    "sharegpt": [
        {
            "conversations": [
                {"from": "human", "value": "甲？"},
                {"from": "gpt", "value": "一"},
                {"from": "human", "value": "乙？"},
                {"from": "gpt", "value": "二"},
            ]
        }
    ],
    "squad": {
        "data": [
            {
                "paragraphs": [
                    {
                        "context": "文章",
                        "qas": [
                            {"question": "甲？", "answers": [{"text": "一"}]},
                            {"question": "乙？", "answers": [{"text": "二"}]},
                        ],
                    }
                ]
            }
        ]
    },
    "schema.org": {
        "@type": "FAQPage",
        "mainEntity": [
            {"@type": "Question", "name": "甲？", "acceptedAnswer": {"text": "一"}},
            {"@type": "Question", "name": "乙？", "acceptedAnswer": {"text": "二"}},
        ],
    },
    "mapping": {"甲？": "一", "乙？": "二"},
    "lists": [["甲？", "一"], ["乙？", "二"]],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_json_shape_gives_the_same_pairs(tmp_path: Path, shape: str) -> None:
    data = SHAPES[shape]
    faq = read(put(tmp_path, "faq.json", json.dumps(data, ensure_ascii=False)))
    assert pairs(faq) == [("甲？", "一"), ("乙？", "二")]
    if isinstance(data, list) and shape != "lists":
        lines = "\n\n".join(json.dumps(item) for item in data)
        assert pairs(read(put(tmp_path, "faq.jsonl", lines))) == [("甲？", "一"), ("乙？", "二")]


def test_groups_become_topics_and_lists_of_questions_become_wordings(tmp_path: Path) -> None:
    faq = read(put(tmp_path, "a.json", json.dumps(SHAPES["groups"])))
    assert [p.topic for p in faq.pairs] == ["退貨", "保固"]
    data = [{"questions": ["甲？", "甲呢？"], "answer": "一", "wordings": ["甲嗎"]}]
    assert read(put(tmp_path, "b.json", json.dumps(data))).pairs[0].wordings == ("甲呢？", "甲嗎")


def test_old_separators_and_stop_words_go_and_are_named(tmp_path: Path) -> None:
    lines = "\n".join(
        json.dumps({"prompt": f"{q}\n\n###\n\n", "completion": f" {a} END"}) for q, a in QA
    )
    faq = read(put(tmp_path, "faq.jsonl", lines))
    assert pairs(faq) == list(QA)
    assert "###" in faq.sources[0].remark and "END" in faq.sources[0].remark


def test_an_end_that_is_only_some_rows_own_word_stays(tmp_path: Path) -> None:
    text = "question,answer\nWhich key?,Press END\nWhich other?,Press ESC\nAnd then?,Nothing\n"
    assert read(put(tmp_path, "faq.csv", text)).pairs[0].answer == "Press END"


def test_broken_json_is_placed_by_line_and_column(tmp_path: Path) -> None:
    error = fails(put(tmp_path, "faq.json", '[\n {"q": "甲",\n  "a" "一"}\n]'))
    assert "line 3, column 7" in error.what
    error = fails(put(tmp_path, "faq.jsonl", '{"q": "甲", "a": "一"}\n{"q": \n'))
    assert "line 2" in error.what


# --- Markdown, text, folders --------------------------------------------------------------

MARKDOWN = {
    "headings": "# 常見問題\n說明文字\n\n## 保固\n\n### 1. 保固多久？\n\n一年。\n- 免費\n\n"
    "### 可退嗎？\n可以。\n",
    "labels": "# 常見問題\n\n**Q1：保固多久？**\n\nA：一年。\n- 免費\n\n"
    "**Q2：可退嗎？**\nA：可以。\n",
    "chinese labels": "問：保固多久？\n答：一年。\n- 免費\n\n問：可退嗎？\n答：可以。\n",
    "bold": "**保固多久？**\n一年。\n- 免費\n\n**可退嗎？**\n\n可以。\n",
    "table": "# 常見問題\n\n| 問題 | 答案 |\n|---|---|\n| 保固多久？ | 一年。<br>免費 |\n"
    "| 可退嗎？ | 可以。 |\n",
}


@pytest.mark.parametrize("style", MARKDOWN)
def test_markdown_in_every_common_style(tmp_path: Path, style: str) -> None:
    faq = read(put(tmp_path, "faq.md", MARKDOWN[style]))
    assert [p.question for p in faq.pairs] == ["保固多久？", "可退嗎？"]
    assert faq.pairs[0].answer.startswith("一年。")
    assert faq.pairs[1].answer == "可以。"
    line = MARKDOWN[style].split("\n")[faq.pairs[1].origin.row - 1]
    assert "可退嗎？" in line


def test_a_plain_text_with_labels_is_read_too(tmp_path: Path) -> None:
    assert len(read(put(tmp_path, "faq.txt", MARKDOWN["chinese labels"])).pairs) == 2


def test_a_folder_is_read_whole_and_says_what_it_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "b.csv", table())
    (tmp_path / "a").mkdir()
    put(tmp_path / "a", "x.json", json.dumps(SHAPES["alpaca"]))
    put(tmp_path, "README.md", "只是說明\n")
    put(tmp_path, "~$b.xlsx", "lock")
    faq = read(tmp_path)
    assert sorted({p.origin.file for p in faq.pairs}) == ["a/x.json", "b.csv"]
    assert len(faq.pairs) == 5
    passed = [s for s in faq.sources if not s.pairs]
    assert [s.file for s in passed] == ["README.md"] and passed[0].remark


# --- bad input ----------------------------------------------------------------------------


def test_bad_input_gets_a_sentence_with_the_place_and_the_remedy(tmp_path: Path) -> None:
    assert "does not exist" in fails(tmp_path / "none.csv").what
    assert "is empty" in fails(put(tmp_path, "empty.csv", "\ufeff \r\n")).what
    (tmp_path / "noise.csv").write_bytes(bytes(random.Random(1).randbytes(3000)))
    assert "noise.csv" in fails(tmp_path / "noise.csv").what
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7 ...")
    assert "PDF" in fails(tmp_path / "a.pdf").what
    (tmp_path / "old.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    assert ".xls" in fails(tmp_path / "old.xls").what
    assert "name, price" in fails(put(tmp_path, "p.csv", "name,price\n蘋果,30\n")).what
    assert "no row with both" in fails(put(tmp_path, "h.csv", "問題,答案\n")).what
    (tmp_path / "folder").mkdir()
    assert "no FAQ file" in fails(tmp_path / "folder").what
    assert "web page" in fails(put(tmp_path, "w.csv", "<html><table></table></html>")).what
    assert "cut off" in fails(put(tmp_path, "cut.xlsx", "PK\x03")).what
    assert "nested" in fails(put(tmp_path, "deep.json", "[" * 100_000 + "]" * 100_000)).what


def test_an_encrypted_workbook_is_named_as_such(tmp_path: Path) -> None:
    import msoffcrypto

    book = openpyxl.Workbook()
    book.active.append(["問題", "答案"])
    book.save(tmp_path / "open.xlsx")
    with (tmp_path / "open.xlsx").open("rb") as plain, (tmp_path / "faq.xlsx").open("wb") as locked:
        msoffcrypto.OfficeFile(plain).encrypt("secret", locked)
    assert "encrypted" in fails(tmp_path / "faq.xlsx").what


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, "faq.csv", table())
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything, so the refusal has to be played

        def refuse(self: Path) -> bytes:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "may not be read" in fails(path).what


def test_a_huge_cell_and_nul_bytes_are_read_not_refused(tmp_path: Path) -> None:
    qa = (("很長嗎？", "長" * 300_000), ("有\0嗎？", "有。"))
    assert pairs(read(put(tmp_path, "faq.csv", table(qa)))) == list(qa)


def test_half_a_surrogate_pair_does_not_break_the_digest(tmp_path: Path) -> None:
    faq = read(put(tmp_path, "faq.json", '[{"q": "甲\\ud800？", "a": "一"}]'))
    assert "\ufffd" in faq.pairs[0].question
    assert faq.digest


def test_the_room_is_light() -> None:
    code = (
        "import sys; import kefu.faq; "
        "print([m for m in ('torch', 'transformers', 'numpy', 'openpyxl', 'sklearn', 'pandas') "
        "if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
