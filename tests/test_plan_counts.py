"""Parameters are counted exactly from a config alone."""

from __future__ import annotations

from typing import Any

import pytest

from kefu.plan import catalogue
from kefu.plan.shape import shape_of

# As the owners publish them (of tied bases, each weight once).
PUBLISHED = {
    "gemma-3-270m": 268_098_176,
    "smollm2-135m": 134_515_008,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-14B-Instruct": 14_770_033_664,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen-7B": 7_721_324_544,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_catalogue_base_has_the_parameters_that_its_owner_publishes(name: str) -> None:
    base = {b.name: b for b in catalogue()}[name]
    assert base.shape.parameters == PUBLISHED[name]


def test_adapters_of_a_7b_are_counted_as_peft_prints_them() -> None:
    shape = {b.name: b for b in catalogue()}["Qwen/Qwen2.5-7B-Instruct"].shape
    assert shape.trainable(16, ("q_proj", "k_proj", "v_proj", "o_proj")) == 10_092_544
    assert shape.trainable(16, ("all-linear",)) == 40_370_176
    assert shape.trainable(16, ("no_such_layer",)) == 0


def test_a_config_without_sizes_is_refused_with_the_missing_key() -> None:
    with pytest.raises(ValueError, match="hidden_size"):
        shape_of({"model_type": "qwen2", "num_attention_heads": 4})
    with pytest.raises(KeyError, match="mamba"):
        shape_of({"model_type": "mamba", "hidden_size": 8})


SIZES = {
    "vocab_size": 120,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TINY: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama-biased": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "llama-tied": {"model_type": "llama", "tie_word_embeddings": True},
    "smollm3": {},
    "mistral": {"head_dim": 16},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 20},
    "qwen3_5_text": {"head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4},
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 16},
    "gemma3_text": {"head_dim": 16},
    "phi": {},
    "phi3": {},
    "glm": {"head_dim": 16},
    "glm4": {"head_dim": 16, "attention_bias": False},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_counts_equal_those_of_the_real_model_with_its_adapter(name: str) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    asked = {**SIZES, "model_type": name, **TINY[name]}
    kind = asked.pop("model_type")
    config = AutoConfig.for_model(kind, **asked)
    shape = shape_of({**asked, "model_type": kind})
    assert shape_of(config.to_dict()) == shape
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    classic = [n for n in ("q_proj", "k_proj", "v_proj", "o_proj") if n in shape.names]
    for targets in ("all-linear", classic or ["qkv_proj", "o_proj"]):
        with torch.device("meta"):
            fresh = AutoModelForCausalLM.from_config(config)
            wrapped = get_peft_model(
                fresh, LoraConfig(r=3, target_modules=targets, task_type="CAUSAL_LM")
            )
        trainable, everything = wrapped.get_nb_trainable_parameters()
        names = (targets,) if isinstance(targets, str) else tuple(targets)
        assert shape.trainable(3, names) == trainable
        assert shape.parameters + trainable == everything


@pytest.mark.slow
def test_qwen_7b_own_format_is_counted_as_the_qwen2_model_it_becomes() -> None:
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    own = {
        "model_type": "qwen",
        "vocab_size": 120,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "kv_channels": 16,
        "intermediate_size": 176,
        "tie_word_embeddings": False,
    }
    mapped = Qwen2Config(
        vocab_size=120,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=88,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(mapped)
    assert shape_of(own).parameters == sum(p.numel() for p in model.parameters())
