"""Promises of kefu.exam about exam.jsonl: what is read, what is refused and how."""

import json
from pathlib import Path

import pytest

from kefu.errors import ExamError
from kefu.exam import read, write
from kefu.records import Example, ExamQuestion, Faq, Origin, Pair

FAQ = Faq(
    (
        Pair("保固多久？", "保固一年。", Origin("a.csv", 2), ("壞了有保嗎",)),
        Pair("運費多少？", "運費 80 元。", Origin("a.csv", 3)),
    ),
    (),
)


def file(folder: Path, *rows: object) -> Path:
    path = folder / "exam.jsonl"
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def row(
    question: str = "會不會免費修", kind: str = "reworded", **more: object
) -> dict[str, object]:
    return {"question": question, "kind": kind, "answer": "保固一年。", **more}


def test_what_is_written_is_read_back_whole(tmp_path: Path) -> None:
    questions = (
        ExamQuestion("保固多久？", "known", "保固一年。", "保固多久？", must_pass=True),
        ExamQuestion("那寄送呢", "multi-turn", "運費 80 元。", history=(("嗨", "您好"),), note="n"),
        ExamQuestion("保固兩年？", "near-miss", None, "保固多久？", must_not="保固一年。"),
        ExamQuestion('\u2028\t"', "hostile", None),
    )
    write(tmp_path / "e.jsonl", questions)
    assert read(tmp_path / "e.jsonl", FAQ) == questions
    assert "保固" in (tmp_path / "e.jsonl").read_text(encoding="utf-8")


def test_history_may_be_pairs_or_messages(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": "嗨"},
        {"role": "assistant", "content": "您好"},
    ]
    path = file(
        tmp_path,
        row("那呢", "multi-turn", history=[["嗨", "您好"]]),
        row("這呢", "multi-turn", history=messages),
    )
    assert [q.history for q in read(path, FAQ)] == [(("嗨", "您好"),)] * 2


def test_all_faults_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        row(),
        "{broken",
        row("甲", "riddle"),
        row("乙", answer="保固十年。"),
        {"kind": "known", "answer": None},
        {"question": "丙", "kind": "known"},
        "[1]",
        row("丁", history="昨天"),
        row("戊", history=[{"role": "user", "content": "嗨"}]),
        row("己", "out-of-scope"),
        row("庚", "known", answer=None),
        row("辛", must_pass="yes"),
        row("壬", must_nut="x"),
        row("癸", source="運費多少？"),
    )
    with pytest.raises(ExamError) as caught:
        read(path, FAQ)
    told = str(caught.value)
    for number, words in {
        2: "not valid JSON",
        3: "'riddle'",
        4: "does not have ('保固十年。')",
        5: "no `question`",
        6: "no `answer`",
        7: "not an object",
        8: "`history`",
        9: "user, assistant",
        10: "must be null",
        11: "no answer",
        12: "must_pass",
        13: "'must_nut'",
        14: "not the FAQ's for '運費多少？'",
    }.items():
        part = told.split(f"line {number} ")[1].split("; line ")[0]
        assert words in part
    assert "line 1 " not in told
    assert told.endswith("Mend or delete these lines.")


def test_hundreds_of_faults_are_counted_not_poured_out(tmp_path: Path) -> None:
    with pytest.raises(ExamError, match="and 180 more"):
        read(file(tmp_path, *["x"] * 200), FAQ)


def test_a_trained_question_is_refused_unless_it_is_asked_as_known(tmp_path: Path) -> None:
    train = [Example("壞了有保嗎", "保固一年。"), "保固多久？"]
    path = file(tmp_path, row("保固多久", "known"), row("坏了有保吗？"))
    with pytest.raises(ExamError, match="line 2 was trained on") as caught:
        read(path, FAQ, train)
    assert "line 1 " not in str(caught.value)
    assert len(read(path, FAQ)) == 2


def test_a_trained_hand_over_is_refused_too(tmp_path: Path) -> None:
    path = file(tmp_path, row("今天天氣", "out-of-scope", answer=None))
    with pytest.raises(ExamError, match="trained on"):
        read(path, FAQ, [Example("今天天氣？", None, kind="out-of-scope")])


def test_a_row_by_hand_wins_whether_it_comes_first_or_last(tmp_path: Path) -> None:
    mine = row("會修嗎", by="hand", note="mine")
    made = row("會修嗎？", note="made")
    for rows in ((mine, made), (made, mine)):
        (question,) = read(file(tmp_path, *rows), FAQ)
        assert question.note == "mine"
    (question,) = read(file(tmp_path, made, row("會修嗎", note="later")), FAQ)
    assert question.note == "later"


def test_one_question_may_be_asked_after_two_histories(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        row("那呢", "multi-turn", history=[["嗨", "您好"]]),
        row("那呢", "multi-turn", history=[["早", "您早"]]),
    )
    assert len(read(path, FAQ)) == 2


def test_answers_match_but_for_width_script_and_spaces(tmp_path: Path) -> None:
    (question,) = read(file(tmp_path, row(answer="保固 一年。")), FAQ)
    assert question.answer == "保固一年。"


def test_a_missing_empty_or_foreign_file_is_told_plainly(tmp_path: Path) -> None:
    with pytest.raises(ExamError, match=r"nowhere.jsonl does not exist"):
        read(tmp_path / "nowhere.jsonl", FAQ)
    with pytest.raises(ExamError, match="holds no question"):
        read(file(tmp_path, ""), FAQ)
    (tmp_path / "big5.jsonl").write_bytes("保固".encode("big5"))
    with pytest.raises(ExamError, match="not UTF-8"):
        read(tmp_path / "big5.jsonl", FAQ)
    with pytest.raises(ExamError, match="cannot be read"):
        read(tmp_path, FAQ)
    with pytest.raises(ExamError, match="cannot be written"):
        write(tmp_path / "no" / "e.jsonl", ())
