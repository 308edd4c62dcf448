"""Writes a tokenizer so that it is read back fast.

transformers reads a tokenizer.json twice where tokenizer_config.json does not list the added
tokens, as it did until version 5: for Gemma's, of 33 MB, a second each time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..workspace import write_text

PARTS = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
"""Of an added token, in transformers' files."""


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """The files of `tokenizer` into `folder`, its added tokens in both of them."""
    tokenizer.save_pretrained(str(folder))
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["added_tokens_decoder"] = {
        str(number): {part: getattr(token, part) for part in PARTS}
        for number, token in sorted(tokenizer.added_tokens_decoder.items())
    }
    write_text(path, json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True) + "\n")
