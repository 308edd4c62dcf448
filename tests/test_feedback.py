"""`kefu feedback`: what was asked in vain is proposed, and what is accepted stands in the file."""

from __future__ import annotations

import json
import os
import pty
import select
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from kefu.asked import PLACE, Log
from kefu.cli import main
from kefu.errors import FaqError
from kefu.faq import read, write
from kefu.jobs.feedback import Feedback, Proposal, read_proposals
from kefu.records import Example, ExamQuestion, Origin, Pair
from kefu.workspace import RunFolder, Workspace, dump, write_json, write_text

AWAY = "請真人客服回覆您。"
SHIPPING = "運費怎麼算？"
TABLE = (
    "編號,問題,答案,相似問,備註\r\n1,運費怎麼算？,滿千免運，未滿收 80 元。,郵資多少,甲\r\n"
    "2,營業時間是幾點？,每天 10 點到 20 點。,,乙\r\n"
)
ASKED = (
    ("運費怎麼算呢", True, None),
    ("運費要怎麼算", True, None),
    ("運費怎麼算呢", True, None),
    ("有賣禮券嗎", True, None),
    ("今天的營業時間是到幾點", False, "down"),
    ("營業時間", False, "up"),
)


def shop(root: Path, *, exam: tuple[ExamQuestion, ...] = ()) -> Path:
    """A workspace with a log and, where there is an exam, a run that holds it."""
    root.mkdir(exist_ok=True)
    (root / "kefu.toml").write_text('faq = "faq.csv"\n')
    faq = root / "faq.csv"
    faq.write_bytes(TABLE.encode("utf-8-sig"))
    log = Log(root / PLACE)
    for number, (text, away, vote) in enumerate(ASKED):
        source = None if away else SHIPPING
        log.add(f"n{number}", text, AWAY if away else "答", handed_over=away, source=source)
        if vote:
            log.vote(f"n{number}", vote)  # type: ignore[arg-type]
    log.close()
    if exam:
        run = RunFolder(root / "runs" / "first")
        run.keep_faq(read(faq))
        write_text(run.file("plan.json"), "{}")
        row = Example(SHIPPING, "滿千免運，未滿收 80 元。", SHIPPING)
        write_text(run.file("examples.jsonl"), json.dumps(dump(row)) + "\n")
        text = "".join(json.dumps(dump(q), ensure_ascii=False) + "\n" for q in exam)
        write_text(run.file("exam.jsonl"), text)
    return faq


def work(root: Path, run: RunFolder | None = None) -> Feedback:
    faq = root / "faq.csv"
    return Feedback(Log(root / PLACE), read(faq), faq, run)


def named(found: Feedback, text: str) -> Proposal:
    return next(p for p in found.proposals if text in (p.question, *p.wordings))


@pytest.fixture
def kefu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`kefu feedback` as a script calls it: (exit code, standard output, standard error)."""
    monkeypatch.chdir(Path.cwd())  # -C moves this process: back again afterwards

    def call(root: Path, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kefu", "-C", str(root), "feedback", *words])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(str(end.code))
        return code, *capsys.readouterr()

    return call


def test_questions_are_grouped_by_row_and_the_most_asked_comes_first(tmp_path: Path) -> None:
    shop(tmp_path)
    found = work(tmp_path).proposals
    first = found[0]
    assert (first.kind, first.question, first.asked) == ("wording", SHIPPING, 3)
    assert first.wordings == ("運費怎麼算呢", "運費要怎麼算") and first.where == "faq.csv row 2"
    assert {p.kind: p.question for p in found[1:]}["row"] == "有賣禮券嗎"
    assert "營業時間" not in [t for p in found for t in p.wordings]  # was voted up


def test_an_answer_that_did_not_help_is_not_proposed_again(tmp_path: Path) -> None:
    shop(tmp_path)
    log = Log(tmp_path / PLACE)
    log.add("d", "運費是怎麼算的", "答", source=SHIPPING)
    log.vote("d", "down")
    one = named(work(tmp_path), "運費是怎麼算的")
    assert one.question != SHIPPING and "did not help: read it again" in one.because


def test_an_accepted_wording_stands_in_its_row_and_nothing_else_moved(tmp_path: Path) -> None:
    faq = shop(tmp_path)
    found = work(tmp_path)
    found.accept(named(found, "運費怎麼算呢"))
    lines = faq.read_bytes().decode("utf-8-sig").split("\r\n")
    assert lines[1] == (
        "1,運費怎麼算？,滿千免運，未滿收 80 元。,郵資多少|運費怎麼算呢|運費要怎麼算,甲"
    )
    assert [lines[0], *lines[2:]] == [TABLE.split("\r\n")[0], *TABLE.split("\r\n")[2:]]
    assert len(work(tmp_path).proposals) == len(found.proposals) == 2


def test_a_new_row_needs_an_answer_and_then_stands_at_the_end(tmp_path: Path) -> None:
    faq = shop(tmp_path)
    found = work(tmp_path)
    one = named(found, "有賣禮券嗎")
    with pytest.raises(FaqError, match="has no answer"):
        found.accept(one)
    assert faq.read_bytes().decode("utf-8-sig") == TABLE
    file = tmp_path / "mine.json"
    write_json(file, [{**dump(one), "answer": "有，每張 500 元。", "wordings": ["禮券有嗎"]}])
    found.accept(*read_proposals(file))
    last = read(faq).pairs[-1]
    assert (last.question, last.answer) == ("有賣禮券嗎", "有，每張 500 元。")
    assert last.wordings == ("禮券有嗎",) and last.origin.row == 4


@pytest.mark.parametrize("name", ["faq.xlsx", "faq.json", "faq.jsonl", "faq.tsv"])
def test_a_new_row_fits_every_kind_of_file(tmp_path: Path, name: str) -> None:
    path = write([Pair("甲？", "一", Origin("", 2), ("子",))], tmp_path / name)
    new = Pair("=乙？", "二", Origin(name, 0), ("丑", "寅"))
    write([new], path, like=path)
    assert [(p.question, p.answer, p.wordings) for p in read(path).pairs] == [
        ("甲？", "一", ("子",)),
        ("=乙？", "二", ("丑", "寅")),
    ]
    if name.endswith("xlsx"):
        assert openpyxl.load_workbook(path).active["A3"].data_type == "s"


def test_what_the_exam_asks_never_comes_into_the_faq(tmp_path: Path) -> None:
    answer = "滿千免運，未滿收 80 元。"
    exam = (
        ExamQuestion(SHIPPING, "known", answer, SHIPPING),
        ExamQuestion("運費要怎麼算", "reworded", answer, SHIPPING),
        ExamQuestion("有賣禮券嗎", "out-of-scope", None),
    )
    faq = shop(tmp_path, exam=exam)
    run = Workspace(tmp_path).run("first")
    before = run.file("exam.jsonl").read_bytes()
    found = work(tmp_path, run)
    refused = [text for p in found.proposals for text in p.refused]
    assert len([t for t in refused if "exam of the run first asks it" in t]) >= 2
    one = found.proposals[0]
    assert "運費要怎麼算" not in one.wordings
    # Nor by the owner's own hand:
    with pytest.raises(FaqError, match="stays held out"):
        found.accept(Proposal(one.id, "wording", SHIPPING, wordings=("運費要怎麼算",)))
    assert faq.read_bytes().decode("utf-8-sig") == TABLE
    assert run.file("exam.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("運費怎麼算？我是 0912-345-678", "blacked out"),
        ('=HYPERLINK("http://evil.example","運費怎麼算")', "formula"),
        ("郵資多少", "stands in faq.csv row 2 already"),
    ],
)
def test_what_should_not_be_learned_is_left_out_with_the_reason(
    tmp_path: Path, text: str, why: str
) -> None:
    shop(tmp_path)
    Log(tmp_path / PLACE).add("x", text, AWAY, handed_over=True)
    refused = [r for p in work(tmp_path).proposals for r in p.refused]
    assert len(refused) == 1 and why in refused[0]


def test_each_shop_sees_what_its_own_runs_were_asked(tmp_path: Path, kefu: Any) -> None:
    exam = (
        ExamQuestion(SHIPPING, "known", "滿千免運，未滿收 80 元。", SHIPPING),
        ExamQuestion("運費要怎麼算", "reworded", "滿千免運，未滿收 80 元。", SHIPPING),
    )
    root = tmp_path / "two"
    faq = shop(root, exam=exam)
    (root / "runs" / "first" / "adapter").mkdir()
    write_json(root / "runs" / "first" / "run.json", {})
    other = root / "ben.csv"  # asks the same, and answers otherwise
    other.write_text("問題,答案\n運費怎麼算？,一律 60 元。\n有停車場嗎？,有兩個車位。\n", "utf-8")
    run = RunFolder(root / "runs" / "ben-1")
    run.keep_faq(read(other))
    write_text(run.file("plan.json"), "{}")
    log = Log(root / PLACE)
    log.add("b1", "停車場在哪裡嗎", AWAY, model="ben-1", handed_over=True)
    log.add("a1", "有賣卡片嗎", AWAY, model="first", handed_over=True)
    log.close()

    def seen(file: Path) -> set[str]:
        code, said, fault = kefu(root, str(file), "--json")
        assert code == 0, fault
        found = json.loads(said)
        return {t for p in found for t in (p["question"], *p["wordings"], *p["refused"])}

    assert "停車場在哪裡嗎" not in seen(faq) and "有賣卡片嗎" in seen(faq)
    assert "停車場在哪裡嗎" in seen(other) and "有賣卡片嗎" not in seen(other)
    # first's exam is held out of its own FAQ only, though it is the newest run that is finished.
    assert any("exam of the run first" in t for t in seen(faq))
    assert not any("exam of the run first" in t for t in seen(other))
    # The owner rewrites the answers: the file is the same FAQ still.
    faq.write_bytes(TABLE.replace("80", "90").replace("20 點", "21 點").encode("utf-8-sig"))
    assert "停車場在哪裡嗎" not in seen(faq) and "有賣卡片嗎" in seen(faq)


def test_a_script_lists_skips_and_accepts(tmp_path: Path, kefu: Any) -> None:
    faq = shop(tmp_path / "shop")
    listed = json.loads(kefu(tmp_path / "shop", "--json")[1])
    assert [p["asked"] for p in listed] == [3, 1, 1]
    ids = {p["question"]: p["id"] for p in listed}
    code, said, _ = kefu(tmp_path / "shop", "--skip", ids["有賣禮券嗎"], "--accept", ids[SHIPPING])
    assert code == 0 and "written into" in said
    assert "運費怎麼算呢" in faq.read_text("utf-8-sig")
    assert len(json.loads(kefu(tmp_path / "shop", "--json")[1])) == 1
    code, _, said = kefu(tmp_path / "shop", "--accept", "nothing")
    assert code == 2 and "no open proposal and no file" in said
    code, _, said = kefu(tmp_path / "elsewhere")
    assert code == 2 and "Nothing was asked yet" in said


def test_on_a_terminal_the_owner_accepts_edits_and_skips(tmp_path: Path) -> None:
    faq = shop(tmp_path)
    master, end = pty.openpty()
    command = [sys.executable, "-m", "kefu", "-C", str(tmp_path), "feedback"]
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end)
    os.close(end)
    order = [p.kind + p.question for p in work(tmp_path).proposals]
    assert order[0] == f"wording{SHIPPING}"
    said = ""
    for answer in ("e", "", "宅配費怎麼算", "s", "q"):
        mark, end_at = len(said), time.monotonic() + 20
        while not said[mark:].rstrip(" ").endswith(":") and time.monotonic() < end_at:
            if select.select([master], [], [], 0.1)[0]:
                said += os.read(master, 65536).decode(errors="replace")
        os.write(master, f"{answer}\n".encode())
    assert process.wait(timeout=20) == 0, said
    os.close(master)
    assert read(faq).pairs[0].wordings == ("郵資多少", "宅配費怎麼算")
    assert len(work(tmp_path).proposals) == 1
    base = sqlite3.connect(tmp_path / PLACE)
    ways = {how for (how,) in base.execute("SELECT how FROM dealt")}
    assert ways == {"accepted", "skipped"}
    base.close()
