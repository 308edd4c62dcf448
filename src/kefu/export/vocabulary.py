"""The tokenizer as llama.cpp wants it, from tokenizer.json, so that both give the same ids.

Two families: byte-level BPE (Qwen, SmolLM, Llama 3), where llama.cpp must be told by name how
text is cut into words, and SentencePiece-like BPE (Gemma, Llama 2), where each token's score is
the place of its first merge. An unknown way of cutting is refused: it would only show in
production. Does not know the normalisers that llama.cpp leaves out (Qwen's NFC).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import gguf

from ..errors import BaseError

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CUTS = {
    (_QWEN2, "byte-level"): "qwen2",
    (_QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|"), "byte-level"): "llama-bpe",
    ("digits", "byte-level-words"): "smollm",
    ("byte-level-words",): "gpt-2",
}
"""llama.cpp's name for each way of cutting text into words."""

NORMAL, UNKNOWN, CONTROL, OWN, UNUSED, BYTE = (
    gguf.TokenType.NORMAL,
    gguf.TokenType.UNKNOWN,
    gguf.TokenType.CONTROL,
    gguf.TokenType.USER_DEFINED,
    gguf.TokenType.UNUSED,
    gguf.TokenType.BYTE,
)
LAST = -1000.0
"""The score of a token that no merge makes."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """All that goes into the header. `scores` only for SentencePiece, `merges` only else."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float]
    merges: list[str]
    add_space: bool


def vocabulary(tokenizer: Any, size: int) -> Vocabulary:
    """Of a fast tokenizer, filled up to the `size` rows of the embedding. Raises BaseError."""
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    model = data["model"]
    if model.get("type") != "BPE":
        raise BaseError(
            f"kefu cannot write a tokenizer of the type {model.get('type')} as GGUF.",
            "Export the run as `merged` or `adapter` instead.",
        )
    pairs = [m.split(" ", 1) if isinstance(m, str) else m for m in model["merges"]]
    spm = bool(model.get("byte_fallback"))
    unknown = model.get("unk_token")
    tokens = [f"[PAD{i}]" for i in range(size)]
    types = [int(UNUSED)] * size
    for token, number in model["vocab"].items():
        tokens[number] = token
        is_byte = spm and len(token) == 6 and token.startswith("<0x") and token.endswith(">")
        types[number] = int(BYTE if is_byte else UNKNOWN if token == unknown else NORMAL)
    for added in data["added_tokens"]:
        number = added["id"]
        tokens[number] = added["content"]
        if types[number] != UNKNOWN:
            types[number] = int(CONTROL if added["special"] else OWN)
    if not spm:
        merges = [" ".join(p) for p in pairs]
        return Vocabulary("gpt2", _pre(data), tokens, types, [], merges, False)
    first: dict[str, int] = {}
    for rank, (left, right) in enumerate(pairs):
        first.setdefault(left + right, rank)
    scores = [
        -float(first[t]) if kind == NORMAL and t in first else 0.0 if kind == BYTE else LAST
        for t, kind in zip(tokens, types, strict=True)
    ]
    return Vocabulary("llama", "default", tokens, types, scores, [], _adds_space(data))


def describe(
    writer: Any, words: Vocabulary, tokenizer: Any, template: str, terminator: int
) -> None:
    """Writes the tokenizer into a GGUF header.

    The template writes every special token, so llama.cpp must add none. Generation ends at
    `terminator`, whatever the base calls its end of text.
    """
    writer.add_tokenizer_model(words.model)
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    if words.scores:
        writer.add_token_scores(words.scores)
    if words.merges:
        writer.add_token_merges(words.merges)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(terminator)
    writer.add_eot_token_id(terminator)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(words.add_space)
    writer.add_chat_template(template)


def _parts(node: Any) -> list[dict[str, Any]]:
    if not node:
        return []
    if node.get("type") == "Sequence":
        inner = node.get("pretokenizers") or node.get("normalizers") or []
        return [part for item in inner for part in _parts(item)]
    return [node]


def _pre(data: dict[str, Any]) -> str:
    cuts: list[str] = []
    for part in _parts(data.get("pre_tokenizer")):
        kind = part["type"]
        if kind == "Split":
            pattern = part["pattern"]
            cuts.append(pattern.get("Regex") or pattern.get("String") or "")
        elif kind == "Digits":
            cuts.append("digits" if part.get("individual_digits") else "numbers")
        elif kind == "ByteLevel":
            cuts.append("byte-level-words" if part.get("use_regex", True) else "byte-level")
        else:
            cuts.append(kind)
    found = _CUTS.get(tuple(cuts))
    if found is None:
        raise BaseError(
            "This base cuts text into words in a way that kefu cannot name for llama.cpp "
            f"({', '.join(cuts) or 'none'}).",
            "Export the run as `merged`, and use llama.cpp's own convert_hf_to_gguf.py on that.",
        )
    return found


def _adds_space(data: dict[str, Any]) -> bool:
    if any(p["type"] == "Prepend" for p in _parts(data.get("normalizer"))):
        return True
    spaces = [p for p in _parts(data.get("pre_tokenizer")) if p["type"] == "Metaspace"]
    return any(p.get("prepend_scheme", "always") != "never" for p in spaces)
