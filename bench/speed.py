"""How fast a training step is: the tutorial's recipe, TRL at its best, and kefu's engine.

    python bench/speed.py --tokenizer FOLDER [--work FOLDER] [--only NAME ...] [--unsloth FOLDER]

Builds the architecture of Qwen2.5-7B with random weights (speed and memory do not depend on the
values) under --work, with the tokenizer in FOLDER (any Qwen tokenizer), and trains LoRA r 16 on q,
k, v and o with 1,000 examples of about 99 tokens, four a step unless the name says otherwise. Each
variant runs in a process of its own. One JSON line a variant: ms a step (median), ms that the GPU
is busy in a step (profiler), seconds from the process's start to the end of the first step, and
the same first losses for what computes the same. With --steps 200 (or any from 100 on) a last line
says how far the losses of all variants lie apart, from the first step to the last.
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
LONGEST = 300
"""Seconds that a variant may take."""

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
BESIDE = {"unsloth-nf4": True, "unsloth-bf16": False}
"""Unsloth at four a step, 4-bit or not."""


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


def prepared(name: str, base: Path, work: Path, steps: int) -> tuple[Any, list[Any]]:
    """A variant's plan, and its rows as text."""
    from kefu import jobs
    from kefu.plan import probe
    from kefu.records import Choice
    from kefu.settings import Settings
    from kefu.weights import load_tokenizer
    from kefu.workspace import Workspace

    said = {k: v for k, v in VARIANTS[name].items() if k not in ("graphs", "steps")}
    machine = probe()
    precision = "bf16" if machine.device == "cuda" else "fp32"
    settings = Settings(base=str(base), precision=precision, faq="faq.csv")
    jobs.init(work)
    plan = jobs.prepare(
        jobs.open_faq(Workspace(work), settings, None), settings, machine, steps=steps
    ).plan
    tokenizer = load_tokenizer(str(base))
    changes = {
        "rank": 16, "alpha": 32, "targets": QKVO, "contrast": 0.0, "micro_batch": 4,
        "accumulation": 1, "checkpointing": False, "max_length": 512, "dropout": 0.0,
        "save_every": 10_000, "warmup": 2, "softmax": "all", "learning_rate": 2e-4,
        "log_every": 1, "scheduler": "cosine", **said,
    }  # fmt: skip
    for key, value in changes.items():
        plan = replace(plan, **{key: Choice(value, "bench")})
    return plan, examples(lambda text: len(tokenizer.encode(text)))


def one(name: str, base: Path, work: Path, steps: int | None) -> None:
    """Runs one variant in this process and prints its line."""
    from stopwatch import Stopwatch

    steps = steps or int(VARIANTS[name].get("steps", STEPS))
    watch = Stopwatch(steps)
    torch_seconds = time.time() - watch.started

    from kefu.prompt import Prompt
    from kefu.train import graphs, train
    from kefu.weights import load_tokenizer
    from kefu.workspace import RunFolder

    if not VARIANTS[name].get("graphs", True):
        graphs.possible = lambda session: False
    if name == "tutorial":  # as who follows it has it: kefu would choose torch's attention
        import torch

        torch.backends.cuda.enable_cudnn_sdp = lambda enabled: None
    plan, rows = prepared(name, base, work, steps)
    prompt = Prompt.of_plan(load_tokenizer(str(base)), plan)
    lengths = [len(prompt.row(e).ids) for e in rows]
    folder = RunFolder(work / f"bench-{name}")
    shutil.rmtree(folder.path, ignore_errors=True)
    folder.path.mkdir(parents=True)
    ready = loaded = time.time()

    def on_start(*_: int) -> None:
        nonlocal loaded
        loaded = time.time()

    train(plan, rows, folder, on_step=lambda step: watch.step(step.loss), on_start=on_start)
    tokens = sum(lengths) / len(lengths)
    line = watch.line(name, batch=plan.effective_batch, tokens=tokens, total=plan.total.value)
    line |= {
        "torch_import_s": round(torch_seconds, 1),
        "ready_s": round(ready - watch.started, 1),
        "load_s": round(loaded - ready, 1),
    }
    print(json.dumps(line), flush=True)


def write_rows(base: Path, work: Path, steps: int) -> None:
    """The rows of four-a-step variants in their order, as tokens, for tools that know no kefu."""
    from kefu.prompt import Prompt
    from kefu.train.session import order
    from kefu.weights import load_tokenizer

    plan, said = prepared("graphs-bf16", base, work, steps)
    prompt = Prompt.of_plan(load_tokenizer(str(base)), plan)
    batches = order(len(said), plan.effective_batch, steps, plan.seed.value)
    rows = [prompt.row(said[i]) for batch in batches for i in batch]
    found = {
        "batch": plan.effective_batch,
        "total": plan.total.value,
        "rows": [{"ids": list(row.ids), "labels": list(row.labels)} for row in rows],
    }
    (work / "rows.json").write_text(json.dumps(found), encoding="utf-8")


def beside(name: str, base: Path, work: Path, site: Path, steps: int) -> list[str]:
    """The command of a variant of another tool, whose packages lie in `site`."""
    words = ["env", f"PYTHONPATH={site}{os.pathsep}{HERE}"]
    if (site / "cudart").is_dir():  # xformers is built with an older CUDA than torch
        words.append(f"LD_LIBRARY_PATH={site / 'cudart'}:{os.environ.get('LD_LIBRARY_PATH', '')}")
    words += [f"UNSLOTH_COMPILE_LOCATION={work / 'compiled'}", sys.executable]
    words += [str(HERE / "unsloth_step.py"), name, "--base", str(base)]
    words += ["--rows", str(work / "rows" / "rows.json"), "--steps", str(steps)]
    return words + (["--nf4"] if BESIDE[name] else [])


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
    parser.add_argument("--only", nargs="*", default=[], choices=[*VARIANTS, *BESIDE])
    parser.add_argument("--unsloth", type=Path, help="folder with Unsloth and what it needs")
    parser.add_argument("--steps", type=int, help="steps of each variant; else as each says")
    parser.add_argument("--one", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--write-rows", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args()
    work = said.work.resolve()
    base = (said.base or work / "qwen-7b-random").resolve()
    if said.one or said.write_rows:
        if said.one:
            one(said.one, base, work / "rows", said.steps)
        else:
            write_rows(base, work / "rows", said.steps or STEPS)
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
    me = [sys.executable, __file__, "--work", str(work), "--base", str(base)]
    me += ["--steps", str(said.steps)] if said.steps else []
    names = said.only or [*VARIANTS, *(BESIDE if said.unsloth else ())]
    if set(names) & set(BESIDE):
        if not said.unsloth:
            raise SystemExit("Say with --unsloth where Unsloth and what it needs lie.")
        run("rows", [*me, "--write-rows"])
    told: dict[str, list[float]] = {}
    for name in names:
        if name in BESIDE:
            words = beside(name, base, work, said.unsloth.resolve(), said.steps or STEPS)
        else:
            words = [*me, "--one", name]
        told[name] = run(name, words)
    long = {name: losses for name, losses in told.items() if losses}
    for one_of, other in itertools.combinations(long, 2):
        apart = [abs(a - b) for a, b in zip(long[one_of], long[other], strict=True)]
        line = {"losses_of": one_of, "and_of": other, "steps": len(apart)}
        line |= {"most_apart": round(max(apart), 4), "at_step": apart.index(max(apart))}
        print(json.dumps({**line, "mean_apart": round(sum(apart) / len(apart), 5)}), flush=True)


def run(name: str, words: list[str]) -> list[float]:
    """Runs a variant in a process of its own and passes its line on; every loss, if it tells."""
    environment = {**os.environ, "BENCH_STARTED": str(time.time())}
    try:
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        print(json.dumps({"variant": name, "failed": f"not done in {LONGEST} s"}), flush=True)
        return []
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"')]
    for line in [done.stdout] if os.environ.get("BENCH_KERNELS") else lines:
        print(line)
    if done.returncode:
        print(json.dumps({"variant": name, "failed": done.stderr.strip()[-1500:]}))
    sys.stdout.flush()
    return [loss for line in lines for loss in json.loads(line).get("every_loss", [])]


if __name__ == "__main__":
    main()
