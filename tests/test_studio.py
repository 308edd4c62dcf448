"""The studio without a browser: the table in work, the words, the door, and child commands."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import runpy
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import get_args

import gradio as gr
import httpx
import pytest

from kefu import background, jobs
from kefu.advise import Advice
from kefu.advise.nouns import Case, Cause, Name
from kefu.errors import FaqError, KefuError, RunError, SettingsError
from kefu.faq import read
from kefu.records import Faq, Finding, Origin
from kefu.studio import app, steps, words
from kefu.studio.page import Page
from kefu.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
STUDIO = Path(words.__file__).parent
FAULTY = "問題,答案\n營業時間？,十點\n營業時間？,九點\n電話？,\n可以停車嗎？,地下二樓\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def laid(workspace: Workspace, text: str = FAULTY) -> Path:
    file = workspace.root / "店.csv"
    file.write_text(text, encoding="utf-8")
    return jobs.draft_of(workspace, file)


def checked(workspace: Workspace, file: Path) -> tuple[Faq, list[Finding]]:
    faq = read(file)
    return faq, jobs.check_faq(faq, workspace.settings())


# --- the table -------------------------------------------------------------------------


def test_findings_stand_beside_their_rows_and_vanish_when_the_table_is_mended(
    workspace: Workspace,
) -> None:
    file = laid(workspace)
    rows = jobs.cells(*checked(workspace, file))
    assert [row[1] for row in rows] == ["營業時間？", "營業時間？", "電話？", "可以停車嗎？"]
    assert ["stop" in row[0][1] for row in rows] == [True, True, True, False]

    rows[1][1:3] = ["", ""]
    rows[2][2:4] = ["請撥 02-2345-6789", "怎麼打給你們|聯絡電話"]
    rows[3][5] = True
    jobs.mend(file, rows)
    faq, found = checked(workspace, file)
    assert not [f for f in found if f.level == "stop"]
    assert [p.question for p in faq.pairs] == ["營業時間？", "電話？", "可以停車嗎？"]
    assert faq.pairs[1].wordings == ("怎麼打給你們", "聯絡電話")
    assert faq.pairs[2].must_pass


def test_the_owners_file_and_older_tables_are_never_written_to(workspace: Workspace) -> None:
    first = laid(workspace)
    before = first.read_bytes()
    second = laid(workspace)
    jobs.mend(second, [["", "一題", "一答", "", "", False]])
    assert first != second and first.read_bytes() == before
    assert (workspace.root / "店.csv").read_text(encoding="utf-8") == FAULTY
    assert jobs.draft(workspace) == second


def test_an_empty_table_is_refused_and_the_file_stays(workspace: Workspace) -> None:
    file = laid(workspace)
    before = file.read_bytes()
    with pytest.raises(FaqError):
        jobs.mend(file, [["", "", "", "", "", False]])
    assert file.read_bytes() == before


def test_only_ticked_wordings_are_taken_as_they_were_corrected(workspace: Workspace) -> None:
    file = jobs.sample_draft(workspace)
    offered = jobs.proposals(read(file), workspace.settings(), 5)
    assert len(offered) >= 5
    question = offered[0].pair_question
    rest = [[False, r.wording, r.pair_question] for r in offered[1:]]
    rows = [[True, "我改過的問法", question], *rest]
    before = {p.question: p.wordings for p in read(file).pairs}
    jobs.accept(file, rows)
    after = {p.question: p.wordings for p in read(file).pairs}
    assert after.pop(question) == (*before.pop(question), "我改過的問法")
    assert after == before


# --- the words -------------------------------------------------------------------------


def test_everything_is_said_in_both_languages() -> None:
    said = tomllib.loads((STUDIO / "data" / "words.toml").read_text("utf-8"))
    plan, findings, causes = (said.pop(key) for key in ("plan", "findings", "causes"))
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
    assert set(causes) == set(get_args(Name))


def test_a_defect_is_told_in_chinese(workspace: Workspace) -> None:
    _, found = checked(workspace, laid(workspace))
    say = words.Say("zh-TW")
    assert found
    for finding in found:
        told = say.told("findings", finding.code, "its own words")
        assert re.search(r"[\u4e00-\u9fff]", told), finding.code


ERRORS = (
    (
        RunError("/x cannot be written: No space left on device.", "Free some."),
        "清出空間",
        "資料夾",
    ),
    (RunError("The run shop-1 was not examined yet.", "Examine it."), "先考試", "訓練"),
    (SettingsError("kefu.toml: `thorough`: wrong.", "Change it."), "刪掉就用預設值", "設定有誤"),
)


@pytest.mark.parametrize(("error", "remedy", "title"), ERRORS)
def test_an_error_is_told_in_the_language_of_the_page(
    error: KefuError, remedy: str, title: str
) -> None:
    chinese, english = (words.Say(x).picture("error", error) for x in words.LANGUAGES)
    assert remedy in chinese and title in chinese
    assert error.fix in chinese and error.fix in english  # it names the place
    assert not re.search(r"[\u4e00-\u9fff]", english)


def test_a_file_without_questions_is_told_in_chinese(tmp_path: Path) -> None:
    file = tmp_path / "stock.csv"
    file.write_text("sku,price\nA1,30\nA2,40\n", encoding="utf-8")
    with pytest.raises(FaqError) as wrong:
        read(file)
    assert "指定欄位" in words.Say("zh-TW").picture("error", wrong.value)


def test_an_upload_is_gone_once_it_was_read_also_where_it_cannot_be(workspace: Workspace) -> None:
    good, bad = workspace.root / "good.csv", workspace.root / "bad.xlsx"
    good.write_text(FAULTY, encoding="utf-8")
    bad.write_bytes(b"PK\x03\x04 cut off")
    assert len(read(jobs.draft_of(workspace, good, discard=True)).pairs) > 1
    with pytest.raises(FaqError):
        jobs.draft_of(workspace, bad, discard=True)
    assert not good.exists() and not bad.exists()


def test_advice_is_told_with_its_rows_in_the_language_of_the_page() -> None:
    case = Case("可以停車嗎？", Origin("店.xlsx", 5), "Asked: “車停哪”.", 2)
    cause = Cause("wordings", 2, "One question has 1 wording.", "Write `more`.", (case,), (), True)
    made = Advice("first", 20, 18, 0, 2, "2 missed.", (cause,))
    chinese, english = (words.Say(x).picture("advised", made) for x in words.LANGUAGES)
    for text in ("2 題沒答好", "第 5 列", "可以停車嗎？", "問法太少"):
        assert text in chinese
    assert "One question has 1 wording. Write <code>more</code>." in english
    assert "Write" not in chinese and "可以停車嗎？" in english
    well = replace(made, causes=(), right=20)
    assert "都答對了" in words.Say("zh-TW").picture("advised", well)


class Hears(BaseHTTPRequestHandler):
    """A model that always offers the same wording."""

    def do_POST(self) -> None:
        said = {"choices": [{"message": {"content": '["車子要停在哪邊呀"]'}}]}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def test_wordings_come_from_the_model_that_the_settings_name(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEFU_API_KEY", "secret")
    with HTTPServer(("127.0.0.1", 0), Hears) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/v1"
        (workspace.root / "kefu.toml").write_text(f'reword_endpoint = "{address}"\n')
        file = laid(workspace, "問題,答案\n可以停車嗎？,地下二樓\n")
        made = jobs.proposals(read(file), workspace.settings(), 5)
        server.shutdown()
    assert "車子要停在哪邊呀" in [r.wording for r in made]


def test_the_remedies_are_those_of_the_chinese_guide() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_remedies.py"))["text"]()
    assert (STUDIO / "data" / "remedies.json").read_text("utf-8") == made, "run `make docs`"


def test_what_a_file_holds_is_no_markup_in_an_error() -> None:
    error = FaqError("<img src=x onerror=alert(1)>.csv is empty.", "`<b>`")
    for language in words.LANGUAGES:
        shown = words.Say(language).picture("error", error)
        assert "<img" not in shown and "<b>`" not in shown and "&lt;img" in shown


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


def test_a_page_opens_in_an_empty_folder_and_where_something_was_trained(
    workspace: Workspace,
) -> None:
    def opened() -> dict[str, object]:
        with gr.Blocks() as blocks:
            steps.lay_out(Page(workspace, "zh-TW", blocks.load))
        load = [f for f in blocks.fns.values() if "load" in {event for _, event in f.targets}]
        shown: dict[str, object] = {}
        for one in load:
            parts = one.fn() if len(one.outputs) > 1 else [one.fn()]
            shown |= dict(zip((str(o.elem_id) for o in one.outputs), parts, strict=True))
        return shown

    shown = opened()
    assert "還沒有訓練" in str(shown["live"]) and shown["run"].value is None  # type: ignore[attr-defined]
    for name in ("first", "second"):
        folder = workspace.runs_folder / name
        (folder / "adapter").mkdir(parents=True)
        for file in ("plan.json", "run.json"):
            (folder / file).write_text("{}")
    assert shown["out"] == opened()["out"]
    assert opened()["run"].value == "second"  # type: ignore[attr-defined]


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
    assert (workspace.root / ".studio" / "log.txt").stat().st_size >= background.ROOM
    wrong = background.complaint(workspace)
    assert wrong is not None and "There is no run" in wrong.what and wrong.anchor == "runerror"
    assert "kefu runs" in words.Say("zh-TW").picture("wrong", wrong)


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
