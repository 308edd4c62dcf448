"""Tiny real models, a small FAQ and plans for them, made in the test: nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from kefu.plan import make, probe
from kefu.records import Choice, Example, Faq, Origin, Pair, Plan, Split
from kefu.settings import Settings
from kefu.workspace import RunFolder, write_json

HAND_OVER = "這題請真人客服回覆您。"
ROWS = (
    ("營業時間是幾點？", "每天上午 10 點到晚上 8 點。", ("幾點開門", "開到幾點", "今天有開嗎")),
    ("電話是幾號？", "請撥 02-2345-6789。", ("怎麼打給你們", "給我電話", "聯絡電話")),
    ("可以停車嗎？", "地下二樓可停車，每小時 40 元。", ("有停車場嗎", "停車多少錢", "車停哪裡")),
    ("怎麼換尺寸？", "15 天內憑發票換尺寸一次。", ("尺寸不合", "能換大一號嗎", "換貨期限")),
    ("有哪些顏色？", "有黑、白、藍三色。", ("顏色有幾種", "有藍色的嗎", "能選紅色嗎")),
)
"""Question, answer, other wordings."""

FAQ = Faq(
    tuple(Pair(q, a, Origin("shop.csv", i), w) for i, (q, a, w) in enumerate(ROWS, start=2)), ()
)
EXAMPLES = (
    *(Example(text, a, q) for q, a, w in ROWS for text in (q, *w[:2])),
    Example("今天天氣如何", None),
    Example("你會唱歌嗎", None),
    Example("那停車呢", ROWS[2][1], ROWS[2][0], history=((ROWS[0][0], ROWS[0][1]),)),
)
HELD_OUT = (*(Example(w[2], a, q) for q, a, w in ROWS), Example("股票會漲嗎", None))

CHATML = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{- '<|im_start|>system\n你是好幫手。<|im_end|>\n' -}}{%- endif -%}"
    "{%- for m in messages -%}"
    "{{- '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
"""ChatML with a system prompt that nobody asked for, as Qwen 2.5 has it."""
THINKING = CHATML[: -len("{%- endif -%}")] + (
    "{%- if enable_thinking is defined and not enable_thinking -%}"
    "{{- '<think>\n\n</think>\n\n' -}}{%- endif -%}{%- endif -%}"
)
"""The same with a thought before the answer, as Qwen 3 has it."""
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]


@cache
def _words() -> str:
    """Byte-level BPE, trained on the FAQ itself."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=SPECIAL,
    )
    made.train_from_iterator([t for q, a, w in ROWS for t in (q, a, *w)] * 2, trainer)
    # As Llama and Gemma have it: a beginning that a careless caller gets a second time.
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    text: str = made.to_str()
    return text


def tokenizer(chat: str = "") -> Any:
    """With `chat` as its chat template, or none."""
    found = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_words()), bos_token="<s>", eos_token="</s>"
    )
    if chat:
        found.chat_template = chat
    return found


SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}


def base(folder: Path, kind: str = "llama", chat: str = "", **changed: int) -> Path:
    """A random model of `kind` with two layers, and its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    words = tokenizer(chat)
    sizes: dict[str, Any] = {**SIZES, "vocab_size": len(words), **changed}
    if kind == "gemma3_text":
        sizes |= {"sliding_window": 16, "query_pre_attn_scalar": 8}
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))
    with torch.no_grad():  # norms of a fresh model are all alike, and would hide a slip
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def plan(base_folder: Path, settings: dict[str, Any] | None = None, **changed: Any) -> Plan:
    """The plan that kefu makes for this base, with some of its choices set by the test."""
    said = Settings(**{"base": str(base_folder), "hand_over": HAND_OVER, **(settings or {})})
    made = make(said, FAQ, probe("cpu"), train=EXAMPLES)
    usual: dict[str, Any] = {"max_length": 256}
    if made.recipe.value == "default":
        usual |= {"precision": "fp32", "compute": "fp32", "warmup": 1}
    return replace(
        made, **{name: Choice(v, "The test's.") for name, v in {**usual, **changed}.items()}
    )


def run_folder(path: Path, examples: Sequence[Example] = EXAMPLES) -> RunFolder:
    """A run folder as `jobs.train` leaves it to the trainer."""
    path.mkdir(parents=True)
    found = RunFolder(path)
    write_json(found.file("faq.json"), FAQ.pairs, tuple[Pair, ...])
    write_json(found.file("split.json"), Split(tuple(examples), HELD_OUT), Split)
    return found


def weights(folder: RunFolder) -> dict[str, Any]:
    """The adapter's tensors."""
    from safetensors.torch import load_file

    found: dict[str, Any] = load_file(folder.adapter / "adapter_model.safetensors")
    return found


def lines(path: Path) -> list[Any]:
    """A JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
