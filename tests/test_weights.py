"""Bases are loaded in one place: as they are, with their own tokenizer, or refused clearly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
from kefu.errors import BaseError, RunError
from kefu.records import Precision
from kefu.weights import (
    ahead,
    counter_ahead,
    frozen_head,
    last_states,
    load,
    load_tokenizer,
    local_counter,
    states_at,
)
from kefu.weights.loader import read_ahead


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("weights") / "base", "gemma3_text")


def test_a_folder_is_loaded_with_its_tokenizer_and_a_token_to_pad_with(base: Path) -> None:
    import torch

    loaded = load(str(base), precision="fp32", compute="fp32")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert loaded.tokenizer.pad_token_id is not None
    assert loaded.tokenizer("電話")["input_ids"] == load_tokenizer(str(base))("電話")["input_ids"]
    assert {p.dtype for p in load(str(base)).model.parameters()} == {torch.bfloat16}


def test_tokens_are_counted_without_loading_anything(base: Path) -> None:
    count = local_counter(str(base))
    assert count is not None
    for text in ("", "請撥 02-2345-6789。", "abc" * 30):
        assert count(text) == len(tiny.tokenizer()(text, add_special_tokens=False)["input_ids"])


def test_a_tokenizer_that_counted_is_the_one_that_is_trained_with(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, alone = counter_ahead(str(base), "cpu"), local_counter(str(base))
    assert count is not None and alone is not None
    for text in ("", "請撥 02-2345-6789。", "abc" * 30, "問：幾點開門？\n答："):
        assert count(text) == alone(text)
    with monkeypatch.context() as without:
        without.setattr("kefu.weights.loader.tokenizer_of", None)  # it is not read again
        taken = load(str(base)).tokenizer
    assert taken("電話")["input_ids"] == load_tokenizer(str(base))("電話")["input_ids"]
    assert load(str(base)).tokenizer is not taken  # who takes it may write into it


def test_a_base_that_is_not_here_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(TINY_CONFIG)
    assert local_counter(str(tmp_path)) is None
    assert counter_ahead(str(tmp_path), "cpu") is None


TINY_CONFIG = (
    '{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "vocab_size": 420,'
    ' "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}'
)


@pytest.mark.parametrize("damage", ["no weights", "torn weights", "no config", "no folder"])
def test_a_damaged_base_is_a_sentence_with_a_remedy(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "base"
    if damage != "no folder":
        tiny.base(folder)
    if damage == "no weights":
        (folder / "model.safetensors").unlink()
    elif damage == "torn weights":
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    elif damage == "no config":
        (folder / "config.json").unlink()
    with pytest.raises(BaseError) as caught:
        load(str(folder), precision="fp32", compute="fp32")
    assert "base" in caught.value.what
    assert "work offline" in caught.value.fix


def test_a_pickle_is_never_read(base: Path, tmp_path: Path) -> None:
    import shutil

    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file

    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    model = load(str(base), precision="fp32", compute="fp32").model
    get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(
        str(tmp_path / "adapter")
    )
    load(str(base), precision="fp32", compute="fp32", adapter=tmp_path / "adapter")
    for sound, pickled in (
        (tmp_path / "adapter" / "adapter_model.safetensors", "adapter_model.bin"),
        (folder / "model.safetensors", "pytorch_model.bin"),
    ):
        torch.save(load_file(sound), sound.with_name(pickled))  # which PEFT or transformers would
        sound.unlink()
    with pytest.raises(RunError, match=r"has no adapter_model\.safetensors"):
        load(str(base), precision="fp32", compute="fp32", adapter=tmp_path / "adapter")
    with pytest.raises(BaseError, match="cannot be loaded"):
        load(str(folder), precision="fp32", compute="fp32")


def test_a_base_that_wants_to_run_its_own_code_is_refused(tmp_path: Path) -> None:
    import json

    folder = tiny.base(tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    config["model_type"] = "llama"
    (folder / "own.py").write_text("raise SystemExit('the base ran its code')\n")
    (folder / "config.json").write_text(json.dumps(config))
    load(str(folder), precision="fp32", compute="fp32")  # as plain llama, its code left alone


def test_a_state_does_not_depend_on_what_is_computed_with_it(base: Path) -> None:
    import torch

    model = load(str(base), precision="fp32", compute="fp32").model.eval()
    sequences = [[5 + i, *range(10, 14 + 3 * i)] for i in range(12)]  # beyond the sliding window
    together = last_states(model, sequences, "cpu")
    for one, sequence in zip(together, sequences, strict=True):
        with torch.no_grad():
            out = model.get_decoder()(input_ids=torch.tensor([sequence])).last_hidden_state
        assert torch.allclose(one, out[0, -1], atol=1e-5)
    twice = last_states(model, [*sequences, *reversed(sequences)] * 4, "cpu")  # in several parts
    assert torch.allclose(twice[:12], together, atol=1e-5)


def test_states_at_many_places_are_the_same_bits_by_one_worker_or_by_two(base: Path) -> None:
    import torch

    model = load(str(base)).model.eval()
    sequences = [[5 + i, *range(10, 20 + i % 7)] for i in range(60)]
    places = [[0, 3, len(sequence) - 1] for sequence in sequences]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        one = states_at(model, sequences, places, "cpu")
        two = states_at(model, sequences, places, "cpu", 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, one, two))
    ends = torch.stack([states[-1] for states in one]).float()
    assert torch.equal(ends, last_states(model, sequences, "cpu"))
    whole = model.get_decoder()(input_ids=torch.tensor([sequences[9]])).last_hidden_state[0]
    assert torch.allclose(one[9].float(), whole[places[9]].float(), atol=0.05)


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor, for once taken for a GPU with room."""
    import torch

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**12, 10**12))


@pytest.mark.parametrize("kind", ["qwen2", "gemma3_text", "llama"])
@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_a_base_that_is_read_ahead_is_the_same_model(
    tmp_path: Path, roomy: None, kind: str, precision: Precision
) -> None:
    base = tiny.base(tmp_path / "base", kind)
    usual = load(str(base), precision=precision, compute="fp32").model
    ahead.begin(base, "cpu")
    assert ahead._begun[str(base), "cpu"].result(60)
    for file in ahead.files_of(base):
        file.unlink()
    model = load(str(base), precision=precision, compute="fp32").model
    assert not ahead._begun  # taken
    found, wanted = model.state_dict(), usual.state_dict()
    assert found.keys() == wanted.keys()
    assert all(found[name].equal(wanted[name]) for name in wanted)
    assert model.config.to_dict() == usual.config.to_dict()
    assert model.generation_config.to_dict() == usual.generation_config.to_dict()
    assert model.name_or_path == usual.name_or_path == str(base)
    assert not model.training


def test_what_is_damaged_or_too_large_to_be_read_ahead_is_left_to_who_loads_it(
    tmp_path: Path, base: Path, roomy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead.begin(tmp_path, "cpu")  # no model lies there
    assert ahead.taken(str(tmp_path), "cpu") == {}
    ahead.begin(base, "cpu")
    assert ahead.taken(str(base), "cpu")
    monkeypatch.setattr(ahead, "SHARE", 0.0)
    ahead.begin(base, "cpu")
    assert load(str(base), precision="fp32", compute="fp32").model.num_parameters() > 0
    read_ahead(str(base), "cpu")  # nothing to gain: files are mapped
    read_ahead("someone/on-a-hub", "cuda")
    assert not ahead._begun


@pytest.mark.parametrize("error", ["CUDA out of memory.", "can't allocate memory"])
def test_a_base_that_does_not_fit_is_a_sentence_with_what_would(
    base: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    def full(*_: Any, **__: Any) -> Any:
        raise (torch.OutOfMemoryError if "CUDA" in error else RuntimeError)(error)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(BaseError, match=r"too short to load .* in fp32.*take a smaller model"):
        load(str(base), precision="fp32", compute="fp32")


def test_a_four_bit_base_that_memory_cannot_hold_unpacked_stays_packed(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    kept, said = AutoModelForCausalLM.from_pretrained, []

    def loaded(place: str, **options: Any) -> Any:
        options.pop("quantization_config")  # bitsandbytes packs nothing without a GPU
        model = kept(place, **options)

        def dequantize(dtype: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory.")

        model.dequantize = dequantize
        return model

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", loaded)
    found = load(str(base), precision="nf4", compute="fp32", unpacked=True, say=said.append)
    assert found.model.num_parameters() > 0
    assert any("stays packed" in text for text in said)


def test_states_are_computed_in_smaller_parts_where_memory_is_short(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from kefu.weights import states

    model = load(str(base), precision="fp32", compute="fp32").model.eval()
    sequences = [[5 + i, *range(10, 40 + i)] for i in range(20)]
    whole = last_states(model, sequences, "cpu")
    kept, most = states._side_by_side, [200]

    def narrow(model: Any, part: Any, places: Any, device: str) -> Any:
        if sum(map(len, part)) > most[0]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return kept(model, part, places, device)

    monkeypatch.setattr(states, "_side_by_side", narrow)
    assert torch.allclose(last_states(model, sequences, "cpu"), whole, atol=1e-5)
    most[0] = 10
    with pytest.raises(torch.OutOfMemoryError):
        last_states(model, sequences, "cpu")


def test_the_head_is_used_by_itself_only_where_logits_are_nothing_else(base: Path) -> None:
    import torch

    model = load(str(base), precision="fp32", compute="fp32").model.eval().requires_grad_(False)
    found = frozen_head(model)
    assert found is not None
    ids = torch.tensor([[5, 6, 7]])
    state = model.get_decoder()(input_ids=ids).last_hidden_state
    assert torch.allclose(state @ found[0].T, model(ids).logits, atol=1e-5)
    model.config.logit_scale = 2.0
    assert frozen_head(model) is None
    model.config.logit_scale = 1.0
    model.config.final_logit_softcapping = 30.0
    assert frozen_head(model) == (found[0], 30.0)
    model.get_output_embeddings().weight.requires_grad_(True)
    assert frozen_head(model) is None


def test_nothing_is_said_of_kernels_that_nobody_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    import logging

    logging.getLogger("bitsandbytes.backends.cpu.ops").warning("Failed to load gemm_4bit_forward")
    assert not caplog.records


@pytest.mark.parametrize(("kind", "times"), [("gemma3_text", 0), ("qwen2", 1)])
def test_a_kept_tokenizer_is_the_same_and_is_not_read_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, times: int
) -> None:
    import json

    from transformers import AutoTokenizer

    from kefu.weights import save_tokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny.base(tmp_path / "base", kind, tiny.CHATML))
    folder = tmp_path / "kept"
    save_tokenizer(tokenizer, folder)
    read: list[str] = []
    load_json = json.load
    monkeypatch.setattr(json, "load", lambda file: read.append(file.name) or load_json(file))
    kept = AutoTokenizer.from_pretrained(folder)
    assert sum(name.endswith("tokenizer.json") for name in read) == times  # one less than usual
    assert type(kept) is type(tokenizer)
    assert kept.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert kept.added_tokens_decoder == tokenizer.added_tokens_decoder
    assert kept.chat_template == tokenizer.chat_template
    assert kept.special_tokens_map == tokenizer.special_tokens_map


def test_libraries_come_without_torchs_compiler_and_leave_python_as_it_was() -> None:
    code = (
        "import gc, os, sys; from kefu.weights import import_libraries\n"
        "import_libraries()\n"
        "assert gc.isenabled() and 'TORCHDYNAMO_DISABLE' not in os.environ\n"
        "import torch; assert not torch.backends.cuda.cudnn_sdp_enabled()\n"  # a plan a shape
        "import kefu.train, kefu.bot, peft, bitsandbytes\n"
        "assert 'torch._inductor.compile_fx' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
