"""Training that falls apart goes back, and training that is short of memory takes less of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tiny
from kefu.errors import RunError
from kefu.records import Plan, Step
from kefu.train import Interrupted, graphs, lean, train
from kefu.train.guard import Guard
from kefu.workspace import RunFolder

Wrong = Callable[[int, Any], Any]
"""From the number of a forward pass, 1 for the first, and its loss: the loss instead."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("base"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is learnt about this machine."""
    monkeypatch.setenv("KEFU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def harm(monkeypatch: pytest.MonkeyPatch) -> Callable[[Wrong], None]:
    """Makes the loss of some forward passes wrong, as the engine sees them."""
    kept, passes = lean.summed_loss, [0]

    def arm(wrong: Wrong) -> None:
        def summed_loss(*said: Any) -> Any:
            passes[0] += 1
            summed, apart = kept(*said)
            return wrong(passes[0], summed), apart

        monkeypatch.setattr(lean, "summed_loss", summed_loss)

    return arm


def planned(base: Path, **changed: Any) -> Plan:
    usual: dict[str, Any] = {
        "softmax": "all", "dropout": 0.0, "rank": 4, "micro_batch": 4, "accumulation": 1,
        "checkpointing": False, "steps": 30, "save_every": 100,
    }  # fmt: skip
    return tiny.plan(base, **{**usual, **changed})


def sound(folder: RunFolder) -> bool:
    import torch

    return all(bool(torch.isfinite(t).all()) for t in tiny.weights(folder).values())


def close(one: RunFolder, other: RunFolder) -> None:
    import torch

    assert [s.loss for s in one.steps()] == pytest.approx([s.loss for s in other.steps()], abs=1e-4)
    a, b = tiny.weights(one), tiny.weights(other)
    assert all(torch.allclose(a[k], b[k], rtol=0, atol=2e-4) for k in a)


# --- falling apart ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda loss: loss * math.nan, "the loss of step 17 was nan"),
        (lambda loss: loss * math.inf, "the loss of step 17 was inf"),
        (lambda loss: loss * 9, "the loss of step 17 jumped from"),
    ],
)
def test_a_step_that_falls_apart_is_done_again_from_the_last_good_state_at_half_the_rate(
    base: Path, tmp_path: Path, harm: Callable[[Wrong], None], what: Any, said: str
) -> None:
    plan = planned(base)
    whole = tiny.run_folder(tmp_path / "whole")
    train(plan, tiny.EXAMPLES, whole)
    harm(lambda number, loss: what(loss) if number == 17 else loss)
    told: list[Step] = []
    folder = tiny.run_folder(tmp_path / "run")
    run = train(plan, tiny.EXAMPLES, folder, on_step=told.append)
    # Copies are kept after every tenth step; the one before the last is taken.
    assert [s.step for s in told] == [*range(1, 17), *range(1, 31)]
    assert run.steps == 30 and sound(folder)
    steps, before = list(folder.steps()), list(whole.steps())
    assert [s.step for s in steps] == list(range(1, 31))
    noted = [s for s in steps if s.note]
    assert len(noted) == 1 and noted[0].step == 1
    assert "Went back to step 0" in noted[0].note and said in noted[0].note
    assert steps[0].loss == pytest.approx(before[0].loss, abs=1e-6)  # the state as it was
    assert steps[3].learning_rate < before[3].learning_rate / 2  # warmed up anew
    assert steps[20].learning_rate == pytest.approx(before[20].learning_rate / 2)


def test_a_gradient_that_is_no_number_never_reaches_the_adapter(
    base: Path, tmp_path: Path, harm: Callable[[Wrong], None]
) -> None:
    import torch

    class Ill(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *outer: Any) -> Any:
            return outer[0] * math.nan

    harm(lambda number, loss: Ill.apply(loss) if number == 5 else loss)
    folder = tiny.run_folder(tmp_path / "run")
    train(planned(base, steps=12), tiny.EXAMPLES, folder)
    assert sound(folder)
    assert "the gradient of step 5 was nan" in next(s.note for s in folder.steps() if s.note)


def test_a_rate_that_is_far_too_high_ends_after_three_times_with_a_sound_adapter(
    base: Path, tmp_path: Path
) -> None:
    folder = tiny.run_folder(tmp_path / "run")
    with pytest.raises(RunError, match=r"fell apart 4 times: the .*is kept in .*adapter"):
        train(planned(base, learning_rate=300.0, steps=200), tiny.EXAMPLES, folder)
    assert not folder.finished
    assert sound(folder)


def test_an_adapter_that_does_not_move_is_seen(
    base: Path, tmp_path: Path, harm: Callable[[Wrong], None]
) -> None:
    harm(lambda number, loss: loss * 0 + loss.detach())
    with pytest.raises(RunError, match="the adapter does not move"):
        train(planned(base, contrast=0.0), tiny.EXAMPLES, tiny.run_folder(tmp_path / "run"))


def test_a_run_that_went_back_and_was_stopped_goes_on_at_its_lower_rate(
    base: Path, tmp_path: Path, harm: Callable[[Wrong], None]
) -> None:
    plan = planned(base, steps=24, save_every=20)
    harm(lambda number, loss: loss * math.nan if number == 5 else loss)
    folder = tiny.run_folder(tmp_path / "run")

    def stop(step: Step) -> None:
        if step.step == 22:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="after step 20"):
        train(plan, tiny.EXAMPLES, folder, on_step=stop)
    before = {s.step: s.learning_rate for s in folder.steps()}
    train(plan, tiny.EXAMPLES, folder, resume=True)
    after = {s.step: s.learning_rate for s in folder.steps()}
    assert len(after) == 24 and all(after[k] == before[k] for k in before)


def test_trl_stops_at_a_loss_that_is_no_number_and_keeps_the_checkpoint_before(
    base: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    ill = tmp_path / "ill"
    tiny.base(ill)
    tensors = load_file(ill / "model.safetensors")
    tensors["model.norm.weight"] *= math.nan
    save_file(tensors, ill / "model.safetensors", {"format": "pt"})
    plan = planned(ill, engine="trl", contrast=0.0, steps=4, save_every=1)
    folder = tiny.run_folder(tmp_path / "run")
    with pytest.raises(RunError, match="step 1 had the loss nan"):
        train(plan, tiny.EXAMPLES, folder)
    assert not list(folder.checkpoints.glob("checkpoint-*"))


SAMPLE = [
    3.859, 3.767, 3.252, 3.405, 2.495, 2.517, 2.271, 2.133, 1.358, 2.013, 1.439, 1.393, 1.301,
    1.795, 1.127, 0.885, 1.349, 0.834, 0.716, 0.867, 0.743, 0.878, 0.264, 0.322, 0.294, 0.295,
    0.316, 0.352, 0.179, 0.131, 0.158, 0.148, 0.059, 0.067, 0.159, 0.16, 0.045, 0.835, 0.238,
    0.017, 0.039, 0.187, 0.07, 0.022, 0.112, 0.05, 0.017, 0.008, 0.014, 0.03, 0.018, 0.012, 0.04,
    0.006, 0.027, 0.057, 0.026, 0.002, 0.002, 0.007, 0.004, 0.041, 0.023, 0.06, 0.006, 0.003,
    0.008, 0.012, 0.002, 0.001, 0.003, 0.003, 0.001, 0.003, 0, 0.002, 0.001, 0.001, 0.002, 0.002,
    0.001, 0.001, 0.003, 0.001, 0.001, 0.001, 0.003, 0.003, 0.004, 0.002, 0.003, 0.002, 0.002,
]  # fmt: skip
"""Losses of the sample FAQ's default run on the embedded base."""


def watched(losses: list[float], norm: float = 1.0) -> list[str]:
    session: Any = SimpleNamespace(plan=SimpleNamespace(warmup=SimpleNamespace(value=5)))
    guard = Guard(session, SimpleNamespace(scaler=None))  # type: ignore[arg-type]
    return [guard.wrong(n, loss, norm) for n, loss in enumerate(losses, start=1)]


def test_healthy_runs_raise_no_alarm() -> None:
    assert not any(watched(SAMPLE))
    assert not any(watched([0.002, 0.9, 0.001, 0.05] * 50))  # trained once more, with a hard row
    assert not any(watched([12.0 * 0.97**n for n in range(200)]))


def test_a_loss_that_never_falls_is_seen_long_after_warming_up() -> None:
    found = watched([3.1, 2.9, 3.0, 3.05] * 20)
    assert not any(found[:40]) and any("no lower than where it began" in text for text in found)


# --- held-out wordings ---------------------------------------------------------------


def watched_run(path: Path, plan: Plan, stop: int = 0, resume: bool = False) -> RunFolder:
    folder = RunFolder(path) if resume else tiny.run_folder(path)

    def on_step(step: Step) -> None:
        if step.step == stop:
            raise KeyboardInterrupt

    train(plan, tiny.EXAMPLES, folder, held_out=tiny.HELD_OUT, on_step=on_step, resume=resume)
    return folder


def test_training_ends_when_held_out_wordings_gain_no_more_and_keeps_the_best_adapter(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from kefu.train import watch

    plan = planned(base, steps=60, patience=8, save_every=5)
    seen: dict[int, dict[str, Any]] = {}
    kept = watch.Watch.look

    def look(self: Any, step: int, loss: float) -> bool:
        over = kept(self, step, loss)
        seen[step] = {n: p.detach().clone() for n, p in self._weights()}
        return over

    scores = iter([1, 2, 4, 3, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3])
    monkeypatch.setattr(watch.Watch, "_right", lambda self: next(scores))
    monkeypatch.setattr(watch.Watch, "look", look)
    monkeypatch.setattr(watch, "KNOWN", 100.0)
    folder = watched_run(tmp_path / "run", plan)
    told = list(folder.steps())
    looks = [s for s in told if s.held_out is not None]
    assert [s.held_out for s in looks[:4]] == [0.2, 0.4, 0.8, 0.6]
    assert told[-1].step - looks[2].step >= 8 and told[-1].step < 60
    assert f"the adapter of step {looks[2].step} is kept" in told[-1].note
    best, last = seen[looks[2].step], seen[told[-1].step]
    found = tiny.weights(folder)
    name = next(n for n in best if "lora_B" in n)
    stored = found[name.replace(".default", "")]
    assert torch.equal(stored, best[name]) and not torch.equal(stored, last[name])


def test_no_training_ends_early_while_its_loss_is_high_or_without_patience(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kefu.train import watch

    monkeypatch.setattr(watch.Watch, "_right", lambda self: 0)
    high = watched_run(tmp_path / "high", planned(base, steps=20, patience=1))
    assert len(list(high.steps())) == 20
    off = watched_run(tmp_path / "off", planned(base, steps=20))
    assert all(s.held_out is None for s in off.steps())


def test_looking_changes_nothing_and_a_stopped_run_ends_with_the_same_bytes(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kefu.train import watch

    monkeypatch.setattr(watch, "KNOWN", 100.0)
    plan = planned(base, steps=60, patience=12, save_every=4)
    whole = watched_run(tmp_path / "whole", plan)
    blind = watched_run(tmp_path / "blind", planned(base, steps=60, save_every=4))
    losses = [s.loss for s in whole.steps()]
    assert losses == [s.loss for s in blind.steps()][: len(losses)]
    with pytest.raises(Interrupted):
        watched_run(tmp_path / "run", plan, stop=10)
    folder = watched_run(tmp_path / "run", plan, resume=True)
    name = "adapter_model.safetensors"
    assert (folder.adapter / name).read_bytes() == (whole.adapter / name).read_bytes()
    assert [s.held_out for s in folder.steps()] == [s.held_out for s in whole.steps()]


# --- short of memory ----------------------------------------------------------------


def short_at(*passes: int) -> Wrong:
    def wrong(number: int, loss: Any) -> Any:
        import torch

        if number in passes:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return loss

    return wrong


def test_a_step_that_lacks_memory_is_done_in_smaller_portions_with_equal_results(
    base: Path, tmp_path: Path, cache: Path, harm: Callable[[Wrong], None]
) -> None:
    plan = planned(base, steps=8)
    assert plan.contrast.value
    whole = tiny.run_folder(tmp_path / "whole")
    train(plan, tiny.EXAMPLES, whole)
    # In step 3; in the second half of it; in step 4, so that only single rows are left.
    harm(short_at(3, 5, 11))
    folder = tiny.run_folder(tmp_path / "run")
    told: list[int] = []
    train(plan, tiny.EXAMPLES, folder, on_step=lambda step: told.append(step.step))
    assert told == list(range(1, 9))
    close(whole, folder)
    notes = {s.step: s.note for s in folder.steps() if s.note}
    assert "Memory was short in step 3: goes on with 2 × 2 rows a step" in notes[3]
    assert "1 × 4 rows a step" in notes[3]
    assert "Memory was short in step 4: goes on with 1 × 4 rows a step and gradient" in notes[4]
    # The next run of that size begins there, and a smaller one does not.
    again = tiny.run_folder(tmp_path / "again")
    harm(lambda number, loss: loss)
    train(plan, tiny.EXAMPLES, again)
    close(whole, again)
    first = next(again.steps()).note
    assert first.startswith("Begins with 1 × 4 rows a step and gradient checkpointing")
    other = tiny.run_folder(tmp_path / "other")
    train(planned(base, steps=2, max_length=200), tiny.EXAMPLES, other)
    assert not any(s.note for s in other.steps())


def test_below_the_last_rung_it_is_said_what_would_fit_and_the_last_state_is_kept(
    base: Path, tmp_path: Path, harm: Callable[[Wrong], None]
) -> None:
    plan = planned(base, steps=6)
    whole = tiny.run_folder(tmp_path / "whole")
    train(plan, tiny.EXAMPLES, whole)
    harm(short_at(*range(4, 99)))
    folder = tiny.run_folder(tmp_path / "run")
    with pytest.raises(RunError, match=r"Step 4 needs more memory.*nf4.*--resume run"):
        train(plan, tiny.EXAMPLES, folder)
    assert (folder.checkpoints / "checkpoint-3").is_dir()
    harm(lambda number, loss: loss)
    train(plan, tiny.EXAMPLES, folder, resume=True)
    close(whole, folder)


@pytest.mark.parametrize("recorded", [False, True])
def test_a_gpu_that_vanishes_is_a_sentence_and_the_run_goes_on_to_the_same_end(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    plan = planned(base, steps=20, save_every=4)
    if recorded:
        monkeypatch.setattr(graphs, "possible", lambda session: True)
    whole = tiny.run_folder(tmp_path / "whole")
    train(plan, tiny.EXAMPLES, whole)
    place, name = (graphs.Recorder, "step") if recorded else (lean, "_gradient")
    kept, done = getattr(place, name), [0]

    def step(*said: Any) -> Any:
        done[0] += 1
        if done[0] == 11:
            raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might")
        return kept(*said)

    monkeypatch.setattr(place, name, step)
    folder = tiny.run_folder(tmp_path / "run")
    with pytest.raises(RunError, match=r"failed while .*launch failure\. Step 8 is.*--resume run"):
        train(plan, tiny.EXAMPLES, folder)
    monkeypatch.setattr(place, name, kept)
    train(plan, tiny.EXAMPLES, folder, resume=True)
    file = "adapter_model.safetensors"
    assert (folder.adapter / file).read_bytes() == (whole.adapter / file).read_bytes()


@pytest.mark.parametrize("fault", ["nan", "memory"])
def test_recorded_steps_that_fall_apart_or_lack_memory_go_on_as_plain_ones(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    import torch

    plan = planned(base, steps=20)
    whole = tiny.run_folder(tmp_path / "whole")
    train(plan, tiny.EXAMPLES, whole)
    # Without a GPU nothing is recorded, and the rest is what a GPU does.
    monkeypatch.setattr(graphs, "possible", lambda session: True)
    kept, steps = graphs.Recorder.step, [0]

    def step(self: Any, *said: Any) -> Any:
        steps[0] += 1
        if steps[0] == 12 and fault == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return kept(self, *said) * (math.nan if steps[0] == 12 else 1.0)

    monkeypatch.setattr(graphs.Recorder, "step", step)
    folder = tiny.run_folder(tmp_path / "run")
    train(plan, tiny.EXAMPLES, folder)
    told = list(folder.steps())
    assert [s.step for s in told] == list(range(1, 21)) and sound(folder)
    notes = {s.step: s.note for s in told if s.note}
    if fault == "memory":
        assert list(notes) == [12] and "2 × 2 rows a step" in notes[12]
        close(whole, folder)
    else:
        assert list(notes) == [1] and "the loss of step 12 was nan" in notes[1]
        assert told[15].learning_rate == pytest.approx(list(whole.steps())[15].learning_rate / 2)
