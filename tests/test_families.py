"""Every family of models that kefu says it knows: trained, saved, opened again, asked.

Tiny random models of each architecture. Real ones differ in size and in what they know, not in how
their layers are joined, masked and named, which is what can go wrong here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny
from kefu.errors import BaseError
from kefu.plan.bases import resolve
from kefu.prompt import Prompt
from kefu.train import train
from kefu.workspace import RunFolder

WINDOW = 16
"""Of the models with a sliding window: shorter than every row."""
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},  # Llama, SmolLM, SmolLM2
    "smollm3": {},
    "mistral": {"sliding_window": WINDOW},
    "qwen2": {},
    "qwen2-windowed": {
        "use_sliding_window": True,
        "sliding_window": WINDOW,
        "layer_types": ["full_attention", "sliding_attention"],
    },
    "qwen3": {},
    "gemma": {},
    "gemma2": {"sliding_window": WINDOW, "query_pre_attn_scalar": 8},
    "gemma3_text": {"sliding_window": WINDOW, "query_pre_attn_scalar": 8},
    "phi": {},
    "phi3": {"sliding_window": WINDOW},
    "glm": {},
    "glm4": {},
}
FUSED = {"phi3": {"qkv_proj", "gate_up_proj"}, "glm": {"gate_up_proj"}, "glm4": {"gate_up_proj"}}
SIZES = {**tiny.SIZES, "pad_token_id": 1, "tie_word_embeddings": False}


def base(folder: Path, name: str, words: Any = None) -> Path:
    """A random model of a family, in whose layers no two norms are alike."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    words = words or tiny.tokenizer()
    sizes = {**SIZES, **FAMILIES[name], "vocab_size": len(words)}
    torch.manual_seed(1)
    config = AutoConfig.for_model(name.removesuffix("-windowed"), **sizes)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for which, parameter in model.named_parameters():
            # Six steps move little behind a head that says next to nothing.
            parameter.add_((0.5 if "lm_head" in which else 0.05) * torch.randn_like(parameter))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def a_base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def one(name: str) -> Path:
        if name not in made:
            made[name] = base(tmp_path_factory.mktemp("families") / name, name)
        return made[name]

    return one


def trained(path: Path, base_folder: Path, **changed: Any) -> RunFolder:
    folder = tiny.run_folder(path)
    plan = tiny.plan(base_folder, **{"steps": 6, "learning_rate": 0.02, "contrast": 0.0, **changed})
    train(plan, tiny.EXAMPLES, folder, say=lambda text: None)
    return folder


def loss_of(model: Any, prompt: Prompt) -> float:
    """Mean loss of all rows, each by itself, by transformers' own forward pass."""
    import torch

    rows = [prompt.row(e) for e in tiny.EXAMPLES]
    total = 0.0
    with torch.no_grad():
        for row in rows:
            out = model(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels]))
            total += float(out.loss) * row.labelled
    return total / sum(row.labelled for row in rows)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_trained_saved_opened_again_and_answers(
    a_base: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from kefu.bot import Bot

    folder = trained(tmp_path / "run", a_base(name))
    steps = list(folder.steps())
    assert [s.step for s in steps] == [1, 2, 3, 4, 5, 6]

    # Every linear layer of this very model, by its own names, and the planned number of weights.
    names = {key.split(".lora_")[0].rsplit(".", 1)[-1] for key in tiny.weights(folder)}
    assert names == set(resolve(str(a_base(name))).shape.names)
    assert names >= FUSED.get(name, {"q_proj", "v_proj"})
    assert sum(t.numel() for t in tiny.weights(folder).values()) == folder.plan().trainable.value

    # What was learned is in the files: in plain PEFT, without kefu.
    plain = AutoModelForCausalLM.from_pretrained(a_base(name))
    prompt = Prompt(tiny.tokenizer(), "plain", hand_over=tiny.HAND_OVER)
    before = loss_of(plain.eval(), prompt)
    again = PeftModel.from_pretrained(plain, str(folder.adapter)).eval()
    assert loss_of(again, prompt) < before - 0.05

    # The bot says what its mode allows, and its own words are those of plain generation.
    bot = Bot.open(folder)
    allowed = {a for _, a, _ in tiny.ROWS} | {tiny.HAND_OVER}
    assert {bot.answer(e.question, e.history).text for e in tiny.EXAMPLES} <= allowed
    ids = prompt.ids(tiny.ROWS[0][0])
    beside = bot.engine.write([ids, prompt.ids("那" * 40)], prompt, 6)[0]
    alone = again.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=6, eos_token_id=1)
    assert beside == alone[0, len(ids) :].tolist()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_s_loss_and_gradient_are_its_own_whatever_lies_beside_it(
    a_base: Callable[[str], Path], name: str
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from kefu.train.lean import summed_loss

    model = AutoModelForCausalLM.from_pretrained(a_base(name), dtype=torch.float32).train()
    prompt = Prompt(tiny.tokenizer(), "plain", hand_over=tiny.HAND_OVER)
    rows = [prompt.row(e) for e in tiny.EXAMPLES]
    assert min(len(row.ids) for row in rows) > WINDOW
    seen = next(p for n, p in model.named_parameters() if n.endswith("o_proj.weight")
                or n.endswith("dense.weight"))  # fmt: skip

    def together(order: list[Any]) -> tuple[float, Any]:
        model.zero_grad(set_to_none=True)
        loss, _ = summed_loss(model, order, "cpu")
        loss.backward()
        return float(loss), seen.grad.clone()

    alone = [
        model(input_ids=torch.tensor([r.ids]), labels=torch.tensor([r.labels])).loss * r.labelled
        for r in rows
    ]
    model.zero_grad(set_to_none=True)
    torch.stack(alone).sum().backward()
    gradient = seen.grad.clone()
    for order in (rows, rows[::-1]):
        loss, found = together(order)
        assert loss == pytest.approx(float(sum(alone)), rel=1e-5)
        assert torch.allclose(found, gradient, rtol=1e-3, atol=1e-4)


# --- where an answer ends -------------------------------------------------------


def stops_of(words: Any, folder: RunFolder) -> tuple[list[list[int]], int]:
    """Labels of every row as trained, and the token at which the bot stops."""
    from kefu.bot import Bot

    bot = Bot.open(folder, mode="free")
    rows = [bot.prompt.row(e) for e in folder.examples()]
    return [[i for i in row.labels if i != -100] for row in rows], bot.prompt.terminator


def test_a_tokenizer_that_pads_with_its_end_token_still_learns_to_end(tmp_path: Path) -> None:
    words = tiny.tokenizer()
    words.pad_token = words.eos_token
    folder = trained(tmp_path / "run", base(tmp_path / "base", "llama", words), steps=60)
    labels, end = stops_of(words, folder)
    assert end == words.eos_token_id and all(row[-1] == end for row in labels)
    from kefu.bot import Bot

    bot = Bot.open(folder, mode="free")
    said = [bot.answer(e.question, e.history) for e in tiny.EXAMPLES]
    assert sum(reply.stopped for reply in said) >= len(said) - 1  # masked ends would never stop


def test_a_chat_format_without_a_mark_for_the_end_of_a_turn_ends_with_the_text(
    tmp_path: Path,
) -> None:
    silent = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    words = tiny.tokenizer(silent + "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}")
    folder = trained(tmp_path / "run", base(tmp_path / "base", "llama", words), steps=1)
    assert folder.plan().template.value == "chat"
    labels, end = stops_of(words, folder)
    assert end == words.eos_token_id and all(row[-1] == end for row in labels)


def without_end(folder: Path, ids: int | None) -> Path:
    """A base whose tokenizer names no end-of-text token; its config names `ids`."""
    base(folder, "llama")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if path.is_file():
            held = json.loads(path.read_text())
            held.pop("eos_token", None)
            path.write_text(json.dumps(held))
    for name in ("config.json", "generation_config.json"):
        held = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**held, "eos_token_id": ids}))
    return folder


def test_an_end_token_that_only_the_config_names_is_used(tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", without_end(tmp_path / "base", 4), steps=1)
    labels, end = stops_of(None, folder)
    assert end == 4 and all(row[-1] == 4 for row in labels)


def test_a_base_without_any_end_token_is_refused_before_a_step(tmp_path: Path) -> None:
    folder = tiny.run_folder(tmp_path / "run")
    plan = tiny.plan(without_end(tmp_path / "base", None), steps=1)
    with pytest.raises(BaseError, match="would not stop"):
        train(plan, tiny.EXAMPLES, folder, say=lambda text: None)
    assert not list(folder.steps())


@pytest.mark.parametrize("chat", ["", tiny.CHATML], ids=["no template", "template"])
def test_a_base_of_the_hub_is_asked_whether_it_has_a_chat_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chat: str
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    held = base(tmp_path / "base", "llama", tiny.tokenizer(chat))

    def download(repo: str, name: str, **_: Any) -> str:
        if not (held / name).is_file():
            raise EntryNotFoundError(name)
        return str(held / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert resolve("somebody/some-model").chat == bool(chat)
