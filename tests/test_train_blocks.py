"""What stands in for a base's own code in recorded steps makes the same numbers with less."""

from __future__ import annotations

import copy
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import tiny
from kefu.train import Look, graphs, train
from kefu.train.blocks import Attention, Gated, fuse_blocks
from kefu.train.fused import Replaced
from kefu.workspace import RunFolder

QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
EVERY = (*QKVO, "gate_proj", "up_proj", "down_proj")


def kernels() -> Any:
    """Triton's kernels and the device they run on here; skips where they do not run."""
    import torch

    if find_spec("triton") is None:
        pytest.skip("needs Triton, which comes with torch for GPUs")
    if not torch.cuda.is_available() and not os.environ.get("TRITON_INTERPRET"):
        pytest.skip("needs a GPU, or TRITON_INTERPRET=1")
    from kefu.train import kernels

    return kernels, "cuda" if torch.cuda.is_available() else "cpu"


def adapted(folder: Path, kind: str, targets: tuple[str, ...], dtype: Any, **more: Any) -> Any:
    """A tiny model with adapters that do something, in train mode."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(tiny.base(folder, kind), dtype=dtype)
    config = LoraConfig(
        r=4, lora_alpha=6, target_modules=list(targets), task_type="CAUSAL_LM",
        init_lora_weights=False, **more,
    )  # fmt: skip
    return get_peft_model(base, config, autocast_adapter_dtype=False).train()


def made(model: Any) -> list[Any]:
    """The hidden states of some tokens, and the gradients of every adapter from them."""
    import torch

    ids = torch.randint(0, 400, (1, 24), generator=torch.Generator().manual_seed(5))
    ids = ids.to(model.device)  # a base in four bits lies on the GPU, where there is one
    out = model.get_base_model().get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    due = torch.randn(out.shape, generator=torch.Generator().manual_seed(6)).to(out)
    weights = [p for p in model.parameters() if p.requires_grad]
    return [out.detach(), *torch.autograd.grad(out, weights, due)]


def fused(inner: Any, dtype: Any) -> Replaced:
    found = Replaced(inner)
    fuse_blocks(inner, dtype, found)
    return found


def own_parts(model: Any) -> int:
    return sum(isinstance(module, (Attention, Gated)) for module in model.modules())


def near(one: list[Any], other: list[Any], by: float) -> None:
    for a, b in zip(one, other, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert float((a - b).abs().max()) <= by * float(b.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("targets", [QKVO, EVERY, ("q_proj", "v_proj", "up_proj")])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma3_text"])
def test_values_and_gradients_are_peft_s(
    tmp_path: Path, kind: str, targets: tuple[str, ...]
) -> None:
    import torch

    model = adapted(tmp_path / "base", kind, targets, torch.float32)
    names, due = list(model.state_dict()), made(model)
    blocks = fused(model.get_base_model(), torch.float32)
    assert len(blocks.parts) == 4  # both halves of both layers
    near(made(model), due, 1e-5)
    # Saving finds what it found before, and no weight is held twice.
    assert list(model.state_dict()) == names
    mlp = model.get_base_model().model.layers[1].mlp
    gate, up = (getattr(m, "base_layer", m).weight for m in (mlp.gate_proj, mlp.up_proj))
    assert mlp.read.weight().data_ptr() == gate.data_ptr() == up.untyped_storage().data_ptr()
    blocks.take_out()
    again = made(model)
    assert all(torch.equal(a, b) for a, b in zip(again, due, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma3_text"])
def test_half_precision_is_as_near_to_full_as_peft_s(tmp_path: Path, kind: str) -> None:
    import torch

    model = adapted(tmp_path / "half", kind, EVERY, torch.bfloat16)
    full = made(copy.deepcopy(model).float())
    theirs = made(model)
    assert len(fused(model.get_base_model(), torch.bfloat16).parts) == 4

    def off(found: list[Any]) -> float:
        pairs = zip(found, full, strict=True)
        return sum(float((a.float() - b).norm() / b.norm()) for a, b in pairs)

    assert off(made(model)) <= 1.1 * off(theirs)


@pytest.mark.slow
def test_a_base_in_four_bits_is_unpacked_on_the_way(tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    folder = tiny.base(tmp_path / "base", "qwen2", hidden_size=64, intermediate_size=128)
    four = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )  # fmt: skip
    base = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, quantization_config=four
    )
    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules=list(QKVO), init_lora_weights=False)
    model = get_peft_model(base, config).train()
    due = made(model)
    blocks = fused(model.get_base_model(), torch.float32)
    assert len(blocks.parts) == 4
    near(made(model), due, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("unusual", [{"lora_dropout": 0.1}, {"use_dora": True}])
def test_what_is_unusual_stays_as_it_is(tmp_path: Path, unusual: dict[str, Any]) -> None:
    import torch

    model = adapted(tmp_path / "base", "llama", QKVO, torch.float32, **unusual)
    found = [name for name, _, _ in fused(model.get_base_model(), torch.float32).parts]
    assert found == ["model.layers.0.mlp", "model.layers.1.mlp"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qwen2", "gemma3_text"])
def test_a_run_learns_and_saves_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = tiny.base(tmp_path / "base", kind)
    plan = tiny.plan(
        base, steps=8, save_every=3, micro_batch=4, accumulation=1, rank=4, softmax="all",
        dropout=0.0,
    )  # fmt: skip
    monkeypatch.setattr(graphs, "possible", lambda session: True)
    runs: list[RunFolder] = []
    models, replaced, seen, told = [], [], [], []

    def see(step: int, model: Any, *_: Any) -> None:
        seen.append(own_parts(model))
        model.eval().generate(torch.tensor([[5, 6, 7]]), max_new_tokens=3)

    def tell(step: Any) -> None:
        told.extend(own_parts(model) for model in models)

    for name in ("own", "less"):
        runs.append(tiny.run_folder(tmp_path / name))
        train(plan, tiny.EXAMPLES, runs[-1], look=Look((4,), see), on_step=tell)
        begin = graphs.Recorder.__init__

        def halve(self: Any, *rest: Any, begin: Any = begin) -> None:
            begin(self, *rest)
            self.fast = fused(self.inner, torch.float32)  # as a GPU does in half precision
            self.fast.apart = False
            models.append(self.inner)
            replaced.append(own_parts(self.inner))

        monkeypatch.setattr(graphs.Recorder, "__init__", halve)
    # Whoever looks at the model, and whoever has it afterwards, finds the base's own code.
    assert replaced == [4] and seen == [0, 0] and own_parts(models[0]) == 0
    assert told == 8 * [4]
    steps = [[(s.loss, s.grad_norm) for s in found.steps()] for found in runs]
    assert len(steps[0]) == 8
    for due, found in zip(*steps, strict=True):
        assert found == pytest.approx(due, rel=1e-4)
    due, found = (tiny.weights(folder) for folder in runs)
    assert list(due) == list(found)
    assert all(torch.allclose(due[k], found[k], rtol=0, atol=1e-4) for k in due)
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(runs[1].adapter))


@pytest.mark.parametrize("gelu", [False, True])
def test_the_gate_s_kernel_is_the_gate(gelu: bool) -> None:
    import torch

    own, device = kernels()
    both = torch.randn(1, 5, 2 * 1100, device=device, requires_grad=True)
    gate, up = both.chunk(2, -1)
    act = torch.nn.functional.gelu(gate, approximate="tanh") if gelu else gate * gate.sigmoid()
    grad = torch.randn(1, 5, 1100, device=device)
    found = own.gated(both, gelu=gelu)
    torch.testing.assert_close(found, act * up)
    (due,), (slope,) = (torch.autograd.grad(x, both, grad) for x in (act * up, found))
    torch.testing.assert_close(slope, due, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("width", [16, 24])
def test_the_rotation_s_kernel_rotates_some_heads(width: int) -> None:
    import torch

    own, device = kernels()
    x = torch.randn(1, 5, 11 * width, device=device, requires_grad=True)
    cos, sin = (torch.randn(1, 5, width, device=device) for _ in range(2))
    some, rest = x.view(1, 5, 11, width).split((9, 2), -2)
    a, b = some.chunk(2, -1)
    due = some * cos.unsqueeze(2) + torch.cat((-b, a), -1) * sin.unsqueeze(2)
    due = torch.cat((due, rest), 2).view(x.shape)
    found = own.turned(x * 1, cos, sin, 9)
    torch.testing.assert_close(found, due)
    grad = torch.randn_like(x)
    slopes = [torch.autograd.grad(y, x, grad)[0] for y in (found, due)]
    torch.testing.assert_close(*slopes)


def test_the_unpacking_kernel_makes_bitsandbytes_bits() -> None:
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    own, device = kernels()
    weight = torch.randn(67, 320, device=device).bfloat16() ** 3
    packed, state = quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    found = torch.full_like(weight, float("nan"))
    own.unpack(packed, state, found)
    if device == "cuda":
        assert torch.equal(found, dequantize_4bit(packed, state))
    else:  # Triton's interpreter cuts fp32 off where it should round
        state.dtype = torch.float32
        due = dequantize_4bit(packed, state).view(torch.int32) >> 16
        assert torch.equal(found.view(torch.int16).int(), due)
    plain = quantize_4bit(weight, quant_type="nf4", compress_statistics=False)
    with pytest.raises(ValueError, match="another way"):
        own.unpack(*plain, found)
