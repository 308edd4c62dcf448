"""The commands as a person or a script meets them: helped, plain in a pipe, no traceback."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import tiny
from kefu.cli import cli, main
from kefu.workspace import RunFolder

COMMANDS = list(cli.commands)
HEAVY = ("torch", "transformers", "peft", "trl", "datasets", "bitsandbytes")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


class Kefu:
    """Runs commands in this process, in a folder of its own, with their output caught."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *said: str) -> Done:
        self.monkeypatch.setattr(sys, "argv", ["kefu", *said])
        self.capsys.readouterr()
        try:
            main()
            code: Any = 0
        except SystemExit as end:
            code = end.code or 0
        caught = self.capsys.readouterr()
        return Done(code, caught.out, caught.err)


@pytest.fixture
def kefu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Kefu:
    monkeypatch.chdir(tmp_path)
    return Kefu(capsys, monkeypatch)


def process(*said: str, cwd: Path) -> Done:
    """The same as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "kefu", *said], capture_output=True, text=True, cwd=cwd
    )
    return Done(done.returncode, done.stdout, done.stderr)


def refused(done: Done, *words: str) -> None:
    """Exit code 2, what is wrong and what to do, in sentences; and no traceback."""
    assert done.code == 2, done
    assert "Traceback" not in done.err
    what, remedy, more = done.err.strip().splitlines()[-3:]
    assert what.startswith("error: ") and what.endswith(".")
    assert remedy.startswith("  remedy: ") and len(remedy) > 20
    assert more.startswith("  more: docs/guides/troubleshooting")
    for word in words:
        assert word in done.err


# --- help, and what it costs ------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(kefu: Kefu, command: str) -> None:
    done = kefu(command, "--help")
    assert done.code == 0
    assert "Example:" in done.out and f"kefu {command}" in done.out.split("Example:")[1]
    assert all(option.strip() for option in done.out.split("Options:")[1:])


def test_the_list_of_commands_is_in_the_order_of_the_work(kefu: Kefu) -> None:
    text = kefu("--help").out
    places = [
        text.index(f"  {name} ") for name in ("init", "check", "plan", "train", "ask", "eval")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "said",
    [
        ["--help"],
        ["init"],
        pytest.param(["check"], marks=pytest.mark.slow),
        pytest.param(["plan"], marks=pytest.mark.slow),
    ],
    ids=lambda said: said[0].strip("-"),
)
def test_what_needs_no_model_never_imports_one(tmp_path: Path, said: list[str]) -> None:
    code = (
        "import sys\nfrom kefu.cli import main\nsys.argv = ['kefu', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"heavy = [n for n in {HEAVY!r} if n in sys.modules]\nassert not heavy, heavy\n"
    )
    if said[0] in ("check", "plan"):
        from kefu.jobs import init

        init(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code, *said], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


# --- from the file to a plan --------------------------------------------------------


@pytest.mark.slow
def test_init_puts_a_sample_that_checks_clean_and_keeps_what_is_there(kefu: Kefu) -> None:
    assert kefu("init", "店 鋪").code == 0
    place = Path("店 鋪/faq.csv")
    place.write_text(place.read_text() + "還有嗎？,有的，歡迎來店。,,,\n")
    before = place.read_text()
    assert "everything is here" in kefu("init", "店 鋪").out
    assert place.read_text() == before
    done = kefu("-C", "店 鋪", "check")
    assert done.code == 0
    assert "0 stop" in done.out


@pytest.mark.slow
def test_pipes_get_plain_lines_and_scripts_get_json(kefu: Kefu) -> None:
    made = json.loads(kefu("init", "--json").out)
    assert [Path(p).name for p in made] == ["kefu.toml", "faq.csv"]
    for said in (["check"], ["plan"], ["runs"], ["plan", "--machine", "t4"]):
        plain = kefu(*said)
        assert plain.code == 0 and plain.out
        assert "\x1b" not in plain.out + plain.err and "\r" not in plain.out
        json.loads(kefu(*said, "--json").out)
    plan = json.loads(kefu("plan", "--json", "--base", "gemma-3-270m").out)
    assert all({"value", "because"} <= set(plan[k]) for k in ("steps", "rank", "learning_rate"))
    assert json.loads(kefu("check", "--json").out)["pairs"] == 12
    assert json.loads(kefu("runs", "--json").out) == []


@pytest.mark.slow
def test_a_real_pipe_carries_utf8_without_escape_codes(tmp_path: Path) -> None:
    assert process("init", cwd=tmp_path).code == 0
    done = process("check", cwd=tmp_path)
    assert done.code == 0 and "\x1b" not in done.out
    (tmp_path / "bad.csv").write_text("question,answer\n怎麼退？,\n怎麼換？,到店換。\n")
    done = process("check", "bad.csv", cwd=tmp_path)
    assert done.code == 1
    assert "怎麼退" in done.out and "\x1b" not in done.out


@pytest.mark.slow
def test_a_finding_that_stops_makes_the_exit_code_1(kefu: Kefu) -> None:
    Path("bad.csv").write_text("question,answer\n怎麼退？,\n怎麼換？,到店換。\n")
    done = kefu("check", "bad.csv")
    assert done.code == 1
    assert "stop" in done.out and "row 2" in done.out
    told = json.loads(kefu("check", "bad.csv", "--json").out)
    assert told["findings"][0]["level"] == "stop"
    assert kefu("train", "bad.csv", "--name", "first").code == 1
    assert not Path("runs").exists()


@pytest.mark.slow
def test_the_command_line_overrides_the_settings(kefu: Kefu) -> None:
    kefu("init")
    plan = json.loads(kefu("plan", "--json", "--seed", "7", "--thorough", "quick").out)
    usual = json.loads(kefu("plan", "--json").out)
    assert plan["seed"]["value"] == 7
    assert plan["steps"]["value"] < usual["steps"]["value"]


# --- what bad input gets --------------------------------------------------------------


@cache
def bad_files() -> dict[str, bytes]:
    def workbook() -> bytes:
        from openpyxl import Workbook

        made = Workbook()
        made.active.append(["question", "answer"])
        made.active.append(["幾點開門？", "十點。"])
        out = io.BytesIO()
        made.save(out)
        return out.getvalue()

    def encrypted() -> bytes:
        from msoffcrypto.format.ooxml import OOXMLFile

        out = io.BytesIO()
        OOXMLFile(io.BytesIO(workbook())).encrypt("secret", out)
        return out.getvalue()

    return {
        "empty.csv": b"",
        "blank.csv": b"\n \n",
        "head.csv": b"question,answer\n",
        "binary.csv": bytes(range(256)) * 20,
        "picture.xlsx": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "locked.xlsx": encrypted(),
        "torn.xlsx": workbook()[:-400],
        "torn.json": b'[{"question": "a", "answer"',
        "columns.csv": "顏色,尺寸\n紅,大\n藍,小\n".encode(),
        "list.json": b"[1, 2, 3]",
    }


@pytest.mark.parametrize("command", ["check", "train"])
@pytest.mark.parametrize("name", sorted(bad_files()))
def test_a_file_that_is_no_faq_is_a_sentence(kefu: Kefu, name: str, command: str) -> None:
    Path(name).write_bytes(bad_files()[name])
    done = kefu(command, name)
    refused(done, name)
    if name == "locked.xlsx":
        assert "password" in done.err
    assert not Path("runs").exists()


def test_a_file_that_is_not_there_is_a_sentence(kefu: Kefu) -> None:
    refused(kefu("check", "no.csv"), "no.csv")
    refused(kefu("check"), "kefu init")
    refused(kefu("plan", "."))


def test_bad_settings_are_named_with_what_is_known(kefu: Kefu) -> None:
    kefu("init")
    for text, word in (
        ('bse = "auto"\n', "bse"),
        ("max_false_answers = 3\n", "max_false_answers"),
        ("seed = seven\n", "TOML"),
        ('thorough = "very"\n', "thorough"),
    ):
        Path("kefu.toml").write_text(text)
        refused(kefu("check"), "kefu.toml", word)
    Path("kefu.toml").write_bytes(b"\xff\xfe\x00")
    refused(kefu("runs", "--json") if kefu("runs").code else kefu("check"), "kefu.toml")


@pytest.mark.slow
def test_unknown_names_are_refused_with_those_that_are_known(kefu: Kefu) -> None:
    kefu("init")
    refused(kefu("plan", "--base", "gemmma"), "gemmma", "gemma-3-270m", "work offline")
    refused(kefu("train", "--base", "./nowhere"), "nowhere", "work offline")
    refused(kefu("plan", "--machine", "abacus"), "abacus", "t4")
    for said in (
        "ask --run ghost 問", "eval ghost", "export ghost", "release ghost",
        "compare ghost ghost", "train --resume ghost",
    ):  # fmt: skip
        refused(kefu(*said.split()), "ghost")
    refused(kefu("ask", "問"), "no finished run")
    refused(kefu("release", "--back"), "no earlier release")
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_base_of_a_hub_out_of_reach_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    process("init", cwd=tmp_path)
    done = process("train", "--base", "Nobody/Nothing", cwd=tmp_path)
    refused(done, "Nobody/Nothing", "gemma-3-270m", "work offline")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_run_name_that_is_taken_or_no_name_is_refused(kefu: Kefu, tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base")
    kefu("init")
    (tmp_path / "runs" / "first").mkdir(parents=True)
    refused(kefu("train", "--base", str(base), "--name", "first"), "first is taken", "--name")
    refused(kefu("train", "--base", str(base), "--name", "../up"), "cannot name a run")
    assert list((tmp_path / "runs" / "first").iterdir()) == []


def test_a_place_that_cannot_be_worked_in_is_a_sentence(kefu: Kefu) -> None:
    Path("file").write_text("x")
    refused(kefu("-C", "file", "check"), "file")
    refused(kefu("init", "file/below"), "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_a_sentence(kefu: Kefu, tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o555)
    refused(kefu("init", str(shut)), "permission")
    refused(kefu("-C", str(shut / "deeper"), "check"), "permission")


def test_an_option_that_does_not_exist_is_no_traceback(kefu: Kefu) -> None:
    done = kefu("train", "--epochs", "3")
    assert done.code == 2 and "--epochs" in done.err and "Traceback" not in done.err


# --- the whole way ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with a tiny base and two runs of it, trained by the command itself."""
    root = tmp_path_factory.mktemp("店 鋪")
    base = tiny.base(root / "base", "qwen3")
    assert process("init", cwd=root).code == 0
    for name, steps in (("first", "4"), ("第二", "5")):
        done = process(
            "train", "--base", str(base), "--reader", "none", "--precision", "fp32",
            "--steps", steps, "--wordings", "0", "--name", name, cwd=root,
        )  # fmt: skip
        assert done.code == 0, done.err
        assert "\x1b" not in done.out
        told = [line for line in done.out.splitlines() if line.startswith("step ")]
        assert [line.split()[1] for line in told] == [
            f"{n}/{steps}" for n in range(1, int(steps) + 1)
        ]
        assert "trainable params:" in done.out and f"run {name}: {steps} steps" in done.out
    yield root


@pytest.fixture
def at_shop(shop: Path, kefu: Kefu, monkeypatch: pytest.MonkeyPatch) -> Kefu:
    monkeypatch.chdir(shop)
    return kefu


@pytest.mark.slow
def test_runs_tells_of_every_run(at_shop: Kefu) -> None:
    found = json.loads(at_shop("runs", "--json").out)
    assert [r["name"] for r in found] == ["first", "第二"]
    assert [(r["state"], r["steps"]) for r in found] == [("finished", "4/4"), ("finished", "5/5")]
    assert "第二" in at_shop("runs").out


@pytest.mark.slow
def test_ask_prints_the_answer_and_nothing_else(at_shop: Kefu, shop: Path) -> None:
    reply = json.loads(at_shop("ask", "--json", "商品保固多久").out)
    plain = at_shop("ask", "商品保固多久")
    assert plain.code == 0
    said, *offers = plain.out.splitlines()
    assert said == reply["text"]
    assert bool(offers) == bool(reply["offered"])
    for number, question in enumerate(reply["offered"], 1):
        assert offers[number] == f"  {number}. {question}"  # after the line that leads in
    due = (shop / "faq.csv").read_text() + (shop / "kefu.toml").read_text()
    assert reply["text"] in due  # an answer of the FAQ, or the hand-over sentence


@pytest.mark.slow
def test_chat_answers_line_by_line(at_shop: Kefu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("保固多久\n那退貨呢\n\n不再問\n"))
    done = at_shop("chat", "--run", "first")
    assert done.code == 0
    said = [line for line in done.out.splitlines() if not line.startswith((" ", "您是不是"))]
    assert len(said) == 2


@pytest.mark.slow
def test_eval_compare_and_release_follow_each_other(at_shop: Kefu, shop: Path) -> None:
    refused(at_shop("release", "first"), "not examined", "kefu eval first")
    refused(at_shop("compare", "first", "第二"), "not examined")
    for name in ("first", "第二"):
        done = at_shop("eval", name, "--no-controls", "--json")
        assert done.code == 0, done.err
        report = json.loads(done.out)
        assert len(report["verdicts"]) == report["candidates"][0]["overall"]["asked"] > 20
        assert (shop / "runs" / name / "report.html").is_file()
    made = json.loads(at_shop("compare", "first", "第二", "--json").out)
    assert ["steps", "4", "5"] in made["changed"]
    assert made["asked"] == len(report["verdicts"])
    assert "steps: 4 -> 5" in at_shop("compare", "first", "第二").out
    # A bot of four steps knows next to nothing: what must pass is wrong, so it stays in.
    refused(at_shop("release", "first"), "first is not released", "must pass")
    assert not (shop / "releases.jsonl").exists()


@pytest.mark.slow
def test_training_goes_on_to_the_exam_in_one_command(kefu: Kefu, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    base = tiny.base(tmp_path / "base", "qwen3")
    assert kefu("init", str(shop)).code == 0
    short = ("--base", str(base), "--precision", "fp32", "--steps", "4", "--wordings", "0")
    done = kefu("-C", str(shop), "train", *short, "--name", "first", "--eval", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["report"]["run"].startswith("first") and told["threshold"] > 0
    marked = [[v["mark"] for v in told["report"]["verdicts"]]]
    shutil.rmtree(shop / "runs" / "first" / "exam")
    again = json.loads(kefu("-C", str(shop), "eval", "first", "--json").out)
    marked.append([v["mark"] for v in again["verdicts"]])
    assert marked[0] == marked[1]
    assert "--all-wordings" in kefu("train", "--eval", "--all-wordings").err


@pytest.mark.slow
def test_export_makes_an_archive_and_does_not_write_over_one(at_shop: Kefu, shop: Path) -> None:
    done = at_shop("export", "first", "--to", "zip", "--out", "out.zip")
    assert done.code == 0, done.err
    assert done.out.strip().endswith("out.zip")
    names = zipfile.ZipFile(shop / "out.zip").namelist()
    assert any(name.endswith("adapter_model.safetensors") for name in names)
    refused(at_shop("export", "first", "--out", "out.zip"), "out.zip")


@pytest.mark.slow
def test_a_taken_name_leaves_the_finished_run_as_it_is(at_shop: Kefu, shop: Path) -> None:
    adapter = shop / "runs" / "first" / "adapter" / "adapter_model.safetensors"
    before = adapter.read_bytes()
    refused(at_shop("train", "--base", "base", "--steps", "1", "--name", "first"), "taken")
    refused(at_shop("train", "--resume", "first"), "finished already")
    assert adapter.read_bytes() == before


@pytest.mark.slow
def test_a_run_that_fell_short_is_trained_again_with_what_was_too_little(
    kefu: Kefu, tmp_path: Path
) -> None:
    lines = ["question,answer,wordings", *(f"{q},{a},{'|'.join(w)}" for q, a, w in tiny.ROWS)]
    (tmp_path / "shop.csv").write_text("\n".join(lines), encoding="utf-8")
    base = str(tiny.base(tmp_path / "base", "qwen3"))
    short = ("--base", base, "--precision", "fp32", "--steps", "2", "--wordings", "0")
    assert kefu("train", "shop.csv", *short, "--name", "short").code == 0
    refused(kefu("train", "--again", "short"), "was not examined yet")
    examined = kefu("eval", "short", "--json")
    assert examined.code == 0, examined.err
    advised = kefu("advise", "short")
    assert "too little practice" in advised.out and "train --again short" in advised.out
    done = kefu("train", "--again", "short", "--precision", "fp32", "--name", "more")
    assert done.code == 0, done.err
    runs = {r["name"]: r for r in json.loads(kefu("runs", "--json").out)}
    steps = RunFolder(tmp_path / "runs" / "more").plan().steps.value
    assert steps > 20 and f"steps: 2 -> {steps}  The loss was still" in done.out
    assert "exposures: " in done.out and f"run more: {steps} steps" in done.out
    assert set(runs) == {"short", "more"}
    # The base, the FAQ and what the bot says when it hands over are those of the run before.
    plans = [RunFolder(tmp_path / "runs" / name).plan() for name in ("short", "more")]
    assert plans[0].base.value == plans[1].base.value
    assert plans[0].hand_over == plans[1].hand_over
    losses = [s.loss for s in RunFolder(tmp_path / "runs" / "more").steps()]
    assert len(losses) == steps and min(losses[-5:]) < losses[0]
    assert kefu("ask", "--run", "more", tiny.ROWS[0][0]).code == 0
    usage = kefu("train", "--again", "short", "--steps", "3")
    assert usage.code == 2 and "--again goes without" in usage.err


@pytest.mark.slow
def test_ctrl_c_keeps_the_checkpoint_and_says_how_to_go_on(shop: Path) -> None:
    import signal

    said = [sys.executable, "-m", "kefu", "train", "--base", "base", "--reader", "none",
            "--precision", "fp32", "--steps", "400", "--wordings", "0",
            "--name", "stopped"]  # fmt: skip
    child = subprocess.Popen(
        said, cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # A shell's background jobs ignore Ctrl-C, and so would the child of a test run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert child.stdout
    place = shop / "runs" / "stopped" / "checkpoints"
    for line in child.stdout:
        if line.startswith("step ") and list(place.glob("checkpoint-*")):
            break
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=120)
    refused(Done(child.returncode, out, err), "stopped after step", "kefu train --resume stopped")
    assert list(place.glob("checkpoint-*"))
    found = json.loads(process("runs", "--json", cwd=shop).out)
    assert {r["name"]: r["state"] for r in found}["stopped"] == "stopped"
    refused(process("ask", "--run", "stopped", "問", cwd=shop), "--resume stopped")
