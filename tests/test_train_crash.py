"""Training that is killed, stopped, robbed of its disk or of its newest checkpoint goes on."""

from __future__ import annotations

import multiprocessing
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

import tiny
from kefu.errors import KefuError, RunError
from kefu.records import Choice, Plan, Step
from kefu.train import Interrupted, train
from kefu.train.leaves import describe
from kefu.workspace import RunFolder

# A server that has imported all that training needs, and is forked for each process: importing
# takes seconds. It is not this process, as torch must not be forked once it has trained.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["kefu.train.lean", "peft", "transformers.models.llama"])


def go_on(path: Path, said: Path) -> None:
    """What a process of its own does: goes on with a run, and writes down how that was refused."""
    folder = RunFolder(path)
    try:
        train(folder.plan(), folder.examples(), folder, resume=True, say=lambda text: None)
    except KefuError as error:
        said.write_text(str(error), encoding="utf-8")
        sys.exit(2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    forkserver.ensure_running()  # it imports while the first tests run
    return tiny.base(tmp_path_factory.mktemp("base"))


def stop_at(number: int) -> Callable[[Step], None]:
    def on_step(step: Step) -> None:
        if step.step == number:
            raise KeyboardInterrupt

    return on_step


def same(one: RunFolder, other: RunFolder) -> bool:
    """Whether two adapters are alike in every byte."""
    name = "adapter_model.safetensors"
    return (one.adapter / name).read_bytes() == (other.adapter / name).read_bytes()


def child(folder: RunFolder) -> Any:
    """A process of its own that goes on with a run."""
    process = SERVER.Process(target=go_on, args=(folder.path, folder.path.parent / "said"))
    process.start()
    return process


def until_step(folder: RunFolder, number: int, process: Any) -> None:
    """Waits until a step is told."""
    while process.is_alive() and not any(s.step >= number for s in folder.steps()):
        time.sleep(0.01)


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """The system lets no file grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def begun(path: Path, plan: Plan, stop: int = 1) -> RunFolder:
    """A run that was stopped at a step."""
    folder = tiny.run_folder(path)
    with pytest.raises(Interrupted):
        train(plan, tiny.EXAMPLES, folder, on_step=stop_at(stop))
    return folder


@pytest.fixture(scope="module", params=["lean", "trl"])
def undisturbed(
    request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Plan, RunFolder]:
    """A plan of each engine, and the run that came of it."""
    exact: dict[str, Any] = {"contrast": 0.0, "softmax": "all", "dropout": 0.0}
    plan = tiny.plan(base, steps=9, save_every=3, rank=4, engine=request.param, **exact)
    whole = tiny.run_folder(tmp_path_factory.mktemp("whole") / "run")
    train(plan, tiny.EXAMPLES, whole)
    return plan, whole


def test_a_damaged_newest_checkpoint_is_passed_over(
    undisturbed: tuple[Plan, RunFolder], tmp_path: Path
) -> None:
    plan, whole = undisturbed
    folder = begun(tmp_path / "run", plan, stop=7)
    name = "state.pt" if plan.engine.value == "lean" else "optimizer.pt"
    file = folder.checkpoints / "checkpoint-6" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1  # one bit
    file.write_bytes(data)
    told: list[int] = []
    train(plan, tiny.EXAMPLES, folder, resume=True, on_step=lambda s: told.append(s.step))
    assert told == [4, 5, 6, 7, 8, 9]
    assert same(whole, folder)


def test_a_full_disk_while_saving_is_a_sentence_and_keeps_the_last_checkpoint(
    undisturbed: tuple[Plan, RunFolder], tmp_path: Path
) -> None:
    plan, whole = undisturbed
    folder = tiny.run_folder(tmp_path / "run")

    def fill(step: Step) -> None:
        if step.step == 4:  # room for a line of text still, and for no tensor
            resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))

    with (
        files_up_to(resource.RLIM_INFINITY),
        pytest.raises(RunError, match=r"cannot be written.*Step 3 is kept.*--resume run"),
    ):
        train(plan, tiny.EXAMPLES, folder, on_step=fill)
    train(plan, tiny.EXAMPLES, folder, resume=True)
    assert same(whole, folder)


def test_a_full_disk_at_the_very_end_is_a_sentence(base: Path, tmp_path: Path) -> None:
    plan = tiny.plan(base, steps=4, save_every=3, rank=4)
    folder = tiny.run_folder(tmp_path / "run")

    def fill(step: Step) -> None:
        if step.step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))

    with (
        files_up_to(resource.RLIM_INFINITY),
        pytest.raises(RunError, match=r"adapter cannot be written.*Step 3 is kept"),
    ):
        train(plan, tiny.EXAMPLES, folder, on_step=fill)
    assert not folder.finished


def test_checkpoints_of_another_plan_faq_or_base_are_refused(base: Path, tmp_path: Path) -> None:
    plan = tiny.plan(base, steps=6, save_every=2, rank=4, micro_batch=2, accumulation=2)
    folder = begun(tmp_path / "run", plan, stop=3)
    rate = replace(plan, learning_rate=Choice(1e-5, "Another."))
    with pytest.raises(RunError, match="are of another plan, and training cannot go on"):
        train(rate, tiny.EXAMPLES, folder, resume=True)
    assert folder.plan() == plan  # nothing was written over
    rows = (*tiny.EXAMPLES[1:], tiny.EXAMPLES[0])
    with pytest.raises(RunError, match="are of other rows of the FAQ, and"):
        train(plan, rows, folder, resume=True)
    from safetensors.torch import load_file, save_file

    file = base / "model.safetensors"
    kept = file.read_bytes()
    tensors = load_file(file)
    tensors["model.norm.weight"][0] += 1
    save_file(tensors, file, {"format": "pt"})
    try:
        with pytest.raises(RunError, match="are of another base model, and"):
            train(plan, tiny.EXAMPLES, folder, resume=True)
    finally:
        file.write_bytes(kept)
    # The same work in other portions is the same run.
    smaller = replace(plan, micro_batch=Choice(1, "Less."), accumulation=Choice(4, "More."))
    assert train(smaller, tiny.EXAMPLES, folder, resume=True).steps == 6


@pytest.mark.slow
def test_a_killed_run_ends_with_the_very_adapter_of_one_that_was_not(
    base: Path, tmp_path: Path
) -> None:
    plan = tiny.plan(base, steps=36, save_every=1, keep=2, rank=4, dropout=0.1)
    whole = tiny.run_folder(tmp_path / "whole")
    train(plan, tiny.EXAMPLES, whole)
    folder = begun(tmp_path / "run", plan)
    draw = random.Random(5)
    for target in (12, 24):
        process = child(folder)
        until_step(folder, target, process)
        time.sleep(draw.random() * 0.03)  # saving takes a good part of each step
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    train(plan, tiny.EXAMPLES, folder, resume=True)
    assert same(whole, folder)
    assert [s.loss for s in folder.steps()] == [s.loss for s in whole.steps()]


@pytest.mark.slow
def test_sigterm_ends_the_step_saves_it_and_says_how_to_go_on(base: Path, tmp_path: Path) -> None:
    plan = tiny.plan(base, steps=400, save_every=400, rank=4)
    folder = begun(tmp_path / "run", plan)
    stopped_by_sigterm(folder, 5)
    said = (tmp_path / "said").read_text(encoding="utf-8")
    last = [s.step for s in folder.steps()][-1]
    assert f"stopped after step {last}." in said and "--resume run" in said
    assert (folder.checkpoints / f"checkpoint-{last}").is_dir()
    assert 5 <= last < 400


def stopped_by_sigterm(folder: RunFolder, step: int) -> None:
    process = child(folder)
    until_step(folder, step, process)
    process.terminate()
    process.join(60)
    assert process.exitcode == 2


@pytest.mark.slow
def test_sigterm_under_trl_ends_the_step_saves_it_and_loses_nothing(
    base: Path, tmp_path: Path
) -> None:
    exact: dict[str, Any] = {"contrast": 0.0, "softmax": "all", "dropout": 0.0, "engine": "trl"}
    plan = tiny.plan(base, steps=60, save_every=60, rank=4, **exact)
    whole = tiny.run_folder(tmp_path / "whole")
    train(plan, tiny.EXAMPLES, whole)
    folder = tiny.run_folder(tmp_path / "run")
    describe(plan, tiny.EXAMPLES, folder)
    stopped_by_sigterm(folder, 5)
    last = [s.step for s in folder.steps()][-1]
    assert 5 <= last < 60
    said = (tmp_path / "said").read_text(encoding="utf-8")
    assert f"stopped after step {last}." in said
    assert (folder.checkpoints / f"checkpoint-{last}").is_dir()
    train(plan, tiny.EXAMPLES, folder, resume=True)
    assert same(whole, folder)
    assert [s.step for s in folder.steps()] == list(range(1, 61))
