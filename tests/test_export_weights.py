"""Merged models and GGUF files hold and compute the run's own numbers, in their own engines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import export_runs as tiny
from kefu.errors import BaseError, GateError, KefuError, SettingsError
from kefu.export import engine, export
from kefu.export.source import open_run
from kefu.weights import gguf_head
from kefu.workspace import RunFolder

QUESTION = "運費多少？How long is delivery?"
needs_llama = pytest.mark.skipif(
    not engine.here(), reason="needs llama.cpp: the Python package xllamacpp"
)
Made = Callable[[str], tuple[Path, RunFolder]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    found: dict[str, tuple[Path, RunFolder]] = {}

    def make(kind: str) -> tuple[Path, RunFolder]:
        if kind not in found:
            root = tmp_path_factory.mktemp(kind)
            base = tiny.base(root / "base", kind)
            found[kind] = base, tiny.run(root / "shop-1", base)
        return found[kind]

    return make


def trained(base: Path, run: RunFolder) -> Any:
    """The run's model as training left it."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(model, str(run.adapter)).eval()


@torch.inference_mode()
def beliefs(model: Any, ids: list[int]) -> torch.Tensor:
    """Log probabilities (vocabulary,) of what follows."""
    return torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].float(), -1)


@pytest.mark.parametrize("kind", tiny.ARCHITECTURES)
def test_a_merged_model_believes_what_the_run_believed(
    made: Made, tmp_path: Path, kind: str
) -> None:
    base, run = made(kind)
    export(run, "merged", tmp_path / "out")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    ids = open_run(run).prompt.ids(QUESTION)
    ours, theirs = beliefs(trained(base, run), ids), beliefs(merged, ids)
    alone = beliefs(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), ids)
    assert (ours - alone).abs().max() > 0.5  # the adapter does something
    assert (ours - theirs).abs().max() < 0.05  # rounded to bf16
    stored = load_file(str(tmp_path / "out" / "model.safetensors"))
    assert {t.dtype for t in stored.values()} == {torch.bfloat16}
    assert merged.generation_config.eos_token_id == open_run(run).prompt.terminator
    for path in (tmp_path / "out").glob("*.json"):
        assert str(base.parent) not in path.read_text(encoding="utf-8")


def test_a_merged_chat_model_stops_where_it_was_trained_to(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base", "qwen2", chat=True)
    run = tiny.run(tmp_path / "run", base, template="chat")
    export(run, "merged", tmp_path / "out")
    ends = json.loads((tmp_path / "out" / "generation_config.json").read_text())["eos_token_id"]
    words = AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    assert words.convert_ids_to_tokens(ends) == ["<|im_end|>", "<|endoftext|>"]


@pytest.mark.parametrize("better", ["original", "dequantised"])
def test_an_nf4_run_is_merged_into_the_base_that_the_judge_prefers(
    tmp_path: Path, better: str
) -> None:
    base = tiny.base(tmp_path / "base", "llama")
    run = tiny.run(tmp_path / "run", base, precision="nf4")
    seen: list[torch.Tensor] = []

    def judge(folder: Path) -> float:
        seen.append(load_file(str(folder / "model.safetensors"))["model.norm.weight"])
        weights = load_file(str(folder / "model.safetensors"))
        seen[-1] = weights["model.layers.0.mlp.up_proj.weight"].float()
        return float(len(seen) == (1 if better == "original" else 2))

    done = export(run, "merged", tmp_path / "out", judge=judge)
    shipped = load_file(str(tmp_path / "out" / "model.safetensors"))
    kept = shipped["model.layers.0.mlp.up_proj.weight"].float()
    assert len(seen) == 2
    rounding = (seen[0] - seen[1]).abs().max()
    assert 0.005 < rounding < 0.2  # NF4's rounding, and nothing else
    assert torch.equal(kept, seen[0 if better == "original" else 1])
    assert f"merged into the {better} base" in done.notes[0]


@pytest.mark.parametrize("kind", tiny.ARCHITECTURES)
def test_gguf_tensors_hold_the_merged_values(made: Made, tmp_path: Path, kind: str) -> None:
    base, run = made(kind)
    export(run, "gguf", tmp_path / "out", types=("f32", "f16", "q8_0"))
    merged = trained(base, run).merge_and_unload().state_dict()
    up = merged["model.layers.1.mlp.up_proj.weight"].numpy()
    norm = merged["model.norm.weight"].numpy() + (1 if kind == "gemma3_text" else 0)
    for name, most in (("f32", 1e-6), ("f16", 1e-3), ("q8_0", 1e-2)):
        reader = gguf.GGUFReader(tmp_path / "out" / f"shop-1-{name}.gguf")
        held = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in reader.tensors}
        assert np.abs(held["blk.1.ffn_up.weight"] - up).max() < most
        assert np.abs(held["output_norm.weight"] - norm).max() < 1e-6
        assert len(held) == len(merged) - 1  # the tied head is not written twice
        assert (
            reader.fields["general.file_type"].contents() == {"f32": 0, "f16": 1, "q8_0": 7}[name]
        )
    assert reader.fields["general.file_type"].contents() == 7
    quick = gguf_head(tmp_path / "out" / "shop-1-q8_0.gguf")
    assert list(quick.fields) == list(reader.fields)
    assert quick.fields["general.name"].contents() == "shop-1"
    for ours, theirs in zip(quick.tensors, reader.tensors, strict=True):
        assert ours.name == theirs.name and np.array_equal(ours.data, theirs.data)
    prompt = open_run(run).prompt
    assert reader.fields["tokenizer.ggml.add_bos_token"].contents() is False
    assert reader.fields["tokenizer.chat_template"].contents() == open_run(run).chat_template
    assert reader.fields["tokenizer.ggml.eos_token_id"].contents() == prompt.terminator


def test_a_file_that_ends_within_its_words_is_no_gguf_file(made: Made, tmp_path: Path) -> None:
    _, run = made("llama")
    export(run, "gguf", tmp_path / "out", types=("f32",))
    file = tmp_path / "out" / "shop-1-f32.gguf"
    whole = file.read_bytes()
    words = gguf.GGUFReader(file).fields["tokenizer.ggml.tokens"]
    for size in (10, words.offset + 60, words.offset + 300):
        file.write_bytes(whole[:size])
        with pytest.raises(GateError, match="is no GGUF file"):
            engine.check_name(file, "shop-1")


@needs_llama
@pytest.mark.parametrize("kind", tiny.ARCHITECTURES)
def test_llama_cpp_believes_what_the_run_believed(made: Made, tmp_path: Path, kind: str) -> None:
    base, run = made(kind)
    done = export(run, "gguf", tmp_path / "out", types=("f32", "q4_k_m"))
    bare = tiny.untrained(run, base, tmp_path / "bare.gguf")
    alone = export(run, "gguf", tmp_path / "lora", lora=True, base=bare)
    assert "token by token" in done.notes[-1] and "token by token" in alone.notes[-1]
    prompt = open_run(run).prompt
    ids = prompt.ids(QUESTION)
    ours = beliefs(trained(base, run), ids)
    files = [
        (tmp_path / "out" / "shop-1-f32.gguf", None),
        (bare, tmp_path / "lora" / "shop-1-lora.gguf"),
    ]
    for path, lora in files:
        with engine.opened(path, lora) as llama:
            answer = llama.complete(ids, 1)
        for top in answer["completion_probabilities"][0]["top_logprobs"]:
            assert abs(top["logprob"] - float(ours[top["id"]])) < 0.01
    with engine.opened(tmp_path / "out" / "shop-1-q4_k_m.gguf") as llama:
        assert llama.complete(ids, 4)["tokens_predicted"] >= 1


@needs_llama
def test_a_chat_export_is_read_by_llama_cpp_as_it_was_trained(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base", "qwen3", chat=True)
    run = tiny.run(tmp_path / "run", base, template="chat", persona='Be "brief".')
    done = export(run, "gguf", tmp_path / "out", types=("f16",))
    assert "token by token" in done.notes[-1]
    with engine.opened(tmp_path / "out" / "run-f16.gguf") as llama:
        text = llama.rendered([{"role": "user", "content": "Hi"}])  # a client without a persona
    assert text == open_run(run).prompt.text("Hi")
    assert text.startswith('<|im_start|>system\nBe "brief".<|im_end|>')


@needs_llama
@pytest.mark.parametrize("cut", [cut for cut in tiny.CUTS if cut != "Qwen"])
def test_llama_cpp_cuts_words_as_the_base_does(tmp_path: Path, cut: str) -> None:
    base = tiny.base(tmp_path / "base", "llama", cut=cut)
    run = tiny.run(tmp_path / "run", base)
    done = export(run, "gguf", tmp_path / "out", types=("f16",))
    assert "token by token" in done.notes[-1]
    prompt = open_run(run).prompt
    hard = "2026/01/31、１２３４５ 元  don't\n\n  'LL a1b22c333 e\u0301🙂"
    with engine.opened(tmp_path / "out" / "run-f16.gguf") as llama:
        assert llama.tokens(hard) == prompt.encode(hard)


@needs_llama
@pytest.mark.parametrize("slip", ["a second beginning-of-text", "another template"])
def test_an_export_that_llama_cpp_reads_otherwise_is_refused(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slip: str
) -> None:
    _, run = made("llama")
    writer = gguf.GGUFWriter
    if slip == "another template":
        monkeypatch.setattr(writer, "add_chat_template", lambda *_: None)
    else:
        real = writer.add_add_bos_token
        monkeypatch.setattr(writer, "add_add_bos_token", lambda self, _: real(self, True))
    with pytest.raises(GateError, match=r"llama\.cpp (writes|reads)"):
        export(run, "gguf", tmp_path / "out", types=("f16",))
    assert list(tmp_path.iterdir()) == []


@needs_llama
def test_rounding_that_undoes_the_training_is_refused(tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "base", "llama")
    run = tiny.run(tmp_path / "run", base)
    kind = gguf.GGMLQuantizationType.Q5_0  # what q4_k_m uses for rows this short
    weights = load_file(str(base / "model.safetensors"))
    for name, value in weights.items():
        if value.dim() == 2:  # a base that came as a rounded file
            packed = gguf.quants.quantize(value.float().numpy(), kind)
            weights[name] = torch.from_numpy(gguf.dequantize(packed, kind)).bfloat16()
    save_file(weights, str(base / "model.safetensors"), metadata={"format": "pt"})
    matrices = load_file(str(run.adapter / "adapter_model.safetensors"))
    small = {name: value * 0.1 for name, value in matrices.items()}
    save_file(small, str(run.adapter / "adapter_model.safetensors"), metadata={"format": "pt"})
    export(run, "gguf", tmp_path / "fine", types=("q8_0",))
    with pytest.raises(GateError, match="undoes the training"):
        export(run, "gguf", tmp_path / "coarse", types=("q4_k_m",))
    assert not (tmp_path / "coarse").exists()


def test_k_quants_without_llama_cpp_name_the_remedy(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kefu.export import numbers

    numbers._library.cache_clear()
    monkeypatch.setattr(numbers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BaseError, match="pip install xllamacpp"):
        numbers.check(("q4_k_m",))
    with pytest.raises(SettingsError, match="no number format"):
        numbers.check(("q3",))


def test_q4_k_m_spends_its_bits_where_llama_quantize_does() -> None:
    from kefu.export.numbers import type_of

    kinds = [
        type_of(f"blk.{i}.attn_v.weight", (256, 256), "q4_k_m", 18, True).name for i in range(18)
    ]
    more = [i for i, kind in enumerate(kinds) if kind == "Q6_K"]
    assert more == [0, 1, 4, 7, 10, 13, 15, 16, 17]
    assert type_of("blk.3.attn_q.weight", (1024, 640), "q4_k_m", 18, True).name == "Q5_0"
    assert type_of("token_embd.weight", (99, 640), "q4_k_m", 18, True).name == "Q8_0"
    assert type_of("blk.0.attn_norm.weight", (640,), "q4_k_m", 18, True).name == "F32"


def test_what_gguf_cannot_hold_is_refused_with_a_way_out(made: Made, tmp_path: Path) -> None:
    from kefu.export.architecture import Architecture
    from kefu.export.vocabulary import vocabulary

    base, _ = made("gemma3_text")
    config = AutoModelForCausalLM.from_pretrained(base).config
    config.query_pre_attn_scalar = 99
    with pytest.raises(BaseError, match="another attention scale"):
        Architecture(config)
    config.model_type = "phi"
    with pytest.raises(KefuError, match="Export it as `merged`"):
        Architecture(config)
    words = AutoTokenizer.from_pretrained(base)
    from tokenizers import pre_tokenizers

    words.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(BaseError, match="cuts text into words"):
        vocabulary(words, 400)
