"""Tiny real models and finished runs on them, made in the test: no download, no training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from kefu.plan import make
from kefu.prompt import Prompt
from kefu.records import Faq, Machine, Origin, Pair, Plan, Run
from kefu.settings import Settings
from kefu.workspace import RunFolder, write_json, write_text

LINES = ["運費多少？滿千免運，未滿收八十元。", "How long is delivery? It takes 3 days."] * 4
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHATML = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\n' + m['content'] + "
    "'<|im_end|>\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\n\n</think>\n\n' -}}{%- endif -%}{%- endif -%}"
)
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3_text")
_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}
MACHINE = Machine("a test's machine", "cpu", 2, 8 << 30, False, 1e11, 1e10)


def _split(pattern: str) -> list[Any]:
    return [
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]


_WORDS = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
CUTS = {
    "Qwen": _split(QWEN),
    "Llama 3": _split(QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")),
    "SmolLM": [pre_tokenizers.Digits(individual_digits=True), _WORDS],
    "GPT-2": [_WORDS],
}
"""How families with byte-level BPE cut text into words."""


def tokenizer(chat: bool, cut: str = "Qwen") -> Any:
    """A byte-level BPE tokenizer in the manner of a family."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(CUTS[cut])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>"],
    )
    made.train_from_iterator(LINES, trainer)
    found = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|endoftext|>", bos_token=None if chat else "<s>"
    )
    if chat:
        found.chat_template = CHATML
    return found


def base(folder: Path, kind: str, *, chat: bool = False, cut: str = "Qwen") -> Path:
    """A random model of `kind` with two layers, and its tokenizer."""
    torch.manual_seed(1)
    words = tokenizer(chat, cut)
    sizes = dict(_SIZES, vocab_size=len(words), eos_token_id=0, bos_token_id=None, pad_token_id=0)
    if kind == "gemma3_text":
        sizes |= {"sliding_window": 16, "query_pre_attn_scalar": 8}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))
    with torch.no_grad():  # norms of a fresh model are all alike, and would hide a slip
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.to(torch.bfloat16).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def run(folder: Path, base_folder: Path, *, template: str = "plain", **settings: Any) -> RunFolder:
    """A finished run: a real plan, and an adapter whose every matrix is random."""
    pair = Pair("運費多少？", "滿千免運，未滿收八十元。", Origin("faq.csv", 2))
    plan = make(Settings(base=str(base_folder), **settings), Faq((pair,), ()), MACHINE)
    assert plan.template.value == template
    found = RunFolder(folder)
    write_json(found.file("plan.json"), plan, Plan)
    write_text(found.file("examples.jsonl"), json.dumps({"question": pair.question}) + "\n")
    write_json(found.file("faq.json"), [pair], list[Pair])
    write_text(found.file("loss.svg"), "<svg xmlns='http://www.w3.org/2000/svg'/>")
    write_json(found.file("versions.json"), {"python": "3"})
    write_json(found.file("run.json"), Run(folder.name, str(folder), 1, 2.0, 1.0, 3.0, 4, 5), Run)
    adapter(found, plan, base_folder)
    return found


def adapter(found: RunFolder, plan: Plan, base_folder: Path) -> None:
    torch.manual_seed(2)
    words = PreTrainedTokenizerFast.from_pretrained(base_folder)
    prompt = Prompt(words, plan.template.value, persona=plan.persona.value)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base_folder),
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(str(found.adapter))
    prompt.tokenizer.save_pretrained(str(found.adapter))
    (found.adapter / "README.md").write_text(f"PEFT's own card, which names {base_folder}")


def untrained(found: RunFolder, base_folder: Path, to: Path) -> Path:
    """The base alone as GGUF in fp32, for a LoRA to go on."""
    from kefu.export.gguf_files import write_model
    from kefu.export.source import open_run

    model = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    write_model(model, open_run(found), to, "f32")
    return to
