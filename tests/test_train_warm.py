"""A run that begins from a warm adapter: it really does, and stays one ordinary adapter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from kefu.errors import RunError
from kefu.plan import catalogue, make, probe
from kefu.records import Choice, Plan
from kefu.settings import Settings
from kefu.train import train
from kefu.weights import warm
from kefu.workspace import RunFolder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("base"), "gemma3_text")


def planned(base: Path, **changed: Any) -> Plan:
    usual = {"rank": 4, "alpha": 8, "steps": 1, "learning_rate": 0.0}
    return tiny.plan(base, **{**usual, **changed})


def weights(folder: RunFolder) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(str(folder.adapter / "adapter_model.safetensors"))


def run(folder: Path, plan: Plan) -> RunFolder:
    found = tiny.run_folder(folder)
    train(plan, tiny.EXAMPLES, found)
    return found


@pytest.fixture
def learned(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The matrices of an adapter of rank 4 that has learned, shipped as `known`."""
    from safetensors.torch import save_file

    made = weights(run(tmp_path / "first", planned(base, steps=4, learning_rate=0.01)))
    save_file(made, str(tmp_path / "known.safetensors"))
    monkeypatch.setattr(warm, "_file", lambda name: tmp_path / f"{name}.safetensors")
    return made


def test_a_run_begins_from_the_warm_adapter(
    base: Path, tmp_path: Path, learned: dict[str, Any]
) -> None:
    import torch

    kept = weights(run(tmp_path / "warm", planned(base, warm="known")))
    assert all(torch.equal(kept[k], learned[k]) for k in learned)
    cold = weights(run(tmp_path / "cold", planned(base, warm="")))
    assert any(not torch.equal(cold[k], learned[k]) for k in learned)
    noted = (tmp_path / "warm" / "versions.json").read_text()
    assert warm.digest("known") in noted


def test_a_larger_rank_computes_what_the_warm_adapter_computes(
    base: Path, tmp_path: Path, learned: dict[str, Any]
) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM

    logits = []
    for rank in (4, 8):
        folder = run(tmp_path / f"r{rank}", planned(base, warm="known", rank=rank, alpha=2 * rank))
        model = AutoPeftModelForCausalLM.from_pretrained(str(folder.adapter), dtype=torch.float32)
        assert model.peft_config["default"].r == rank
        logits.append(model(input_ids=torch.tensor([[3, 14, 15, 92]])).logits)
    assert torch.allclose(logits[0], logits[1], atol=1e-5)


@pytest.mark.parametrize(
    "changed", [{"rank": 2, "alpha": 4}, {"targets": ("q_proj", "v_proj")}], ids=["rank", "targets"]
)
def test_a_warm_adapter_of_another_shape_is_refused(
    base: Path, tmp_path: Path, learned: dict[str, Any], changed: dict[str, Any]
) -> None:
    with pytest.raises(RunError, match="warm adapter known does not fit"):
        run(tmp_path / "other", planned(base, warm="known", **changed))


def test_only_the_default_recipe_on_the_embedded_base_begins_warm() -> None:
    machine = probe("cpu")
    by_name = {b.name: b for b in catalogue()}
    made = make(Settings(base="gemma-3-270m"), tiny.FAQ, machine)
    assert made.warm.value == "gemma-3-270m" and "corpus" in made.warm.because
    assert [b.name for b in by_name.values() if b.warm] == ["gemma-3-270m"]
    for other in (Settings(base="smollm2-135m"), Settings(base="gemma-3-270m", recipe="tutorial")):
        assert make(other, tiny.FAQ, machine).warm.value == ""


def test_the_shipped_adapter_fits_the_plan_that_names_it() -> None:
    from safetensors import safe_open

    plan = make(Settings(base="gemma-3-270m"), tiny.FAQ, probe("cpu"))
    with safe_open(str(warm._file(plan.warm.value)), "pt") as file:
        sizes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
    assert sum(a * b for a, b in sizes) == plan.trainable.value
    assert replace(plan, warm=Choice("", "")).warm.value == ""


def test_an_adapter_begins_alike_on_any_number_of_cores_made_by_few_which_it_gives_back(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import peft
    import torch

    before, begun, used = torch.get_num_threads(), [], []
    make_adapter = peft.get_peft_model

    def seen(*said: Any) -> Any:
        used.append(torch.get_num_threads())
        return make_adapter(*said)

    monkeypatch.setattr(peft, "get_peft_model", seen)
    try:
        for threads in (1, 6):
            torch.set_num_threads(threads)
            begun.append(weights(run(tmp_path / str(threads), planned(base))))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert used == [1, 4]
    one, six = begun
    assert all(torch.equal(values, six[name]) for name, values in one.items())
