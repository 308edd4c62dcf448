"""Writing back: wordings land in their rows, and nothing else in the owner's file moves."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import openpyxl
import pytest

from kefu.errors import FaqError
from kefu.faq import read, write
from kefu.records import Pair

MORE = ("保多久", "幾年｜保固", "碁𠮷")


def reworded(path: Path) -> list[Pair]:
    return [replace(p, wordings=(*p.wordings, *MORE[:2])) for p in read(path).pairs]


@pytest.mark.parametrize("name", ["new.csv", "new.tsv", "new.xlsx", "new.json", "new.jsonl"])
def test_a_new_file_reads_back_as_it_was_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "faq.csv").write_text(
        '問題,答案,wordings,類別,must_pass\n=甲？,"一,\n二",子|丑,x,是\n乙？,二,,,\n',
        encoding="utf-8",
    )
    faq = read(tmp_path / "faq.csv")
    again = read(write(faq.pairs, tmp_path / name))
    assert [replace(p, origin=faq.pairs[0].origin) for p in again.pairs] == [
        replace(p, origin=faq.pairs[0].origin) for p in faq.pairs
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp950", "utf-16"])
def test_a_table_keeps_its_columns_rows_and_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "faq.csv"
    text = '編號,問題,答案,備註\r\n1,甲？,"一\r\n行",x\r\n\r\n2,乙？,,y\r\n3,丙？,三,z\r\n'
    path.write_bytes(text.encode(encoding))
    write(reworded(path), path, like=path)
    body = path.read_bytes().decode(encoding)
    cells = list(csv.reader(body.splitlines(keepends=True)))
    assert cells[0] == ["編號", "問題", "答案", "備註", "wordings"]
    assert [c[3] for c in cells if c][1:] == ["x", "y", "z"]
    assert cells[2] == []
    assert read(path).pairs[1].wordings == ("保多久", "幾年", "保固")
    assert [p.origin.row for p in read(path).pairs] == [2, 5]


def test_a_wording_that_big5_cannot_hold_is_kept_and_the_file_becomes_utf8(tmp_path: Path) -> None:
    path = tmp_path / "faq.csv"
    path.write_bytes("問題,答案\r\n甲？,我們的客服會處理\r\n".encode("cp950"))
    write([replace(p, wordings=(MORE[2],)) for p in read(path).pairs], path, like=path)
    assert read(path).pairs[0].wordings == (MORE[2],)
    assert read(path).sources[0].encoding == "utf-8-sig"


def test_a_workbook_keeps_its_sheets_formats_and_formulas(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for line in ("標題", "", ""), ("問題", "答案", "備註"), ("甲？", "一", "=1+1"), ("乙？", "二"):
        book.active.append(line)
    book.active["B3"].font = openpyxl.styles.Font(bold=True)
    book.create_sheet("說明").append(["別動我"])
    path = tmp_path / "faq.xlsx"
    book.save(path)
    write(reworded(path), path, like=path)
    after = openpyxl.load_workbook(path)
    sheet = after.worksheets[0]
    assert sheet["C3"].value == "=1+1" and sheet["B3"].font.bold
    assert after["說明"]["A1"].value == "別動我"
    assert [sheet["D2"].value, sheet["D4"].value] == ["wordings", "保多久|幾年｜保固"]
    assert read(path).pairs[1].wordings == ("保多久", "幾年", "保固")


@pytest.mark.parametrize("name", ["faq.jsonl", "faq.json"])
def test_json_keeps_its_other_fields(tmp_path: Path, name: str) -> None:
    items = [
        {"id": 7, "q": "甲？", "a": ["一"], "similar": ["x"]},
        {"id": 8, "q": "乙？", "a": "二"},
    ]
    path = tmp_path / name
    path.write_text(
        json.dumps({"v": 1, "data": items})
        if name == "faq.json"
        else "\n".join(map(json.dumps, items)),
        encoding="utf-8",
    )
    write(reworded(path), path, like=path)
    text = path.read_text(encoding="utf-8")
    data = (
        json.loads(text)["data"] if name == "faq.json" else list(map(json.loads, text.splitlines()))
    )
    assert [{k: v for k, v in item.items() if k != "wordings"} for item in data] == items
    assert read(path).pairs[1].wordings[0] == "保多久"


def test_what_has_no_place_for_wordings_is_refused_and_left_alone(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "甲？"}, {"from": "gpt", "value": "一"}] * 2
    for name, text in (
        ("faq.md", "## 甲？\n一\n"),
        ("chat.json", json.dumps([{"conversations": turns}])),
    ):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        with pytest.raises(FaqError) as caught:
            write(reworded(path), path, like=path)
        assert ".csv" in caught.value.fix
        assert path.read_text(encoding="utf-8") == text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chat.json", "faq.md"]


def test_a_place_that_cannot_be_written_to_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    path = tmp_path / "faq.csv"
    path.write_text("問題,答案\n甲？,一\n", encoding="utf-8")
    with pytest.raises(FaqError) as caught:
        write(read(path).pairs, tmp_path / "file" / "new.csv")
    assert "cannot be written" in caught.value.what
