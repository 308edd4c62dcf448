"""Steps in buckets: filling up changes nothing, and the buckets are the cheapest there are."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from kefu.records import Choice, Plan
from kefu.train import Interrupted, buckets, graphs, many, train
from kefu.train.buckets import choose
from kefu.workspace import RunFolder


def cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def run(folder: Path, plan: Plan, **how: Any) -> RunFolder:
    found = tiny.run_folder(folder)
    train(plan, tiny.EXAMPLES, found, **how)
    return found


def same(one: RunFolder, other: RunFolder, by: float = 1e-5) -> None:
    import torch

    steps, others = list(one.steps()), list(other.steps())
    assert [s.step for s in steps] == [s.step for s in others]
    assert [s.loss for s in steps] == pytest.approx([s.loss for s in others], abs=by)
    assert [s.grad_norm for s in steps] == pytest.approx([s.grad_norm for s in others], rel=1e-3)
    assert [s.learning_rate for s in steps] == [s.learning_rate for s in others]
    a, b = tiny.weights(one), tiny.weights(other)
    assert a.keys() == b.keys()
    assert all(torch.allclose(a[k], b[k], rtol=0, atol=10 * by) for k in a)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma3_text"])
def test_steps_in_buckets_are_the_lean_engine_s_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    base = tiny.base(tmp_path / "base", kind)
    plan = tiny.plan(
        base, steps=8, save_every=3, micro_batch=4, accumulation=1, rank=4, softmax="all"
    )
    assert plan.contrast.value  # as people train
    lean = run(tmp_path / "lean", plan)
    # Without a GPU nothing is recorded, and the rest is what a GPU does.
    monkeypatch.setattr(graphs, "possible", lambda session: True)
    used: list[buckets.Bucket] = []
    step = graphs.Recorder.step

    def look(self: Any, bucket: buckets.Bucket, *rest: Any) -> Any:
        used.append(bucket)
        return step(self, bucket, *rest)

    monkeypatch.setattr(graphs.Recorder, "step", look)
    filled = run(tmp_path / "filled", plan)
    same(filled, lean)
    assert len(used) == 8
    assert all(b.tokens % buckets.GRAIN == 0 for b in used)

    def stop(step: Any) -> None:
        if step.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="after step 3"):
        run(tmp_path / "parts", plan, on_step=stop)
    folder = RunFolder(tmp_path / "parts")
    train(plan, tiny.EXAMPLES, folder, resume=True)
    same(folder, lean)


def test_the_largest_bucket_is_recorded_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory then serves the smaller ones."""
    monkeypatch.setattr(graphs, "possible", lambda session: True)
    monkeypatch.setattr(buckets, "OPENING", 0.0)
    opened: list[int] = []
    known = graphs.Recorder.open

    def look(self: Any, bucket: buckets.Bucket, share: Any) -> None:
        if bucket not in self.feeds:
            opened.append(bucket.tokens)
        known(self, bucket, share)

    monkeypatch.setattr(graphs.Recorder, "open", look)
    plan = tiny.plan(
        tiny.base(tmp_path / "base"), steps=12, micro_batch=4, accumulation=1, rank=4,
        softmax="all", save_every=99,
    )  # fmt: skip
    run(tmp_path / "run", plan)
    assert len(opened) > 2 and opened[0] == max(opened)


@pytest.mark.slow
@pytest.mark.skipif("not cuda()", reason="needs a GPU: CUDA graphs are recorded on one")
@pytest.mark.parametrize("compute", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma3_text"])
def test_recorded_steps_are_the_lean_engine_s_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, compute: str
) -> None:
    base = tiny.base(tmp_path / "base", kind)
    plan = tiny.plan(
        base, steps=24, micro_batch=4, accumulation=1, rank=4, softmax="all", save_every=10,
        precision=compute, compute=compute,
    )  # fmt: skip
    plan = replace(plan, machine=replace(plan.machine, device="cuda"))
    recorded = run(tmp_path / "recorded", plan)
    assert all(w.dtype.itemsize == 4 for w in tiny.weights(recorded).values())
    monkeypatch.setattr(graphs, "possible", lambda session: False)
    lean = run(tmp_path / "lean", plan)
    if compute == "fp32":
        same(recorded, lean, 1e-4)
    else:  # other kernels round otherwise, in numbers of eight bits
        ours, theirs = list(recorded.steps()), list(lean.steps())
        assert [s.loss for s in ours] == pytest.approx([s.loss for s in theirs], abs=0.02)
        # Of the first step alone: random layers have gradients of 200 and more, and from weights
        # that were rounded otherwise they are soon a quarter apart, at the same losses.
        assert ours[0].grad_norm == pytest.approx(theirs[0].grad_norm, rel=0.05)


TWO = """
import os, sys
from pathlib import Path
from kefu.train import graphs, train
from kefu.workspace import RunFolder
graphs.possible = lambda session: True
folder = RunFolder(Path(sys.argv[1]))
train(folder.plan(), folder.examples(), folder)
"""


@pytest.mark.slow
def test_two_processes_in_buckets_do_the_steps_of_one(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base")
    plan = tiny.plan(
        base, steps=12, save_every=5, micro_batch=4, accumulation=1, rank=4, softmax="all"
    )
    one = run(tmp_path / "one", plan)
    two = tiny.run_folder(tmp_path / "two")
    for name in ("plan.json", "examples.jsonl"):
        shutil.copy(one.file(name), two.file(name))
    (tmp_path / "two.py").write_text(TWO, encoding="utf-8")
    start = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    words = [sys.executable, *start, str(tmp_path / "two.py"), str(two.path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    same(two, one, 1e-4)


def test_few_steps_and_what_cannot_be_recorded_go_the_lean_engine_s_way(tmp_path: Path) -> None:
    class Session:
        device, split, cards = "cuda:0", False, many.Cards()
        plan = replace(
            tiny.plan(tiny.base(tmp_path / "b"), softmax="all", micro_batch=4, accumulation=1),
            steps=Choice(graphs.LEAST - 1, "few"),
        )

    assert not graphs.possible(Session())  # type: ignore[arg-type]
    Session.plan = replace(
        Session.plan, steps=Choice(99, "many"), accumulation=Choice(2, "the test's")
    )
    assert not graphs.possible(Session())  # type: ignore[arg-type]


def test_the_buckets_are_the_cheapest() -> None:
    draw = random.Random(7)

    def seconds(n: int) -> float:
        return n / 1000 + (0.05 if n % 32 else 0.0)  # a cliff at every odd sixteen

    for _ in range(20):
        sizes = [draw.randrange(20, 150) for _ in range(30)]
        opening = draw.choice([0.0, 0.5, 5.0])

        def whole(tokens: tuple[int, ...], sizes: Any = sizes, opening: float = opening) -> float:
            each = (min((t for t in tokens if t >= n), default=0) for n in sizes)
            return sum(seconds(t) if t else 1e9 for t in each) + opening * len(tokens)

        found = choose(sizes, seconds, opening)
        assert found == sorted(found)
        assert found[-1] >= max(sizes)
        every = list(range(16, 177, 16))
        least = min(whole(some) for k in range(1, 5) for some in itertools.combinations(every, k))
        assert whole(tuple(found)) <= least + 1e-9


def test_one_size_is_one_bucket() -> None:
    assert choose([64] * 9, float, 0.1) == [64]
    assert choose([1], float, 0.1) == [16]
