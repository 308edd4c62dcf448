"""Unsloth on the rows that bench/speed.py wrote down: the same steps, in the same order.

    python bench/unsloth_step.py NAME --base FOLDER --rows rows.json [--nf4] [--steps 40]

A program of its own, without kefu: Unsloth wants versions of its own of transformers and TRL, and
wants to be imported before both. `python bench/speed.py --unsloth FOLDER` starts it, with FOLDER
(its packages) first on the path. Settings as its papers recommend for speed: its own kernels, no
checkpointing where memory allows, and padding-free rows if it decides so.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--base", required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--nf4", action="store_true")
    parser.add_argument("--steps", type=int, default=40)
    said = parser.parse_args()
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    started = float(os.environ.get("BENCH_STARTED", time.time()))
    import torch

    torch_seconds = time.time() - started

    import unsloth  # before trl and transformers: it changes both
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from stopwatch import Stopwatch

    ready = time.time()
    watch = Stopwatch(said.steps)
    found = json.loads(said.rows.read_text(encoding="utf-8"))
    batch, rows = found["batch"], found["rows"][: found["batch"] * said.steps]
    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
        said.base,
        max_seq_length=512,
        dtype=torch.bfloat16 if watch.cuda else torch.float32,
        load_in_4bit=said.nf4,
        use_gradient_checkpointing=False,
    )
    model = unsloth.FastLanguageModel.get_peft_model(
        model,
        r=16,
        lora_alpha=32,
        lora_dropout=0,
        bias="none",
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
        use_gradient_checkpointing=False,
        random_state=1,
    )
    loaded = time.time()

    class Say(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                watch.step(float(logs["loss"]))

    data = Dataset.from_dict(
        {"input_ids": [r["ids"] for r in rows], "labels": [r["labels"] for r in rows]}
    )
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=data,
        callbacks=[Say()],
        args=SFTConfig(
            output_dir=str(said.rows.parent / said.name),
            max_steps=said.steps,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=1,
            learning_rate=2e-4,
            lr_scheduler_type="cosine",
            warmup_steps=2,
            max_length=512,
            optim="adamw_torch_fused",
            weight_decay=0.0,
            logging_steps=1,
            save_strategy="no",
            bf16=watch.cuda,
            use_cpu=not watch.cuda,
            train_sampling_strategy="sequential",
            report_to="none",
            disable_tqdm=True,
            seed=1,
        ),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    tokens = sum(len(r["ids"]) for r in rows) / len(rows)
    line = watch.line(said.name, batch=batch, tokens=tokens, total=found["total"])
    line |= {
        "torch_import_s": round(torch_seconds, 1),
        "ready_s": round(ready - started, 1),
        "load_s": round(loaded - ready, 1),
        "padding_free": bool(getattr(trainer.args, "padding_free", False)),
        "unsloth": unsloth.__version__,
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
