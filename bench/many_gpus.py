"""One training on one card and on several: examples a second, memory, and equality of the losses.

    python bench/many_gpus.py --tokenizer FOLDER [--work FOLDER] [--worlds 1 2] [--precisions bf16]
                              [--variants recorded rows] [--steps 25]
    python bench/many_gpus.py --tiny          # two processes on a processor: does it run at all?

Builds Qwen2.5-7B's architecture with random weights (see gpu.py) and trains it on 1,000 examples
made of the sample FAQ's rows, by kefu's own plan, in processes that it starts itself:
  rows    the plan's rows on every card, so the batch grows with the cards: the efficiency is
          examples/s over that of one card times their number;
  batch   one batch for all cards: the losses must be those of one card, step by step.
Both use the lean engine step by step; the variants called `recorded` replay CUDA graphs, as kefu
does by itself; `shard` is `batch` with the base cut up over the cards (FSDP). Prints one
JSON line a variant, then how far the losses lie apart. NF4 is tried where bitsandbytes is there,
by the plan (which unpacks it where there is room) and `packed`, as a smaller card would keep it.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
EXAMPLES, WARM = 1000, 5
VARIANTS = ("recorded", "recorded-batch", "rows", "batch", "shard")


def worker(folder: Path, recorded: bool, shard: bool) -> None:
    """One process of a training; writes what its card held at most."""
    import torch

    from kefu.train import graphs, train
    from kefu.workspace import RunFolder

    if not recorded:
        graphs.possible = lambda session: False
    run = RunFolder(folder)
    train(run.plan(), run.examples(), run, shard=shard, say=lambda text: None)
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    (folder / f"peak-{os.environ.get('RANK', '0')}").write_text(str(peak))


def prepared(base: Path, work: Path, precision: str) -> Any:
    """kefu's own plan and rows for this base."""
    from kefu import jobs
    from kefu.plan import probe
    from kefu.settings import Settings
    from kefu.workspace import Workspace

    wanted = "nf4" if precision == "packed" else precision
    settings = Settings(base=str(base), precision=wanted, faq="faq.csv")  # type: ignore[arg-type]
    jobs.init(work)
    made = jobs.prepare(jobs.open_faq(Workspace(work), settings, None), settings, probe())
    return replace(made, plan=kept_packed(made.plan)) if precision == "packed" else made


def kept_packed(plan: Any) -> Any:
    """The plan with its 4-bit base as it is, as where there is no room to unpack it."""
    from kefu.plan.bases import resolve
    from kefu.plan.memory import Way, parts
    from kefu.records import Choice

    way = Way(
        precision=plan.precision.value,
        compute=plan.compute.value,
        micro_batch=plan.micro_batch.value,
        length=plan.max_length.value,
        checkpointing=plan.checkpointing.value,
        rank=plan.rank.value,
        targets=plan.targets.value,
        dropout=False,
        engine="lean",
        accumulation=plan.accumulation.value,
    )
    forecast = parts(resolve(plan.base.value).shape, way)
    return replace(plan, unpacked=Choice(False, "bench"), forecast=forecast)


def variant(
    made: Any,
    work: Path,
    name: str,
    world: int,
    batch: int,
    most: int,
    recorded: bool = False,
    shard: bool = False,
) -> dict[str, Any]:
    """Trains in `world` processes with `batch` rows a step; prints and returns the figures."""
    from kefu.records import Choice, Plan
    from kefu.workspace import RunFolder, dump, write_json

    steps = min(-(-EXAMPLES // batch), most)
    plan = replace(
        made.plan,
        engine=Choice("lean", "bench"),
        micro_batch=Choice(batch, "bench"),
        accumulation=Choice(1, "bench"),
        steps=Choice(steps, "bench"),
        save_every=Choice(10**6, "bench"),
    )
    folder = RunFolder(work / f"run-{name}-{world}")
    shutil.rmtree(folder.path, ignore_errors=True)
    folder.path.mkdir(parents=True)
    write_json(folder.file("plan.json"), plan, Plan)
    rows = itertools.islice(itertools.cycle(made.examples), EXAMPLES)
    lines = [json.dumps(dump(row), ensure_ascii=False) for row in rows]
    folder.file("examples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    start = [sys.executable]
    if world > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
    start += [str(HERE), "--worker", str(folder.path), *(["--recorded"] if recorded else [])]
    start += ["--shard"] if shard else []
    begun = time.monotonic()
    # NVLink multicast asks for rights that rented machines do not give.
    done = subprocess.run(
        start, env={**os.environ, "NCCL_NVLS_ENABLE": "0"}, capture_output=True, text=True
    )
    told = list(folder.steps())
    if done.returncode or len(told) < steps:
        print(json.dumps({"variant": name, "world": world, "failed": done.stderr[-1500:]}))
        return {}
    gaps = sorted(b.seconds - a.seconds for a, b in itertools.pairwise(told[WARM - 1 :]))
    # The mean: steps differ in their tokens. The slowest hundredth is the machine's doing.
    gaps = gaps[: max(1, len(gaps) - len(gaps) // 100)]
    each = sum(gaps) / len(gaps)
    peaks = [int((folder.path / f"peak-{rank}").read_text()) for rank in range(world)]
    found = {
        "variant": name,
        "world": world,
        "precision": plan.precision.value,
        "batch": batch,
        "recorded": recorded,
        "steps": steps,
        "took": round(time.monotonic() - begun, 1),
        "ms_a_step": round(1000 * each, 1),
        "examples_a_second": round(batch / each, 1),
        "peak_gib": [round(peak / 2**30, 2) for peak in peaks],
        "forecast_gib": round(plan.forecast.allocated / 2**30, 2),
        "losses": [round(step.loss, 6) for step in told[:20]],
        "notes": [step.note for step in told if step.note],
    }
    print(json.dumps(found), flush=True)
    return found


def compared(single: dict[str, Any], many: dict[str, Any], efficiency: bool) -> None:
    """Prints what several cards bring over one, or how far their losses lie apart."""
    if not single or not many:
        return
    speed = many["examples_a_second"] / single["examples_a_second"]
    line = {"variant": many["variant"], "world": many["world"], "faster": round(speed, 3)}
    if efficiency:
        line["efficiency"] = round(speed / many["world"], 3)
    else:
        apart = [abs(a - b) for a, b in zip(single["losses"], many["losses"], strict=True)]
        line |= {
            "losses_apart_first": round(apart[0], 6),
            "losses_apart_most": round(max(apart), 6),
        }
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--base", type=Path, help="a base folder that is there already")
    parser.add_argument("--work", type=Path, default=Path("bench-many"))
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--precisions", nargs="+", default=["bf16", "nf4"])
    parser.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    parser.add_argument("--rows", type=int, help="rows a card; without it the plan's")
    parser.add_argument("--steps", type=int, default=10**6, help="of each variant, at most")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--recorded", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--shard", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.worker:
        return worker(said.worker, said.recorded, said.shard)
    if said.tiny:
        sys.path.insert(0, str(HERE.parents[1] / "tests"))
        import tiny

        said.work = Path(tempfile.mkdtemp())
        said.base, said.precisions, said.steps = tiny.base(said.work / "base"), ["fp32"], 24
        said.rows = said.rows or 8
        # Nothing is recorded on a processor.
        said.variants = [v for v in said.variants if not v.startswith("recorded")]
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    if said.base is None:
        import gpu

        said.base = said.work / "qwen-7b-random"
        if not (said.base / "model.safetensors.index.json").exists():
            gpu.build(said.base, said.tokenizer)
    alone = {}
    for precision in said.precisions:
        if precision in ("nf4", "packed") and not importlib.util.find_spec("bitsandbytes"):
            print(json.dumps({"precision": precision, "left_out": "bitsandbytes is not here"}))
            continue
        work = said.work / precision
        made = prepared(said.base.resolve(), work, precision)
        rows = said.rows or made.plan.micro_batch.value
        found = {
            name: variant(made, work, name, 1, rows, said.steps, name == "recorded")
            for name in ("recorded", "rows")
            if name in said.variants
        }
        alone[precision] = (made, work, rows, found)
    for precision, (made, work, rows, found) in alone.items():
        for world in (w for w in said.worlds if w > 1):
            for name in said.variants:
                grows = name in ("recorded", "rows")
                recorded, shard = name.startswith("recorded"), name == "shard"
                if shard and precision in ("nf4", "packed"):
                    continue
                many = variant(
                    made, work, name, world, rows * world if grows else rows, said.steps,
                    recorded, shard,
                )  # fmt: skip
                control = found.get("recorded" if recorded else "rows") or {}
                compared(control or next(iter(found.values()), {}), many, grows)
    return None


if __name__ == "__main__":
    main()
