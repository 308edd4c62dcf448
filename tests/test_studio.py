"""The studio without a browser: the table on the desk, the words, the door, and child commands."""

from __future__ import annotations

import asyncio
import base64
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import httpx
import pytest

from kefu import background, jobs
from kefu.errors import FaqError, RunError
from kefu.faq import read
from kefu.records import Faq, Finding
from kefu.studio import app, desk, words
from kefu.workspace import Workspace

STUDIO = Path(desk.__file__).parent
FAULTY = "問題,答案\n營業時間？,十點\n營業時間？,九點\n電話？,\n可以停車嗎？,地下二樓\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def laid(workspace: Workspace, text: str = FAULTY) -> Path:
    file = workspace.root / "店.csv"
    file.write_text(text, encoding="utf-8")
    return desk.take_in(workspace, file)


def checked(workspace: Workspace, file: Path) -> tuple[Faq, list[Finding]]:
    faq = read(file)
    return faq, jobs.check_faq(faq, workspace.settings())


# --- the table -------------------------------------------------------------------------


def test_findings_stand_beside_their_rows_and_vanish_when_the_table_is_mended(
    workspace: Workspace,
) -> None:
    file = laid(workspace)
    say = words.Say("zh-TW")
    faq, found = checked(workspace, file)
    rows = desk.table(faq, found, say)
    assert [row[1] for row in rows] == ["營業時間？", "營業時間？", "電話？", "可以停車嗎？"]
    assert all("要先改" in row[0] for row in rows[:3]) and "要先改" not in rows[3][0]

    rows[1][1:3] = ["", ""]
    rows[2][2:4] = ["請撥 02-2345-6789", "怎麼打給你們|聯絡電話"]
    rows[3][5] = "✓"
    desk.save(file, rows)
    faq, found = checked(workspace, file)
    assert not [f for f in found if f.level == "stop"]
    assert [p.question for p in faq.pairs] == ["營業時間？", "電話？", "可以停車嗎？"]
    assert faq.pairs[1].wordings == ("怎麼打給你們", "聯絡電話")
    assert faq.pairs[2].must_pass


def test_the_owners_file_and_older_tables_are_never_written_to(workspace: Workspace) -> None:
    first = laid(workspace)
    before = first.read_bytes()
    second = laid(workspace)
    desk.save(second, [["", "一題", "一答", "", "", ""]])
    assert first != second and first.read_bytes() == before
    assert (workspace.root / "店.csv").read_text(encoding="utf-8") == FAULTY
    assert desk.on_desk(workspace) == second


def test_an_empty_table_is_refused_and_the_file_stays(workspace: Workspace) -> None:
    file = laid(workspace)
    before = file.read_bytes()
    with pytest.raises(FaqError):
        desk.save(file, [["", "", "", "", "", ""]])
    assert file.read_bytes() == before


def test_only_ticked_wordings_are_taken_as_they_were_corrected(workspace: Workspace) -> None:
    file = desk.sample(workspace)
    offered = desk.proposals(workspace, file)
    assert len(offered) >= 5
    question = offered[0][2]
    rows = [[True, "我改過的問法", question], *([False, *row[1:]] for row in offered[1:])]
    before = {p.question: p.wordings for p in read(file).pairs}
    desk.accept(file, rows)
    after = {p.question: p.wordings for p in read(file).pairs}
    assert after.pop(question) == (*before.pop(question), "我改過的問法")
    assert after == before


# --- the words -------------------------------------------------------------------------


def test_everything_is_said_in_both_languages() -> None:
    said = tomllib.loads((STUDIO / "data" / "words.toml").read_text("utf-8"))
    plan, findings = said.pop("plan"), said.pop("findings")
    assert set(plan["zh-TW"]) == set(plan["en"])
    for key, texts in said.items():
        chinese, english = texts
        gaps = [sorted(re.findall(r"\{\d\}", text)) for text in texts]
        assert gaps[0] == gaps[1], key
        assert english and (key == "other" or not re.search(r"[\u4e00-\u9fff]", english)), key
        assert chinese and re.search(r"[\u4e00-\u9fff]|English|？", chinese), key
    pages = [*STUDIO.glob("*.py"), STUDIO / "data" / "pictures.html"]
    code = "".join(p.read_text("utf-8") for p in pages)
    for key in re.findall(r'\b(?:say|button|listed)\("(\w+)"', code):
        assert key in said, key
    source = "".join(p.read_text("utf-8") for p in (STUDIO.parent / "faq").glob("*.py"))
    unknown = [code for code in findings if f'"{code}"' not in source]
    assert unknown == []


def test_a_defect_is_told_in_chinese(workspace: Workspace) -> None:
    _, found = checked(workspace, laid(workspace))
    say = words.Say("zh-TW")
    assert found
    for finding in found:
        assert re.search(r"[\u4e00-\u9fff]", say.finding(finding)), finding.code


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-TW,zh;q=0.9,en;q=0.8", "zh-TW"),
        ("en-US,en;q=0.9,zh;q=0.1", "en"),
        ("fr,zh-HK;q=0.5", "zh-TW"),
        ("", "en"),
    ],
)
def test_the_browser_chooses_the_language(header: str, language: str) -> None:
    assert words.preferred(header) == language


# --- the door --------------------------------------------------------------------------


def got(made: object, path: str = "/", **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=made)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as c:
            return await c.get(path, headers=headers)

    return asyncio.run(ask())


def test_only_this_machines_own_pages_come_in(workspace: Workspace) -> None:
    made = app(workspace)
    answer = got(made, **{"accept-language": "zh-TW"})
    assert answer.headers["location"] == "/zh-TW/"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert got(made, host="evil.example").status_code == 403
    assert got(made, origin="https://evil.example").status_code == 403
    assert got(made, origin="http://127.0.0.1:7860").status_code == 307


def test_what_is_sent_is_bounded(workspace: Workspace) -> None:
    made = app(workspace)
    assert got(made, **{"content-length": str(19 * 2**20)}).status_code == 307
    assert got(made, **{"content-length": str(21 * 2**20)}).status_code == 413


def test_a_password_is_asked_for_where_there_is_one(workspace: Workspace) -> None:
    made = app(workspace, "芝麻開門")
    assert got(made, host="shop.example").status_code == 401
    for word, status in (("wrong", 401), ("芝麻開門", 307)):
        basic = base64.b64encode(f"owner:{word}".encode()).decode()
        assert got(made, authorization=f"Basic {basic}").status_code == status
    assert got(made, authorization="Basic %%%").status_code == 401


def test_other_addresses_need_a_password(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "kefu", "-C", str(tmp_path), "studio", "--host", "0.0.0.0"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "KEFU_STUDIO_PASSWORD" in done.stderr and "Traceback" not in done.stderr


# --- heavy work ------------------------------------------------------------------------


def until(what: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)


def test_one_child_at_a_time_and_one_that_fails_says_why(workspace: Workspace) -> None:
    job = background.start(workspace, "eval", "none", "eval", "none")
    assert background.last(Workspace(workspace.root)) == job  # another page sees the same
    with pytest.raises(RunError):
        background.start(workspace, "eval", "none", "eval", "none")  # one at a time
    until(lambda: not background.runs(job))
    assert "There is no run" in background.complaint(workspace)


def test_what_cannot_be_noted_down_does_not_begin(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[subprocess.Popen[bytes]] = []
    own = subprocess.Popen

    def kept(*words: object, **more: object) -> subprocess.Popen[bytes]:
        begun.append(own(*words, **more))  # type: ignore[call-overload]
        return begun[0]

    (workspace.root / ".studio" / "job.json").mkdir(parents=True)
    monkeypatch.setattr("kefu.background.subprocess.Popen", kept)
    with pytest.raises(RunError):
        background.start(workspace, "eval", "none", "eval", "none")
    assert begun[0].wait(30) == -9  # a training that nobody could stop
