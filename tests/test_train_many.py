"""One training in two processes over gloo: the same steps as in one; stops, and goes on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from kefu import faq as faqs
from kefu import jobs
from kefu.plan import probe
from kefu.settings import Settings
from kefu.workspace import RunFolder, Workspace

DIES = """
import os, signal
import torch
from kefu import cli
from kefu.train import lean
from kefu.train.many import Cards
from kefu.train.session import Session
kept, done = Cards.sum_up, []
def sum_up(self, *said):
    done.append(1)
    if self.rank == 1 and len(done) > 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return kept(self, *said)
Cards.sum_up = sum_up
loss, passes = lean.summed_loss, []
def summed_loss(*said):
    passes.append(1)
    if os.environ["RANK"] == "1" and len(passes) == 6:
        raise torch.OutOfMemoryError("CUDA out of memory.")
    return loss(*said)
lean.summed_loss = summed_loss
Session.save_after = lambda self, step: step == 2
cli.main()
"""


def python(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=400
    )


def same(one: RunFolder, other: RunFolder) -> None:
    import torch

    first, second = list(one.steps()), list(other.steps())
    assert [s.step for s in first] == [s.step for s in second] == list(range(1, 7))
    assert [s.loss for s in first] == pytest.approx([s.loss for s in second], abs=1e-4)
    mine, theirs = tiny.weights(one), tiny.weights(other)
    assert all(float(t.abs().max()) > 1e-5 for n, t in mine.items() if "lora_B" in n)
    assert all(torch.allclose(mine[k], theirs[k], rtol=0, atol=2e-4) for k in mine)


@pytest.mark.timeout(1200)  # many processes, each slow to start on a busy machine
def test_two_processes_train_one_bot_and_when_one_is_killed_one_or_two_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEFU_CACHE", str(tmp_path / "cache"))
    base = tiny.base(tmp_path / "base")
    faqs.write(tiny.FAQ.pairs, tmp_path / "shop.csv")
    (tmp_path / "dies.py").write_text(DIES, encoding="utf-8")
    # The command under torchrun: its second process is short of memory in the second step, and
    # killed in the fourth.
    done = python(
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "dies.py",
        "-C", "shop", "train", "../shop.csv", "--base", base, "--reader", "none",
        "--precision", "fp32", "--steps", 6, "--name", "two", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.count("error:") == 1 and "cannot go on alone" in done.stderr
    assert re.findall(r"step (\d)/6", done.stdout) == list("123")
    shop = Workspace(tmp_path / "shop")
    assert [run.name for run in shop.runs()] == ["two"] and not shop.run("two").finished
    notes = {step.step: step.note for step in shop.run("two").steps() if step.note}
    assert list(notes) == [2] and "Memory was short in step 2: goes on with 1 × 8" in notes[2]
    alone = shop.runs_folder / "alone"
    shutil.copytree(shop.run("two").path, alone)

    # Two go on, each with half of the base, by the memory that was found.
    assert shop.run("two").plan().contrast.value
    done = python(
        "-m", "kefu", "-C", "shop", "train", "--resume", "two", "--gpus", 2, "--shard", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"step (\d)/6", done.stdout) == list("3456")
    assert done.stdout.count("trainable params") == done.stdout.count("run two: 6 steps") == 1
    assert done.stderr == ""
    assert done.stdout.count("as memory was short here before") == 1
    held, whole = re.findall(r"holds ([\d,]+) of the ([\d,]+) values", done.stdout)[0]
    assert int(held.replace(",", "")) * 2 == int(whole.replace(",", "")) > 10_000

    jobs.resume(shop, "alone")
    settings = Settings(base=str(base), precision="fp32", reader="none")
    prepared = jobs.prepare(faqs.read(tmp_path / "shop.csv"), settings, probe("cpu"), steps=6)
    jobs.train(shop, prepared, name="never-two")
    same(shop.run("never-two"), shop.run("two"))
    same(shop.run("never-two"), shop.run("alone"))


def test_a_process_that_is_killed_under_gpus_ends_the_command_with_the_way_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kefu.errors import RunError
    from kefu.train import launch

    (tmp_path / "kefu.py").write_text(
        "import os, signal, time\n"
        "if os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
        "time.sleep(60)\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)  # there `python -m kefu` is that file
    with pytest.raises(RunError, match=r"Process 2 of 2 .* killed by signal 9.*--resume"):
        launch(2, [])
    assert "Traceback" not in capfd.readouterr().err


def test_a_share_is_everybody_s_and_of_like_size() -> None:
    from kefu.train.many import Cards

    lengths = [9, 3, 7, 1, 8, 2, 4, 4, 6, 5]
    parts = Cards(0, 3).shares(range(10), lengths)
    assert parts == Cards(2, 3).shares(range(10), lengths)
    assert sorted(row for part in parts for row in part) == list(range(10))
    tokens = [sum(lengths[row] for row in part) for part in parts]
    assert max(tokens) - min(tokens) <= 2
    assert Cards().shares([4, 2], lengths) == [[4, 2]]
