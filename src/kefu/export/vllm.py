"""The configuration with which vLLM serves an export: `vllm serve --config vllm.yaml`.

Its keys are options of `vllm serve`, and were read by the argument parser of vLLM 0.33.0
(`tests/test_export_vllm.py`, where vLLM is installed). Whether vLLM then answers as the run does
was not tried. Does not know the machine: memory and parallelism are vLLM's defaults.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .source import Source

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as `max-lora-rank`."""
FILE = "vllm.yaml"


def write(source: Source, folder: Path, *, lora: bool) -> None:
    """`vllm.yaml` in `folder`, for the adapter on its base or for the merged model that lies there.

    JSON is YAML, too, so that no writer of YAML is needed.
    """
    config: dict[str, Any] = {
        "model": source.base_name if lora else ".",
        "served-model-name": ["base" if lora else source.name],
        "chat-template": "chat_template.jinja",
        "max-model-len": max(2048, 2 * source.plan.max_length.value),
        # Else vLLM takes the base's own sampling, and a penalty that changes phone numbers.
        "generation-config": "vllm",
        "override-generation-config": json.dumps({"temperature": 0}),
    }
    if lora:
        rank = int(source.adapter_config["r"])
        config |= {
            "enable-lora": True,
            "max-lora-rank": next((r for r in RANKS if r >= rank), rank),
            "lora-modules": [f"{source.name}=."],
        }
    text = json.dumps(config, ensure_ascii=False, indent=1)
    head = "# In this folder: vllm serve --config vllm.yaml\n"
    if lora:
        head += "# `model` is the base: its name on the hub, or its folder on that machine.\n"
    (folder / FILE).write_text(f"{head}{text}\n", encoding="utf-8", newline="\n")
