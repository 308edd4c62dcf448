"""One training in two processes over gloo: the same steps as in one; stops, and goes on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import tiny
from kefu import faq as faqs
from kefu import jobs
from kefu.plan import probe
from kefu.records import Choice, Plan
from kefu.settings import Settings
from kefu.workspace import RunFolder, Workspace, write_json

DIES = """
import os, signal
from kefu import cli
from kefu.train.many import Cards
from kefu.train.session import Session
kept, done = Cards.sum_up, []
def sum_up(self, *said):
    done.append(1)
    if self.rank == 1 and len(done) > 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return kept(self, *said)
Cards.sum_up = sum_up
Session.save_after = lambda self, step: step == 2
cli.main()
"""


def python(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def same(one: RunFolder, other: RunFolder) -> None:
    import torch

    first, second = list(one.steps()), list(other.steps())
    assert [s.step for s in first] == [s.step for s in second] == list(range(1, 7))
    assert [s.loss for s in first] == pytest.approx([s.loss for s in second], abs=1e-4)
    mine, theirs = tiny.weights(one), tiny.weights(other)
    assert all(float(t.abs().max()) > 1e-5 for n, t in mine.items() if "lora_B" in n)
    assert all(torch.allclose(mine[k], theirs[k], rtol=0, atol=2e-4) for k in mine)


def test_two_processes_train_one_bot_and_when_one_is_killed_one_or_two_go_on(
    tmp_path: Path,
) -> None:
    base = tiny.base(tmp_path / "base")
    faqs.write(tiny.FAQ.pairs, tmp_path / "shop.csv")
    (tmp_path / "dies.py").write_text(DIES, encoding="utf-8")
    # The command under torchrun: its second process is killed in the fourth step.
    done = python(
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "dies.py",
        "-C", "shop", "train", "../shop.csv", "--base", base, "--precision", "fp32", "--steps", 6,
        "--name", "two", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.count("error:") == 1 and "cannot go on alone" in done.stderr
    assert re.findall(r"step (\d)/6", done.stdout) == list("123")
    shop = Workspace(tmp_path / "shop")
    assert [run.name for run in shop.runs()] == ["two"] and not shop.run("two").finished
    alone = shop.runs_folder / "alone"
    shutil.copytree(shop.run("two").path, alone)

    # Two go on, in smaller portions, started by the command itself.
    plan = shop.run("two").plan()
    assert plan.effective_batch == 8 and plan.contrast.value
    portions = {"micro_batch": Choice(2, "The test's."), "accumulation": Choice(4, "The test's.")}
    write_json(shop.run("two").file("plan.json"), replace(plan, **portions), Plan)
    done = python("-m", "kefu", "-C", "shop", "train", "--resume", "two", "--gpus", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"step (\d)/6", done.stdout) == list("3456")
    assert done.stdout.count("trainable params") == done.stdout.count("run two: 6 steps") == 1
    assert done.stderr == ""

    jobs.resume(shop, "alone")
    settings = Settings(base=str(base), precision="fp32")
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
    parts = [Cards(rank, 3).share(range(10), lengths) for rank in range(3)]
    assert sorted(row for part in parts for row in part) == list(range(10))
    tokens = [sum(lengths[row] for row in part) for part in parts]
    assert max(tokens) - min(tokens) <= 2
    assert Cards().share([4, 2], lengths) == [4, 2]
