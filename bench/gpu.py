"""The first fine-tuning project at the size of 7B on a GPU: it runs, what it costs, what is saved.

    python bench/gpu.py --tokenizer FOLDER [--work FOLDER]

Builds the architecture of Qwen2.5-7B with random weights (speed and memory do not depend on the
values) under --work, with the tokenizer in FOLDER (any Qwen tokenizer), then
1. runs `kefu train --recipe tutorial` on the sample FAQ, number for number, and `kefu ask`;
2. sets the engines beside each other on the same rows: TRL as in the tutorial, TRL with the
   default recipe's batch, the lean engine in NF4 and in bf16.
Prints one JSON line a variant: ms a step, examples/s, first losses, peak memory and forecast.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

QWEN_7B = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "rope_theta": 1000000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "eos_token_id": 151643,
}


def build(folder: Path, tokenizer: Path) -> None:
    """A model folder with random weights in bf16, in shards as from the hub."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, folder / name)
    (folder / "config.json").write_text(json.dumps({**QWEN_7B, "dtype": "bfloat16"}))
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    torch.manual_seed(0)
    shard: dict[str, torch.Tensor] = {}
    places: dict[str, str] = {}
    number = size = 0
    state = model.state_dict()
    if config.tie_word_embeddings:
        state.pop("lm_head.weight")
    for i, (name, meta) in enumerate(state.items()):
        if name.endswith("norm.weight"):
            value = torch.ones(meta.shape, dtype=torch.bfloat16)
        elif name.endswith("bias"):
            value = torch.zeros(meta.shape, dtype=torch.bfloat16)
        else:
            device = "cuda" if torch.cuda.is_available() else "cpu"
            value = torch.empty(meta.shape, dtype=torch.bfloat16, device=device).normal_(0, 0.02)
        shard[name] = value.cpu().contiguous()
        size += value.numel() * 2
        if size > 2e9 or i == len(state) - 1:
            file = f"model-{number:05d}.safetensors"
            save_file(shard, folder / file, metadata={"format": "pt"})
            places.update(dict.fromkeys(shard, file))
            shard, size, number = {}, 0, number + 1
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def command(work: Path, *words: str) -> tuple[float, float, str]:
    """A kefu command in a process of its own: when it began and ended, and what it printed."""
    begun = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "kefu", "-C", str(work), *words], capture_output=True, text=True
    )
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-3000:], file=sys.stderr)
        raise SystemExit(f"kefu {words[0]} failed")
    return begun, time.time(), done.stdout


def variant(base: Path, work: Path, name: str, steps: int, **changes: object) -> None:
    """One engine on the sample FAQ's rows; prints its figures."""
    import gc

    import torch

    from kefu import jobs
    from kefu.plan import probe
    from kefu.records import Choice
    from kefu.settings import Settings
    from kefu.train import train
    from kefu.workspace import RunFolder, Workspace

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    recipe = str(changes.pop("recipe", "default"))
    precision = str(changes.pop("precision", "auto"))
    settings = Settings(base=str(base), recipe=recipe, precision=precision, faq="faq.csv")
    jobs.init(work)
    faq = jobs.open_faq(Workspace(work), settings, None)
    prepared = jobs.prepare(faq, settings, probe(), steps=steps)
    plan = prepared.plan
    for key, value in changes.items():
        plan = replace(plan, **{key: Choice(value, "bench")})
    folder = RunFolder(work / f"bench-{name}")
    shutil.rmtree(folder.path, ignore_errors=True)
    folder.path.mkdir(parents=True)
    stamps: list[float] = []
    losses: list[float] = []

    def on_step(step: object) -> None:
        torch.cuda.synchronize()
        stamps.append(time.monotonic())
        losses.append(round(step.loss, 4))  # type: ignore[attr-defined]

    train(plan, prepared.examples, folder, on_step=on_step)
    every = 10 if recipe == "tutorial" else 1
    gaps = sorted((b - a) / every for a, b in itertools.pairwise(stamps[2:]))
    gaps = gaps or [(stamps[-1] - stamps[0]) / max(1, every * (len(stamps) - 1))]
    ms = 1000 * gaps[len(gaps) // 2]
    print(
        json.dumps(
            {
                "variant": name,
                "ms_a_step": round(ms, 1),
                "examples_a_second": round(1000 * plan.effective_batch / ms, 1),
                "micro": plan.micro_batch.value,
                "accumulation": plan.accumulation.value,
                "checkpointing": plan.checkpointing.value,
                "losses": losses[:4],
                "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
                "forecast_gib": round(plan.forecast.memory / 2**30, 2),
                "forecast_ms": round(1000 * plan.forecast.seconds / plan.steps.value, 1),
            }
        ),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("bench-gpu"))
    parser.add_argument("--base", type=Path, help="a base folder that is there already")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--skip-tutorial", action="store_true")
    parser.add_argument("--skip-engines", action="store_true")
    said = parser.parse_args()
    said.work.mkdir(parents=True, exist_ok=True)
    base = said.base or said.work / "qwen-7b-random"
    if not (base / "model.safetensors.index.json").exists() and said.base is None:
        begun = time.monotonic()
        build(base, said.tokenizer)
        print(json.dumps({"built_seconds": round(time.monotonic() - begun, 1)}), flush=True)
    if not said.skip_tutorial:
        shop = said.work / "shop"
        begun, ended, text = command(
            shop, "train", "--recipe", "tutorial", "--base", str(base.resolve()), "--name",
            "tutorial", str(Path(__file__).parents[1] / "src/kefu/templates/faq.csv"),
        )  # fmt: skip
        print(text, flush=True)
        print(json.dumps({"tutorial_seconds": round(ended - begun, 1)}), flush=True)
        begun, ended, text = command(shop, "ask", "--run", "tutorial", "產品保固多久？", "--json")
        print(json.dumps({"ask_seconds": round(ended - begun, 1), "said": text[:200]}), flush=True)
    if said.skip_engines:
        return
    rows = said.work / "rows"
    variant(base, rows, "tutorial-trl-nf4", 45, recipe="tutorial")
    variant(base, rows, "default-trl-nf4", said.steps, engine="trl", precision="nf4", contrast=0.0)
    variant(base, rows, "default-lean-nf4", said.steps, precision="nf4", contrast=0.0)
    variant(base, rows, "default-trl-bf16", said.steps, engine="trl", contrast=0.0)
    variant(base, rows, "default-lean-bf16", said.steps, precision="bf16", contrast=0.0)
    variant(base, rows, "default-lean-bf16-contrast", said.steps, precision="bf16")


if __name__ == "__main__":
    main()
