"""Qwen-7B in its own format (fused `c_attn`, `w1`/`w2`, `qwen.tiktoken`) is the same as Qwen2.

The reference is a forward pass in plain torch over the checkpoint's own tensors, written from the
model's published description (Qwen technical report, 2023): RMSNorm before each part, rotary
positions over the whole head, `w1(x) * silu(w2(x))`, an output head of its own.
"""

from __future__ import annotations

import base64
import json
import math
import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest

import tiny
from kefu.cli import cli
from kefu.errors import BaseError
from kefu.plan import make, probe
from kefu.settings import Settings
from kefu.weights import load, load_tokenizer, local_counter
from kefu.weights.qwen1 import SPECIAL, WORDS

HEADS, WIDTH, INNER, LAYERS, VOCAB = 4, 32, 48, 2, 1024
EPS, THETA = 1e-6, 10000.0
TEXTS = (
    "",
    "請問保固多久？一年 365 天。",
    "Don't RETURN it,\n\n it's   $12.50!!  ",
    "👩‍👩‍👧 表情 🎉🎉",
    "\t行首　全形空白 １２３",
    "營業時間 10:00~20:00\r\n電話 02-2345-6789",
    "naïve café à la carte — “quoted”",
    "ｶﾀｶﾅ かな 한국어 русский العربية",
    "aaaa  aaaa   \n   aaa",
)
pytestmark = pytest.mark.slow


def ranks() -> dict[bytes, int]:
    """A small vocabulary in tiktoken's manner: every byte, then what BPE learned to join."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    shop = [text for q, a, w in tiny.ROWS for text in (q, a, *w)]
    made.train_from_iterator([*TEXTS, *shop] * 3, trainer)
    letters = {letter: byte for byte, letter in bytes_to_unicode().items()}
    return {bytes(letters[c] for c in t): rank for t, rank in made.get_vocab().items()}


def checkpoint(folder: Path, **changed: Any) -> Path:
    """Random weights in Qwen-7B's own names and layout, in two shards, with code that must not
    run."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    draw = torch.Generator().manual_seed(7)

    def some(*shape: int, by: float = 0.15, around: float = 0.0) -> Any:
        return around + by * torch.randn(*shape, generator=draw)

    first: dict[str, Any] = {"transformer.wte.weight": some(VOCAB, WIDTH, by=1.0)}
    second = {
        "transformer.ln_f.weight": some(WIDTH, by=0.3, around=1.0),
        "lm_head.weight": some(VOCAB, WIDTH, by=0.5),
        "transformer.rotary_emb.inv_freq": some(WIDTH // HEADS // 2),
    }
    for n in range(LAYERS):
        at = first if n == 0 else second
        at |= {
            f"transformer.h.{n}.{name}": tensor
            for name, tensor in {
                "ln_1.weight": some(WIDTH, by=0.3, around=1.0),
                "ln_2.weight": some(WIDTH, by=0.3, around=1.0),
                "attn.c_attn.weight": some(3 * WIDTH, WIDTH, by=0.3),
                "attn.c_attn.bias": some(3 * WIDTH, by=0.3),
                "attn.c_proj.weight": some(WIDTH, WIDTH, by=0.3),
                "mlp.w1.weight": some(INNER, WIDTH, by=0.3),
                "mlp.w2.weight": some(INNER, WIDTH, by=0.3),
                "mlp.c_proj.weight": some(WIDTH, INNER, by=0.3),
            }.items()
        }
    places = {}
    for number, held in enumerate((first, second), start=1):
        name = f"model-0000{number}-of-00002.safetensors"
        save_file(held, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(held, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    config = {
        "architectures": ["QWenLMHeadModel"],
        "auto_map": {
            "AutoConfig": "configuration_qwen.QWenConfig",
            "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel",
        },
        "model_type": "qwen",
        "hidden_size": WIDTH,
        "intermediate_size": 2 * INNER,
        "kv_channels": WIDTH // HEADS,
        "layer_norm_epsilon": EPS,
        "max_position_embeddings": 4096,
        "no_bias": True,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "rotary_emb_base": int(THETA),
        "rotary_pct": 1.0,
        "seq_length": 256,
        "tie_word_embeddings": False,
        "tokenizer_type": "QWenTokenizer",
        "use_dynamic_ntk": True,
        "use_logn_attn": True,
        "vocab_size": VOCAB,
    }
    (folder / "config.json").write_text(json.dumps(config | changed))
    auto = {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]}
    words = {"tokenizer_class": "QWenTokenizer", "auto_map": auto}
    (folder / "tokenizer_config.json").write_text(json.dumps(words))
    for name in ("configuration_qwen.py", "modeling_qwen.py", "tokenization_qwen.py"):
        (folder / name).write_text("raise SystemExit('the base ran its code')\n")
    lines = [f"{base64.b64encode(t).decode()} {rank}\n" for t, rank in ranks().items()]
    (folder / "qwen.tiktoken").write_text("".join(lines))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEFU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def reference(folder: Path, ids: list[int]) -> Any:
    """Logits (n, vocabulary) of n tokens, from the checkpoint's own tensors."""
    import torch
    from safetensors.torch import load_file

    held: dict[str, Any] = {}
    for path in folder.glob("*.safetensors"):
        held |= load_file(path)

    def norm(x: Any, name: str) -> Any:
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * held[name]

    n, size = len(ids), WIDTH // HEADS
    turns = torch.arange(n)[:, None] / THETA ** (torch.arange(0, size, 2) / size)
    cos, sin = turns.cos()[:, None], turns.sin()[:, None]

    def turned(x: Any) -> Any:  # (n, heads, size): the i-th and the (size/2 + i)-th are one pair
        a, b = x[..., : size // 2], x[..., size // 2 :]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    x = held["transformer.wte.weight"][ids]
    for layer in range(LAYERS):
        at = f"transformer.h.{layer}."
        inner = norm(x, at + "ln_1.weight")
        fused = inner @ held[at + "attn.c_attn.weight"].T + held[at + "attn.c_attn.bias"]
        q, k, v = (part.reshape(n, HEADS, size) for part in fused.split(WIDTH, dim=-1))
        scores = torch.einsum("ihd,jhd->hij", turned(q), turned(k)) / math.sqrt(size)
        scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), -math.inf)
        seen = torch.einsum("hij,jhd->ihd", scores.softmax(-1), v).reshape(n, WIDTH)
        x = x + seen @ held[at + "attn.c_proj.weight"].T
        inner = norm(x, at + "ln_2.weight")
        gate = torch.nn.functional.silu(inner @ held[at + "mlp.w2.weight"].T)
        up = inner @ held[at + "mlp.w1.weight"].T
        x = x + (up * gate) @ held[at + "mlp.c_proj.weight"].T
    return norm(x, "transformer.ln_f.weight") @ held["lm_head.weight"].T


def test_the_mapped_model_s_logits_are_the_reference_s(tmp_path: Path) -> None:
    import torch

    folder = checkpoint(tmp_path / "Qwen-7B")
    loaded = load(str(folder), precision="fp32", compute="fp32", say=lambda text: None)
    draw = random.Random(3)
    for length in (1, 2, 37, 256):
        ids = [draw.randrange(VOCAB) for _ in range(length)]
        with torch.no_grad():
            ours = loaded.model(torch.tensor([ids])).logits[0]
            theirs = reference(folder, ids)
        assert float(theirs.std()) > 0.5
        assert float((ours - theirs).abs().max()) < 1e-4
    count = sum(p.numel() for p in loaded.model.parameters())
    planned = make(Settings(base=str(folder)), tiny.FAQ, probe("cpu"), train=tiny.EXAMPLES)
    assert planned.total.value - planned.trainable.value == count


def test_its_words_are_cut_as_tiktoken_cuts_them(tmp_path: Path) -> None:
    import tiktoken

    folder = checkpoint(tmp_path / "Qwen-7B")
    known = ranks()
    theirs = tiktoken.Encoding(
        "qwen",
        pat_str=WORDS,
        mergeable_ranks=known,
        special_tokens={token: len(known) + i for i, token in enumerate(SPECIAL)},
    )
    ours = load_tokenizer(str(folder), say=lambda text: None)
    draw = random.Random(5)
    letters = [*"".join(TEXTS), *"aaab 　\n\r\t", "👍🏽", "<|im_", "\u0301", "e\u0301"]
    made = ["".join(draw.choices(letters, k=draw.randrange(1, 60))) for _ in range(2000)]
    for text in (*TEXTS, *made):
        ids = theirs.encode(unicodedata.normalize("NFC", text), disallowed_special=())
        assert ours(text, add_special_tokens=False)["input_ids"] == ids
        assert ours.decode(ids) == unicodedata.normalize("NFC", text)
    text = "<|im_start|>user\n電話<|im_end|><|endoftext|><|extra_204|>"
    assert ours(text)["input_ids"] == theirs.encode(text, allowed_special="all")
    assert ours.eos_token_id == len(known) and len(ours) == len(known) + 208
    count = local_counter(str(folder))  # the tokenizer has been made by now
    assert count is not None and count("電話") == len(ours("電話")["input_ids"])


def test_it_is_mapped_once_and_anew_when_it_changes(tmp_path: Path, cache: Path) -> None:
    said: list[str] = []
    folder = checkpoint(tmp_path / "Qwen-7B")
    for _ in range(2):
        load(str(folder), precision="fp32", compute="fp32", say=said.append)
    assert len(said) == 1
    (folder / "config.json").write_text(
        (folder / "config.json").read_text().replace("10000", "20000")
    )
    loaded = load(str(folder), precision="fp32", compute="fp32", say=said.append)
    assert len(said) == 2
    assert loaded.model.config.rope_parameters["rope_theta"] == 20000
    assert not [p for p in (cache / "bases").iterdir() if p.name.startswith(".")]


def test_it_is_planned_trained_and_asked_by_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint(tmp_path / "Qwen-7B")
    faq = tmp_path / "shop.csv"
    lines = [f"{q},{a},{'|'.join(w)}\n" for q, a, w in tiny.ROWS]
    faq.write_text("question,answer,wordings\n" + "".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def kefu(*words: str) -> str:
        cli(words, standalone_mode=False)
        return capsys.readouterr().out

    plan = json.loads(kefu("plan", str(faq), "--base", str(folder), "--json"))
    assert plan["targets"]["value"] == ["all-linear"]
    run = json.loads(
        kefu("train", str(faq), "--base", str(folder), "--steps", "2", "--wordings", "0",
             "--precision", "fp32", "--name", "old", "--json")
    )  # fmt: skip
    assert run["finished"] and run["trainable"] == plan["trainable"]["value"]
    allowed = {a for _, a, _ in tiny.ROWS} | {Settings().hand_over}
    assert kefu("ask", "--run", "old", "電話是幾號？").strip() in allowed


def damaged(folder: Path, damage: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    shard = folder / "model-00002-of-00002.safetensors"
    index = folder / "model.safetensors.index.json"
    ours = folder / "qwen.tiktoken"
    if damage == "pickled":
        torch.save(load_file(shard), folder / "pytorch_model-00001-of-00001.bin")
        for path in (*folder.glob("*.safetensors"), index):
            path.unlink()
    elif damage == "empty":
        for path in (*folder.glob("*.safetensors"), index):
            path.unlink()
    elif damage == "a shard gone":
        shard.unlink()
    elif damage == "index torn":
        index.write_text("{")
    elif damage == "shard torn":
        shard.write_bytes(shard.read_bytes()[:900])
    elif damage in ("another tensor", "another shape", "a tensor gone"):
        held = load_file(shard)
        if damage == "another tensor":
            held["transformer.h.1.attn.c_attn.qweight"] = torch.zeros(2)
        elif damage == "another shape":
            held["transformer.h.1.mlp.w1.weight"] = torch.zeros(INNER + 1, WIDTH)
        else:
            del held["lm_head.weight"]
        save_file(held, shard)
    elif damage == "no ranks":
        ours.unlink()
    elif damage == "ranks torn":
        ours.write_text("%%% x\n")
    elif damage == "fewer ranks":
        ours.write_text("".join(ours.read_text().splitlines(keepends=True)[5:]))


DAMAGES = {
    "pickled": r"are pickled.*can run code",
    "empty": r"holds no safetensors file",
    "a shard gone": r"lacks model-00002-of-00002\.safetensors",
    "index torn": r"index\.json cannot be read",
    "shard torn": r"model-00002-of-00002\.safetensors cannot be read",
    "another tensor": r"c_attn\.qweight.*which a Qwen-7B does not have",
    "another shape": r"has the shape \(49, 32\); by config\.json it is \(48, 32\)",
    "a tensor gone": r"lacks 1 of its \d+ tensors, lm_head\.weight",
    "no ranks": r"holds no qwen\.tiktoken",
    "ranks torn": r"is no list of tokens and ranks",
    "fewer ranks": r"qwen\.tiktoken is incomplete",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_wrong_with_a_checkpoint_is_said_and_nothing_half_made_is_left(
    tmp_path: Path, cache: Path, damage: str
) -> None:
    folder = checkpoint(tmp_path / "Qwen-7B")
    damaged(folder, damage)
    with pytest.raises(BaseError, match=DAMAGES[damage]):
        load(str(folder), precision="fp32", compute="fp32", say=lambda text: None)
    assert not [p for p in cache.glob("bases/*") if p.is_dir()]


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"no_bias": False}, "no_bias"), ({"rotary_pct": 0.5}, "rotary_pct")],
)
def test_what_qwen2_has_no_word_for_is_refused(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    folder = checkpoint(tmp_path / "Qwen-7B", **changed)
    with pytest.raises(BaseError, match=said):
        load(str(folder), precision="fp32", compute="fp32", say=lambda text: None)
