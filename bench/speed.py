"""How fast a training step is: the tutorial's recipe, TRL at its best, and kefu's engine.

    python bench/speed.py --tokenizer FOLDER [--work FOLDER] [--only NAME ...]

Builds the architecture of Qwen2.5-7B with random weights (speed and memory do not depend on the
values) under --work, with the tokenizer in FOLDER (any Qwen tokenizer), and trains LoRA r 16 on q,
k, v and o with 1,000 examples of about 99 tokens, four a step unless the name says otherwise. Each
variant runs in a process of its own. One JSON line a variant: ms a step (median), ms that the GPU
is busy in a step (profiler), seconds from the process's start to the end of the first step, and
the same first losses for what computes the same.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
EXAMPLES, STEPS = 1000, 40

VARIANTS: dict[str, dict[str, Any]] = {
    "tutorial": {"engine": "trl", "micro_batch": 1, "accumulation": 4, "checkpointing": True,
                 "precision": "nf4", "steps": 8},
    "trl-nf4": {"engine": "trl", "precision": "nf4"},
    "trl-bf16": {"engine": "trl"},
    "eager-nf4": {"graphs": False, "precision": "nf4"},
    "eager-bf16": {"graphs": False},
    "graphs-nf4": {"precision": "nf4"},
    "graphs-unpacked": {"precision": "nf4", "unpacked": True},
    "graphs-bf16": {},
    "graphs-bf16-64": {"micro_batch": 64, "steps": 24},
    "graphs-bf16-all-linear": {"targets": ("all-linear",)},
}  # fmt: skip


def examples(count: Any) -> list[Any]:
    """Rows of a made-up shop of about 99 tokens each, by the tokenizer's `count`."""
    from kefu.records import Example

    draw = random.Random(5)
    things = ("商品", "訂單", "發票", "退款", "保固", "運費", "會員", "優惠券", "維修", "尺寸")
    acts = ("怎麼查詢", "可以更改嗎", "多久會到", "要收費嗎", "去哪裡辦理", "需要什麼文件")
    made = []
    for number in range(EXAMPLES):
        asked = f"第 {number + 1} 號的{draw.choice(things)}{draw.choice(acts)}？"
        answer = f"第 {number + 1} 號"
        aim = draw.gauss(66, 16)
        while count(asked + answer) < aim:
            phone = draw.randrange(10**7, 10**8)
            answer += f"的{draw.choice(things)}請在 {draw.randrange(1, 30)} 天內撥 02-{phone}，或到"
            answer += f"{draw.choice(things)}頁面辦理，費用 {draw.randrange(10, 900)} 元。"
        made.append(Example(asked, answer))
    return made


def one(name: str, base: Path, work: Path) -> None:
    """Runs one variant in this process and prints its line."""
    started = float(os.environ["BENCH_STARTED"])
    import torch

    torch_seconds = time.time() - started
    from kefu import jobs
    from kefu.plan import probe
    from kefu.prompt import Prompt
    from kefu.records import Choice
    from kefu.settings import Settings
    from kefu.train import graphs, train
    from kefu.weights import load_tokenizer
    from kefu.workspace import RunFolder, Workspace

    said = dict(VARIANTS[name])
    cuda = torch.cuda.is_available()
    if not said.pop("graphs", True):
        graphs.possible = lambda session: False
    steps = int(said.pop("steps", STEPS))
    settings = Settings(base=str(base), precision="fp32" if not cuda else "bf16", faq="faq.csv")
    jobs.init(work)
    prepared = jobs.prepare(
        jobs.open_faq(Workspace(work), settings, None), settings, probe(), steps=steps
    )
    tokenizer = load_tokenizer(str(base))
    rows = examples(lambda text: len(tokenizer.encode(text)))
    changes = {
        "rank": 16, "alpha": 32, "targets": QKVO, "contrast": 0.0, "micro_batch": 4,
        "accumulation": 1, "checkpointing": False, "max_length": 512, "dropout": 0.0,
        "save_every": 10_000, "warmup": 2, "softmax": "all", "learning_rate": 2e-4,
        "log_every": 1, **said,
    }  # fmt: skip
    plan = prepared.plan
    for key, value in changes.items():
        plan = replace(plan, **{key: Choice(value, "bench")})
    prompt = Prompt(tokenizer, plan.template.value, hand_over=plan.hand_over.value)
    lengths = [len(prompt.row(e).ids) for e in rows]
    folder = RunFolder(work / f"bench-{name}")
    shutil.rmtree(folder.path, ignore_errors=True)
    folder.path.mkdir(parents=True)
    stamps: list[float] = []
    losses: list[float] = []
    busy: list[float] = []
    watch = None
    from_step, for_steps = max(4, steps - 8), min(4, steps - 5)

    def on_step(step: Any) -> None:
        nonlocal watch
        if cuda:
            torch.cuda.synchronize()
        stamps.append(time.time())
        losses.append(round(step.loss, 4))
        if cuda and len(stamps) == from_step:
            watch = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            watch.__enter__()
        elif watch is not None and len(stamps) == from_step + for_steps:
            torch.cuda.synchronize()
            watch.__exit__(None, None, None)
            spans = [e for e in watch.events() if str(e.device_type).endswith("CUDA")]
            busy.append(sum(e.device_time_total for e in spans) / 1000 / for_steps)
            if os.environ.get("BENCH_KERNELS"):
                print(
                    watch.key_averages().table(
                        sort_by="cuda_time_total", row_limit=18, max_name_column_width=70
                    ),
                    flush=True,
                )
            watch = None

    ready = time.time()

    def on_start(*_: int) -> None:
        nonlocal loaded
        loaded = time.time()

    loaded = ready
    train(plan, rows, folder, on_step=on_step, on_start=on_start)
    gaps = sorted(b - a for a, b in itertools.pairwise(stamps[1:from_step]))
    ms = 1000 * gaps[len(gaps) // 2]
    batch = plan.effective_batch
    line = {
        "variant": name,
        "ms_a_step": round(ms, 1),
        "gpu_busy_ms": round(busy[0], 1) if busy else None,
        "examples_a_second": round(1000 * batch / ms, 1),
        "batch": batch,
        "tokens_a_row": round(sum(lengths) / len(lengths), 1),
        "torch_import_s": round(torch_seconds, 1),
        "ready_s": round(ready - started, 1),
        "load_s": round(loaded - ready, 1),
        "first_step_s": round(stamps[0] - started, 1),
        "second_step_s": round(stamps[1] - stamps[0], 2),
        "slowest_ms": round(1000 * gaps[-1]),
        "steps": steps,
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if cuda else None,
        "losses": losses[:4] + losses[-2:],
    }
    # Multiply-adds of a forward pass and of the way back to the inputs, by the frozen matrices.
    flops = 4 * plan.total.value * batch * line["tokens_a_row"]
    line["tflops"] = round(flops / ms / 1e9, 1)
    print(json.dumps(line), flush=True)


def ceiling() -> None:
    """The rate of a large matrix product on this GPU."""
    import torch

    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(10):
        a @ b
    end.record()
    torch.cuda.synchronize()
    rate = 10 * 2 * 8192**3 / begin.elapsed_time(end) / 1e9
    print(json.dumps({"matmul_tflops": round(rate)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--work", type=Path, default=Path("bench-speed"))
    parser.add_argument("--base", type=Path, help="a base folder that is there already")
    parser.add_argument("--only", nargs="*", default=[], choices=VARIANTS)
    parser.add_argument("--one", choices=VARIANTS)
    said = parser.parse_args()
    work = said.work.resolve()
    base = (said.base or work / "qwen-7b-random").resolve()
    if said.one:
        one(said.one, base, work / "rows")
        return
    work.mkdir(parents=True, exist_ok=True)
    if not (base / "config.json").exists():
        from gpu import build

        begun = time.monotonic()
        build(base, said.tokenizer)
        print(json.dumps({"built_seconds": round(time.monotonic() - begun, 1)}), flush=True)
    import torch

    if torch.cuda.is_available():
        ceiling()
    for name in said.only or VARIANTS:
        done = subprocess.run(
            [sys.executable, __file__, "--one", name, "--work", str(work), "--base", str(base)],
            env={**os.environ, "BENCH_STARTED": str(time.time())},
            capture_output=True,
            text=True,
        )
        print(done.stdout, end="", flush=True)
        if done.returncode:
            print(json.dumps({"variant": name, "failed": done.stderr.strip()[-1500:]}), flush=True)


if __name__ == "__main__":
    main()
