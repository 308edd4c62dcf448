"""A model's quicker parts compute what its own code computes, or are not taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tiny
from kefu.train import quick
from kefu.train.fused import Norm, Replaced

IDS = [3, 1, 4, 1, 5, 9, 2, 6]


def model_of(folder: Path, kind: str, scales: tuple[float, float]) -> Any:
    """A frozen model in bf16 whose norms' weights lie between these two."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny.base(folder, kind), dtype=torch.bfloat16)
    model.requires_grad_(False)
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.uniform_(*scales)
    return model


def states(model: Any) -> Any:
    import torch

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return model.get_decoder()(input_ids=torch.tensor([IDS])).last_hidden_state.float()


@pytest.mark.slow
@pytest.mark.parametrize("scales", [(-0.5, 0.5), (0.0, 1000.0)])
@pytest.mark.parametrize("kind", ["qwen3", "gemma3_text"])
def test_norms_are_the_base_s_however_large_their_weights(
    tmp_path: Path, kind: str, scales: tuple[float, float]
) -> None:
    """Gemma adds one to each weight: little beside 1,000, and all beside 0."""
    import torch

    model = model_of(tmp_path / "base", kind, scales)
    due = states(model)
    many = sum("norm" in name for name, _ in model.named_parameters())
    fast = quick.Quick(model, IDS)
    norms = [(base, own) for _, base, own in fast.replaced.parts if isinstance(own, Norm)]
    assert len(norms) == many
    for base, own in norms:
        x = torch.randn(5, len(own.weight)).bfloat16()
        torch.testing.assert_close(own(x), base(x), rtol=0.02, atol=0)
    assert float((states(model) - due).norm()) < 0.05 * float(due.norm())
    fast.take_out()
    assert torch.equal(states(model), due)


@pytest.mark.slow
def test_a_model_that_would_compute_something_else_stays_as_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def wrong(model: Any, dtype: Any, replaced: Replaced) -> None:
        for name, module in list(model.named_modules()):
            if name.endswith("input_layernorm"):  # half of what it was, by a little in each
                replaced.add(name, module, Norm(torch.full_like(module.weight, 0.5), 1e-6))

    monkeypatch.setattr(quick, "fuse_norms", wrong)
    model = model_of(tmp_path / "base", "qwen3", (0.5, 1.5))
    due = states(model)
    fast = quick.Quick(model, IDS)
    assert fast.replaced.parts == [] and not fast.apart
    assert torch.equal(states(model), due)
