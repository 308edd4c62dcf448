"""An archive opens elsewhere, says nothing of the machine it was made on, and is whole or not."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import export_runs as tiny
from kefu.errors import KefuError, RunError, SettingsError
from kefu.export import FORMS, export
from kefu.export import forms as rooms
from kefu.records import Candidate, Choice, Report, Tally
from kefu.workspace import RunFolder, write_json

ALONE = """
import json, sys
base, adapter = sys.argv[1:]
from pathlib import Path
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
import torch
path = Path(adapter, "adapter_config.json")
path.write_text(path.read_text().replace('"tiny-base"', json.dumps(base)))
model = AutoPeftModelForCausalLM.from_pretrained(adapter, dtype=torch.float32)
words = AutoTokenizer.from_pretrained(adapter)
text = words.apply_chat_template([{"role": "user", "content": "運費多少？"}], tokenize=False,
                                 add_generation_prompt=True)
ids = words(text, add_special_tokens=False, return_tensors="pt")
logits = model(**ids).logits[0, -1]
assert not any(name.split(".")[0] == "kefu" for name in sys.modules)
print(json.dumps([ids["input_ids"][0].tolist(), logits.tolist()]))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFolder]:
    root = tmp_path_factory.mktemp("a-machine-of-its-own")
    base = tiny.base(root / "tiny-base", "llama")
    return base, tiny.run(root / "runs" / "shop-1", base)


def unpacked(archive: Path, to: Path) -> Path:
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        opened.extractall(to)
    (top,) = to.iterdir()
    return top


def test_an_adapter_from_an_archive_answers_in_plain_peft(
    made: tuple[Path, RunFolder], tmp_path: Path
) -> None:
    base, run = made
    export(run, "zip", tmp_path / "shop.zip")
    top = unpacked(tmp_path / "shop.zip", tmp_path / "elsewhere")
    out = subprocess.run(
        [sys.executable, "-c", ALONE, str(base), str(top / "adapter")],
        capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    ids, logits = json.loads(out.stdout.splitlines()[-1])
    words = AutoTokenizer.from_pretrained(str(run.adapter))
    assert words.decode(ids) == "<s>問：運費多少？\n答："
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(run.adapter)
    )
    ours = model(torch.tensor([ids])).logits[0, -1]
    assert torch.equal(torch.tensor(logits), ours.detach())


def test_two_archives_of_a_run_are_the_same_bytes(
    made: tuple[Path, RunFolder], tmp_path: Path
) -> None:
    _, run = made
    one = export(run, "zip", tmp_path / "one.zip")
    two = export(run, "zip", tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert one.files[0].sha256 == two.files[0].sha256
    digest = hashlib.sha256((tmp_path / "one.zip").read_bytes()).hexdigest()
    assert (one.files[0].sha256, one.files[0].name) == (digest, "one.zip")


@pytest.mark.parametrize("rows", [False, True])
def test_an_archive_names_no_place_of_this_machine(
    made: tuple[Path, RunFolder], tmp_path: Path, rows: bool
) -> None:
    base, run = made
    export(run, "zip", tmp_path / "shop.zip", rows=rows)
    with zipfile.ZipFile(tmp_path / "shop.zip") as opened:
        for name in opened.namelist():
            held = opened.read(name)
            for place in (base.parent, Path.home(), tmp_path.parent):
                assert str(place).encode() not in held, name


def test_customers_rows_leave_only_when_asked(made: tuple[Path, RunFolder], tmp_path: Path) -> None:
    _, run = made
    export(run, "zip", tmp_path / "without.zip")
    export(run, "zip", tmp_path / "with.zip", rows=True)
    without = zipfile.ZipFile(tmp_path / "without.zip").namelist()
    with_rows = zipfile.ZipFile(tmp_path / "with.zip").namelist()
    assert set(with_rows) - set(without) == {"shop-1/examples.jsonl", "shop-1/faq.json"}
    digest = zipfile.ZipFile(tmp_path / "without.zip").read("shop-1/examples.jsonl.sha256")
    rows = hashlib.sha256(run.file("examples.jsonl").read_bytes()).hexdigest()
    assert digest.decode().startswith(rows)


def test_an_archive_opens_as_a_run_again(made: tuple[Path, RunFolder], tmp_path: Path) -> None:
    _, run = made
    export(run, "zip", tmp_path / "shop.zip", rows=True)
    again = RunFolder(unpacked(tmp_path / "shop.zip", tmp_path / "elsewhere"))
    assert again.finished
    assert again.plan().base.value == "tiny-base"
    assert again.run().last_loss == run.run().last_loss


@pytest.fixture
def examined(made: tuple[Path, RunFolder]) -> Iterator[RunFolder]:
    """The run with a report for as long as a test takes."""
    run = made[1]
    tally = Tally("known", 20, 17, 1, 2, 0, 0, 0)
    report = Report(
        run.name, "e" * 64, "f" * 64, "2026-01-02T03:04:05Z",
        (Candidate(run.name, (tally,), tally),), (), "Fine-tuning earned its keep.",
    )  # fmt: skip
    write_json(run.file("report.json"), report, Report)
    yield run
    run.file("report.json").unlink()


def test_the_card_says_who_read_for_the_run(examined: RunFolder) -> None:
    from kefu.export import card
    from kefu.export.source import open_run

    source = open_run(examined)
    alone = card.card(source, "", ())
    read_for = replace(source.plan, reader=Choice("gemma-3-270m", "The test's."))
    told = card.card(replace(source, plan=read_for), "", ())
    assert "gemma" not in alone
    assert "`gemma-3-270m` compared the questions" in told and "Gemma Terms of Use" in told
    large = Choice("Qwen/Qwen2.5-Coder-1.5B-Instruct", "The test's.")
    told = card.card(replace(source, plan=replace(source.plan, reranker=large)), "", ())
    assert f"`{large.value}` read the rows" in told and "compared" not in told


def test_the_card_says_what_one_must_know(
    made: tuple[Path, RunFolder], examined: RunFolder, tmp_path: Path
) -> None:
    base, run = made
    (base / "LICENSE").write_text("Ours alone.")
    try:
        export(run, "adapter", tmp_path / "adapter")
    finally:
        (base / "LICENSE").unlink()
    card = (tmp_path / "adapter" / "README.md").read_text(encoding="utf-8")
    for said in (
        "| 20 | 17 | 1 | 2 |",
        "Fine-tuning earned its keep.",
        run.plan().faq_digest,
        run.plan().hand_over.value,
        "<s>問：",
        "`<|endoftext|>` (id 0)",
        "eos_token_id=0",
        "from peft import PeftModel",
    ):
        assert said in card
    assert (tmp_path / "adapter" / "BASE-LICENSE").read_text() == "Ours alone."
    assert "PEFT's own card" not in card


def test_another_engine_needs_no_persona_and_does_not_start_to_think(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base", "qwen3", chat=True)
    persona = 'You are "小美",\nof the shop.'
    run = tiny.run(tmp_path / "run", base, template="chat", persona=persona)
    export(run, "adapter", tmp_path / "out")
    theirs = AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    text = theirs.apply_chat_template(
        [{"role": "user", "content": "Hi?"}], tokenize=False, add_generation_prompt=True
    )
    assert text == (
        f"<|im_start|>system\n{persona}<|im_end|>\n<|im_start|>user\nHi?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "`<|im_end|>` (id 2)" in card


def test_what_stands_there_is_not_overwritten(made: tuple[Path, RunFolder], tmp_path: Path) -> None:
    _, run = made
    (tmp_path / "shop.zip").write_text("mine")
    with pytest.raises(RunError, match="exists already"):
        export(run, "zip", tmp_path / "shop.zip")
    assert (tmp_path / "shop.zip").read_text() == "mine"
    export(run, "zip", tmp_path / "shop.zip", force=True)
    assert zipfile.is_zipfile(tmp_path / "shop.zip")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("mine")
    with pytest.raises(RunError, match="no earlier export"):
        export(run, "adapter", tmp_path / "home", force=True)
    export(run, "adapter", tmp_path / "out")
    (tmp_path / "out" / "stale").write_text("")
    export(run, "adapter", tmp_path / "out", force=True)
    assert not (tmp_path / "out" / "stale").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "out", "shop.zip"]


@pytest.mark.parametrize("number", [28, 13])
def test_a_full_or_forbidden_disk_leaves_nothing_half_written(
    made: tuple[Path, RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    _, run = made
    (tmp_path / "shop.zip").write_text("the last good one")

    def fails(*_: object) -> None:
        raise OSError(number, "the disk says no")

    monkeypatch.setattr(rooms.shutil, "copyfile", fails)
    with pytest.raises(KefuError, match="cannot be written"):
        export(run, "zip", tmp_path / "shop.zip", force=True)
    assert [p.name for p in tmp_path.iterdir()] == ["shop.zip"]
    assert (tmp_path / "shop.zip").read_text() == "the last good one"


def test_a_run_that_is_not_finished_is_refused(
    made: tuple[Path, RunFolder], tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="not finished"):
        export(RunFolder(tmp_path), "zip", tmp_path / "shop.zip")
    with pytest.raises(SettingsError, match="no export form"):
        export(made[1], "tar", tmp_path / "shop.tar")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="no option `row`"):
        export(made[1], "zip", tmp_path / "shop.zip", row=True)
    assert "zip" in FORMS
    assert list(tmp_path.iterdir()) == []
