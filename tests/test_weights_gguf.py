"""A GGUF file read here is, bit for bit, what transformers makes of it."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

import tiny
from kefu.export import numbers
from kefu.export.architecture import Architecture
from kefu.weights.embedded import read_by_transformers, read_here
from kefu.weights.gguf_file import GgufFile

SIZES = {"hidden_size": 320, "intermediate_size": 512, "num_hidden_layers": 6}
"""So that there are rows for blocks of 32 values, and rows for blocks of 256."""


def written(folder: Path, kind: str, file_type: str, name: str = "tiny") -> Path:
    """A random model as a GGUF file, with a vocabulary that any loader takes."""
    from transformers import AutoModelForCausalLM

    # transformers takes it as given that all heads together are as wide as the model, but Gemma's.
    wide = 8 if kind == "gemma3_text" else 80
    base = tiny.base(folder / "base", kind, **SIZES, head_dim=wide)
    model = AutoModelForCausalLM.from_pretrained(base)
    arch = Architecture(model.config)
    size = int(model.config.vocab_size)
    path = folder / f"{kind}-{file_type}.gguf"
    writer = gguf.GGUFWriter(path, arch.name)
    writer.add_name(name)
    arch.describe(writer)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", *(f"▁{n}" for n in range(size - 3))])
    writer.add_token_scores([-float(n) for n in range(size)])
    writer.add_token_types([2, 3, 3, *[1] * (size - 3)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    tied = bool(model.config.tie_word_embeddings)
    for theirs, value in model.state_dict().items():
        if tied and theirs == "lm_head.weight":
            continue
        laid = arch.transform(theirs)(value.float())
        form = numbers.type_of(arch.tensor(theirs), tuple(laid.shape), file_type, 6, tied)
        writer.add_tensor(arch.tensor(theirs), numbers.pack(laid, form), raw_dtype=form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.slow
@pytest.mark.parametrize("file_type", ["q8_0", "q4_k_m", "f16"])
@pytest.mark.parametrize("kind", ["gemma3_text", "llama", "qwen2"])
def test_every_bit_is_what_transformers_reads(tmp_path: Path, kind: str, file_type: str) -> None:
    import torch

    path = written(tmp_path, kind, file_type)
    found, due = read_here(path), read_by_transformers(path)
    assert found is not None
    model, tokenizer = found
    expected = due[0].state_dict()
    assert model.state_dict().keys() == expected.keys()
    for name, value in model.state_dict().items():
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, expected[name]), name
    assert type(tokenizer) is type(due[1])
    for text in ("1 22 333", "</s> 5"):
        assert tokenizer(text)["input_ids"] == due[1](text)["input_ids"]
    saved = [tmp_path / "here", tmp_path / "there"]
    for folder, parts in zip(saved, (found, due), strict=True):
        for part in parts:
            part.save_pretrained(folder)
    assert sorted(p.name for p in saved[0].iterdir()) == sorted(p.name for p in saved[1].iterdir())
    for file in saved[0].iterdir():
        assert file.read_bytes() == (saved[1] / file.name).read_bytes(), file.name


@pytest.mark.slow
def test_what_is_unusual_is_left_to_transformers(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    assert read_here(written(tmp_path / "a", "qwen3", "f16")) is None
    assert read_here(written(tmp_path / "b", "llama", "f16", name="mistral")) is None


def test_another_file_is_no_gguf(tmp_path: Path) -> None:
    for text in (b"", b"GGML", b"safetensors" * 9):
        path = tmp_path / "model.gguf"
        path.write_bytes(text)
        with pytest.raises(ValueError):
            GgufFile(path)
