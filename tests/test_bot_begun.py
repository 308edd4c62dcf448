"""A run that began warm compares questions by the finder's adapter, reads them after rows by the
cross-encoder's, and answers as it has learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import export_runs as tiny
from kefu.bot import Bot, over
from kefu.bot.begun import reading_of
from kefu.bot.weighing import Weigher
from kefu.errors import RunError
from kefu.export import answering
from kefu.export.engine import here
from kefu.records import WEIGHED, Calibration
from kefu.weights import warm
from kefu.workspace import RunFolder, write_json, write_text

ASKED = [[3, 14, 15, 92, 65], [35, 8, 97], [9, 32, 38, 46, 26, 43]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFolder, Path]:
    """A base, a run of rank 4, and the adapter of rank 2 that it began from; beside that one lie
    those by which its bot reads."""
    root = tmp_path_factory.mktemp("begun")
    base = tiny.base(root / "base", "llama")
    run = tiny.run(root / "shop-1", base)
    torch.manual_seed(7)
    own = load_file(str(run.adapter / "adapter_model.safetensors"))
    for name in ("known", "known-find", "known-cross"):
        begun = {}
        for key, value in own.items():
            part = value[:2] if ".lora_A." in key else value[:, :2]
            begun[key] = 0.2 * torch.randn(part.shape)
        save_file(begun, str(root / f"{name}.safetensors"))
    return base, run, root / "known.safetensors"


@pytest.fixture
def run(made: tuple[Path, RunFolder, Path], monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    _, run, known = made
    monkeypatch.setattr(warm, "_file", lambda name: known.with_name(f"{name}.safetensors"))
    began(run, "known", warm.digest("known"))
    return run


def began(run: RunFolder, name: str, noted: str) -> None:
    plan = json.loads(run.file("plan.json").read_text())
    plan["warm"] = {"value": name, "because": "The test's."}
    write_text(run.file("plan.json"), json.dumps(plan))
    write_text(run.file("versions.json"), json.dumps({"warm_sha256": noted}))


def beginning(base: Path, known: Path, asked: Any = ASKED) -> Any:
    """The base's states with one of kefu's adapters alone, by PEFT itself."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    set_peft_model_state_dict(model, load_file(str(known)))
    decoder = model.get_base_model().get_decoder()
    with torch.no_grad():
        found = [decoder(torch.tensor([ids])).last_hidden_state[0, -1] for ids in asked]
    return torch.stack(found)


def crossed(engine: Any) -> torch.Tensor:
    """The states after the first sequence with each of the others."""
    found: torch.Tensor = engine.crossed([ASKED[0]] * 2, ASKED[1:])
    return found


def test_questions_are_read_by_the_finder_and_answered_as_was_learned(
    made: tuple[Path, RunFolder, Path], run: RunFolder
) -> None:
    bot = Bot.open(run)
    before = bot.engine.hidden(ASKED)
    finder = made[2].with_name("known-find.safetensors")
    assert torch.allclose(bot.engine.reading(ASKED), beginning(made[0], finder), atol=1e-4)
    assert torch.equal(bot.engine.hidden(ASKED), before)  # its own values are back
    assert not torch.allclose(before, bot.engine.reading(ASKED), atol=0.05)
    due = beginning(
        made[0], made[2].with_name("known-cross.safetensors"), [ASKED[0] + x for x in ASKED[1:]]
    )
    assert torch.allclose(crossed(bot.engine), due, atol=0.01)
    assert torch.equal(bot.engine.hidden(ASKED), before)


def test_a_training_goes_on_with_its_own_values_after_it_was_looked_at(run: RunFolder) -> None:
    opened = Bot.open(run)
    model = opened._torch.model
    weight = next(p for n, p in model.named_parameters() if "lora_B" in n)
    place, value = weight.data_ptr(), weight.detach().clone()
    bot = over(run, model, opened.prompt, "cpu")
    assert torch.equal(bot.engine.reading(ASKED), opened.engine.reading(ASKED))
    # The very memory, which recorded steps and the optimizer write to.
    assert weight.data_ptr() == place and torch.equal(weight, value)


def test_without_a_finder_questions_are_read_as_the_adapter_began(
    made: tuple[Path, RunFolder, Path], run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "finder", lambda name: name)
    found = Bot.open(run).engine.reading(ASKED)
    assert torch.allclose(found, beginning(made[0], made[2]), atol=1e-4)


def test_a_run_that_began_cold_has_one_way_to_read(run: RunFolder) -> None:
    began(run, "", "")
    bot = Bot.open(run)
    assert torch.equal(bot.engine.reading(ASKED), bot.engine.hidden(ASKED))


def test_a_run_that_began_from_another_version_is_refused_with_the_way_on(run: RunFolder) -> None:
    began(run, "known", "0" * 64)
    with pytest.raises(RunError, match="another version of the warm adapter known") as caught:
        Bot.open(run)
    assert "train --again shop-1" in caught.value.fix


def test_a_threshold_is_of_the_finder_that_it_was_set_with(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = Weigher.weights_with(finder=True, cross=True)
    kept = Calibration((1.0,), witnesses=weights, cross=reading_of(run), weighed=WEIGHED)
    assert kept.cross
    write_json(run.calibration_file, kept, Calibration)
    try:
        assert Bot.open(run).calibration == kept
        monkeypatch.setattr(warm, "finder", lambda name: name)  # as kefu was before it had one
        with pytest.raises(RunError, match="read by another adapter") as caught:
            Bot.open(run)
        assert "kefu threshold shop-1" in caught.value.fix
    finally:
        run.calibration_file.unlink()


def test_a_merged_model_reads_as_its_run(run: RunFolder, tmp_path: Path) -> None:
    from kefu.export import merging
    from kefu.export.source import open_run

    source = open_run(run)
    model = merging.merged(source, "original", print)
    model.save_pretrained(tmp_path / "merged")
    source.tokenizer.save_pretrained(tmp_path / "merged")
    merged, own = Bot.open(run, merged=tmp_path / "merged"), Bot.open(run)
    assert torch.allclose(merged.engine.reading(ASKED), own.engine.reading(ASKED), atol=1e-4)
    assert torch.allclose(merged.engine.hidden(ASKED), own.engine.hidden(ASKED), atol=0.05)
    assert torch.allclose(crossed(merged.engine), crossed(own.engine), atol=1e-4)


@pytest.mark.skipif(not here(), reason="needs llama.cpp: the package xllamacpp")
@pytest.mark.parametrize("form", ["merged", "lora"])
def test_llama_cpp_reads_as_the_run_and_answers_as_the_run(
    made: tuple[Path, RunFolder, Path], run: RunFolder, tmp_path: Path, form: str
) -> None:
    from kefu.export import merging
    from kefu.export.gguf_files import write_lora, write_model
    from kefu.export.source import open_run

    source, lora = open_run(run), None
    if form == "lora":
        file, lora = tiny.untrained(run, made[0], tmp_path / "base.gguf"), tmp_path / "own.gguf"
        write_lora(source, lora)
    else:
        file = tmp_path / "merged.gguf"
        write_model(merging.merged(source, "original", print), source, file, "f32")
    bot = Bot.open(run)
    with answering(run, file, lora) as model:
        for found, due in (
            (model.reading(ASKED), bot.engine.reading(ASKED)),
            (model.hidden(ASKED), bot.engine.hidden(ASKED)),
            (crossed(model), crossed(bot.engine)),
        ):
            assert torch.nn.functional.cosine_similarity(found, due).min() > 0.999
        apart = torch.nn.functional.cosine_similarity(model.reading(ASKED), model.hidden(ASKED))
        assert apart.min() < 0.98
