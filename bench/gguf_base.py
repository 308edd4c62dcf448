"""A base that lies in a GGUF file, as a folder that kefu trains on.

    python bench/gguf_base.py PART [PART …] FOLDER [--tie]

Puts the parts of a file together where it comes in several, reads it by transformers and writes
config, tokenizer and weights in bf16. What 4 bits have lost stays lost: the base is the file's. It
is how a real Qwen2.5 was examined on machines without a model hub (LOG.md, "A larger base").
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", type=Path, nargs="+")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--tie",
        action="store_true",
        help="the head is the embeddings, as the base's own config says; files may have both",
    )
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / "base.gguf"
        with whole.open("wb") as file:
            for part in said.parts:
                with part.open("rb") as piece:
                    shutil.copyfileobj(piece, file)
        read = {"gguf_file": whole.name}
        found = AutoModelForCausalLM.from_pretrained(place, dtype=torch.bfloat16, **read)
        words = AutoTokenizer.from_pretrained(place, **read)
    config = found.config
    config.__dict__.pop("quantization_config", None)
    config.tie_word_embeddings = said.tie
    # transformers refuses to write what it has read from GGUF.
    made = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    weights = found.state_dict()
    if said.tie:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    made.load_state_dict(weights)
    made.tie_weights()
    made.save_pretrained(said.folder)
    words.save_pretrained(said.folder)
    print(f"{said.folder}: {made.num_parameters():,} parameters")


if __name__ == "__main__":
    main()
