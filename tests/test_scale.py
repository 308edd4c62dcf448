"""Many runs at once, on a Ray cluster of two nodes on this machine: a sweep and a folder of FAQs,
with a worker killed in the middle of each."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import tiny
from kefu import faq as faqs
from kefu import jobs, scale
from kefu.bot import Bot
from kefu.errors import RunError, SettingsError
from kefu.plan import probe
from kefu.records import Origin, Pair
from kefu.scale.cluster import STORE, for_workers
from kefu.settings import Settings
from kefu.workspace import RunFolder, Workspace

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Before Ray is imported: else it looks for a cluster at 127.0.0.1 under the machine's own address.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # else a busy machine starves them
pytest.importorskip("ray", reason="needs ray: pip install 'kefu[scale]'")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two nodes of one core each, on 127.0.0.1, ended whatever comes of the tests."""
    os.environ["KEFU_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": STORE, "node_ip_address": "127.0.0.1"}
    made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        made.add_node(**node)
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR", **for_workers())
        yield
    finally:
        ray.shutdown()
        made.shutdown()
        del os.environ["KEFU_CACHE"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("base") / "tiny")


class Killer(threading.Thread):
    """Kills the process that trains one of `folder`'s runs, once it has written a checkpoint, or
    its first steps."""

    def __init__(self, folder: Path, *, early: bool = False) -> None:
        super().__init__(daemon=True)
        self.folder, self.killed, self.stop = folder, "", threading.Event()
        self.sign = "steps.jsonl" if early else "checkpoints/checkpoint-*/manifest.json"

    def run(self) -> None:
        while not self.stop.wait(0.02):
            for run in {self.folder / p.relative_to(self.folder).parts[0] for p in self._signs()}:
                for pid in holders(run / ".lock"):
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                        self.killed = run.name
                        return

    def _signs(self) -> list[Path]:
        return list(self.folder.glob(f"*/{self.sign}"))


def holders(lock: Path) -> list[int]:
    """Children of this test's cluster that have a run's lock open."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(Path(f.path) == lock for f in process.open_files()):
                found.append(process.pid)
    return found


def test_a_sweep_of_eight_trials_outlives_a_worker_and_repeats_nothing(
    cluster: None, base: Path, tmp_path: Path
) -> None:
    shop = Workspace(tmp_path)
    settings = Settings(base=str(base), precision="fp32", hand_over=tiny.HAND_OVER, reader="none")
    killer = Killer(tmp_path / "sweeps" / "found" / "runs")
    killer.start()
    told: list[scale.Trial] = []
    made = scale.sweep(shop, settings, tiny.FAQ, trials=8, steps=12, name="found", tell=told.append)
    killer.stop.set()
    assert killer.killed.startswith("trial-")
    assert [t.name for t in made.trials] == [f"trial-{i}" for i in range(8)]
    assert all(t.each and not t.fault for t in made.trials)
    killed = next(t for t in made.trials if t.name == killer.killed)
    assert killed.part >= 1 and {t.part for t in told} == {1, 2, 4}
    # The first is the plan's own, and the others differ from it.
    own = jobs.prepare(tiny.FAQ, settings, probe("cpu"), steps=12).plan
    assert (made.trials[0].rank, made.trials[0].learning_rate) == (
        own.rank.value,
        own.learning_rate.value,
    )
    assert len({(t.rank, t.learning_rate, t.wordings) for t in made.trials}) == 8
    ended = [t for t in made.trials if not t.whole]
    assert ended and not any(RunFolder(made.folder / "runs" / t.name).finished for t in ended)
    # The best is a run like any other: it can be asked, examined and let out.
    assert made.best.right == max(t.right for t in made.trials if t.whole)
    assert made.run.path == tmp_path / "runs" / "found" and made.run.run().name == "found"
    assert made.run.plan().learning_rate.value == made.best.learning_rate
    assert Bot.open(made.run).answer(tiny.ROWS[0][0]).text == tiny.ROWS[0][1]
    table = (made.folder / "table.md").read_text(encoding="utf-8")
    assert table.count("| trial-") + table.count("| **trial-") == 8
    assert (made.folder / "sweep.svg").read_text(encoding="utf-8").count("<title>") == 8
    # Said again, nothing is trained again.
    before = [run.file("run.json").stat().st_mtime_ns for run in shop.runs()]
    again = scale.resume_sweep(shop, "found")
    assert again.trials == made.trials and again.best == made.best
    assert before == [run.file("run.json").stat().st_mtime_ns for run in shop.runs()]


def test_many_workers_report_what_one_process_does(
    cluster: None, base: Path, tmp_path: Path
) -> None:
    shop = Workspace(tmp_path)
    settings = Settings(base=str(base), precision="fp32", hand_over=tiny.HAND_OVER, reader="none")
    run = jobs.take_up(
        shop, "one", lambda: jobs.prepare(tiny.FAQ, settings, probe("cpu"), steps=12)
    )
    jobs.settle(run, 0.5)
    alone = jobs.evaluate(run)
    shutil.rmtree(run.file("exam"))
    many = scale.evaluate(run)
    assert len(many.verdicts) > 64 and many.exam_digest == alone.exam_digest
    assert [(c.name, c.tallies) for c in many.candidates] == [
        (c.name, c.tallies) for c in alone.candidates
    ]
    for one, other in zip(alone.verdicts, many.verdicts, strict=True):
        assert (one.reply.text, one.mark) == (other.reply.text, other.mark)
        assert one.reply.confidence == pytest.approx(other.reply.confidence, abs=1e-4)


def test_a_folder_of_four_faqs_becomes_four_runs_on_one_base(
    cluster: None, base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shops"
    folder.mkdir()
    for shop in ("anna", "ben", "cleo", "dora"):
        pairs = [replace(p, answer=f"{shop}：{p.answer}") for p in tiny.FAQ.pairs]
        faqs.write(pairs, folder / f"{shop}.csv")
    faqs.write([Pair("？", "", Origin("x.csv", 2))], folder / "empty.csv")
    here = Workspace(tmp_path)
    settings = Settings(base=str(base), precision="fp32", hand_over=tiny.HAND_OVER, reader="none")
    killer = Killer(tmp_path / "runs", early=True)  # so short a run writes none before its end
    killer.start()
    made = scale.matrix(here, settings, folder, steps=60)
    killer.stop.set()
    assert killer.killed in ("anna", "ben", "cleo", "dora")
    assert [(m.faq, bool(m.fault)) for m in made] == [
        ("anna.csv", False), ("ben.csv", False), ("cleo.csv", False), ("dora.csv", False),
        ("empty.csv", True),
    ]  # fmt: skip
    for one in made[:4]:
        run = here.run(one.name)
        assert run.finished and run.plan().base.value == str(base)
        assert [s.step for s in run.steps()] == list(range(1, 61))
        assert Bot.open(run).answer(tiny.ROWS[0][0]).text.startswith(f"{one.name}：")
    at = [here.run(m.name).file("run.json").stat().st_mtime_ns for m in made[:4]]
    assert [m.name for m in scale.matrix(here, settings, folder, steps=60)[:4]] == [
        m.name for m in made[:4]
    ]
    assert at == [here.run(m.name).file("run.json").stat().st_mtime_ns for m in made[:4]]


def test_a_look_in_the_middle_changes_nothing(base: Path, tmp_path: Path) -> None:
    from kefu.bot import over
    from kefu.train import Look, train

    plan = tiny.plan(base, steps=6)
    seen = []

    def see(step: int, model: object, prompt: object, device: str) -> None:
        bot = over(folders[1], model, prompt, device)  # type: ignore[arg-type]
        seen.append((step, sum(s.right for s in bot.evidence(tiny.HELD_OUT))))

    folders = [tiny.run_folder(tmp_path / name) for name in ("blind", "seen")]
    for folder, look in zip(folders, (None, Look((2, 3), see)), strict=True):
        train(plan, tiny.EXAMPLES, folder, look=look)
    assert [step for step, _ in seen] == [2, 3]
    one, other = ([s.loss for s in folder.steps()] for folder in folders)
    assert one == other
    mine, theirs = (tiny.weights(folder) for folder in folders)
    assert all(bool((mine[name] == theirs[name]).all()) for name in mine)


def test_what_a_sweep_cannot_do_is_said_before_ray_is_started(tmp_path: Path) -> None:
    shop = Workspace(tmp_path)
    with pytest.raises(SettingsError, match="tutorial"):
        scale.sweep(shop, Settings(recipe="tutorial"), tiny.FAQ)
    with pytest.raises(RunError, match="no sweep 'gone'"):
        scale.resume_sweep(shop, "gone")
