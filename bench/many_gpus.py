"""One training on one card and on several: examples a second, memory, and equality of the losses.

    python bench/many_gpus.py --tokenizer FOLDER [--work FOLDER] [--variants NAME …] [--steps 16]
    python bench/many_gpus.py --tiny          # two processes on a processor: does it run at all?

Trains the architectures of Qwen2.5-7B and -72B with random weights (made_bases.py) on 1,000
examples made of the sample FAQ's rows, by kefu's own plan, in processes that it starts itself,
one batch for all cards, so that the losses must be those of one card, step by step. FOLDER has
tokenizer.json and tokenizer_config.json of any Qwen.

Prints one JSON line a variant as it ends, and one that sets it beside its control. A variant that
takes longer than its limit is killed; the stacks of its processes go to stderr before. Variants
for which nothing is left of --budget are left out, and said so.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
EXAMPLES, WARM = 1000, 4


@dataclass(frozen=True)
class Variant:
    """One way to train; `against` is the variant whose losses it must have."""

    precision: str
    cards: int = 1
    recorded: bool = False
    """CUDA graphs, as kefu uses by itself where the base is not cut up."""
    shard: bool = False
    size: str = "7b"
    grows: bool = False
    """The plan's rows on every card, so that the batch grows with the cards."""
    against: str = ""
    limit: int = 75
    """Seconds."""


VARIANTS = {
    "bf16": Variant("bf16", recorded=True),
    "nf4": Variant("nf4", recorded=True),
    "bf16-2": Variant("bf16", 2, recorded=True, against="bf16"),
    "bf16-eager": Variant("bf16", against="bf16"),
    "bf16-shard-2": Variant("bf16", 2, shard=True, against="bf16-eager"),
    "nf4-eager": Variant("nf4", against="nf4"),
    "nf4-shard-2": Variant("nf4", 2, shard=True, against="nf4-eager"),
    "72b-nf4-shard-2": Variant("nf4", 2, shard=True, size="72b", limit=150),
    "72b-nf4-eager": Variant("nf4", size="72b", against="72b-nf4-shard-2", limit=120),
}
MORE = {
    "bf16-rows-2": Variant("bf16", 2, recorded=True, grows=True, against="bf16"),
    "nf4-2": Variant("nf4", 2, recorded=True, against="nf4"),
    "nf4-rows-2": Variant("nf4", 2, recorded=True, grows=True, against="nf4"),
    "bf16-eager-2": Variant("bf16", 2, against="bf16-eager"),
    "bf16-rows-4": Variant("bf16", 4, recorded=True, grows=True, against="bf16"),
    "nf4-shard-4": Variant("nf4", 4, shard=True, against="nf4-eager"),
    "72b-nf4-shard-4": Variant("nf4", 4, shard=True, size="72b", limit=150),
}
"""Not run unless they are named."""
ON_A_PROCESSOR = ("bf16-eager", "bf16-shard-2", "nf4-eager", "nf4-shard-2")


def worker(folder: Path, variant: Variant, begun: float, weights: bool) -> None:
    """One process of a training; writes what its card held at most, and where its time went."""
    faulthandler.dump_traceback_later(max(5.0, variant.limit - 8.0 - (time.time() - begun)))
    import torch

    import made_bases
    from kefu.train import graphs, opening, train
    from kefu.workspace import RunFolder

    times = {"imported": time.time() - begun}

    def load(*said: Any, **named: Any) -> Any:
        found = made_bases.load(*said, **named)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times["made"] = time.time() - begun
        return found

    if not weights:
        opening.load = load
    if not variant.recorded:
        graphs.possible = lambda session: False
    run = RunFolder(folder)
    train(
        run.plan(), run.examples(), run, shard=variant.shard, say=lambda text: None,
        on_start=lambda trained, total: times.update(opened=time.time() - begun),
    )  # fmt: skip
    cuda = torch.cuda.is_available()
    told = {
        "peak": torch.cuda.max_memory_allocated() if cuda else 0,
        "held": torch.cuda.max_memory_reserved() if cuda else 0,
        "times": {name: round(t, 1) for name, t in times.items()},
    }
    (folder / f"told-{os.environ.get('RANK', '0')}").write_text(json.dumps(told))
    faulthandler.cancel_dump_traceback_later()


def prepared(base: Path, work: Path, precision: str) -> Any:
    """kefu's own plan and rows for this base, whose 4 bits are kept packed."""
    from kefu import jobs
    from kefu.plan import probe
    from kefu.settings import Settings
    from kefu.workspace import Workspace

    settings = Settings(base=str(base), precision=precision, faq="faq.csv")  # type: ignore[arg-type]
    jobs.init(work)
    return jobs.prepare(jobs.open_faq(Workspace(work), settings, None), settings, probe())


def planned(plan: Any, variant: Variant, batch: int, steps: int) -> Any:
    """The plan with the bench's batch, and what it forecasts for that."""
    from kefu.plan.bases import resolve
    from kefu.plan.memory import Way, parts
    from kefu.records import Choice

    way = Way(
        precision=plan.precision.value,
        compute=plan.compute.value,
        micro_batch=-(-batch // variant.cards),
        length=plan.max_length.value,
        checkpointing=False,
        rank=plan.rank.value,
        targets=plan.targets.value,
        dropout=False,
        engine="lean",
        accumulation=1 if variant.recorded else 2,
        cuda=plan.machine.device == "cuda",
        cards=variant.cards if variant.shard else 1,
    )
    said = {
        "engine": "lean", "micro_batch": batch, "accumulation": 1, "steps": steps,
        "save_every": 10**6, "checkpointing": False, "unpacked": False, "softmax": "all",
    }  # fmt: skip
    forecast = parts(resolve(plan.base.value).shape, way)
    return replace(
        plan, forecast=forecast, **{name: Choice(value, "bench") for name, value in said.items()}
    )


def run(
    name: str, variant: Variant, made: Any, work: Path, batch: int, steps: int, weights: bool
) -> dict[str, Any]:
    """Trains in the variant's processes; prints and returns the figures."""
    from kefu.records import Plan
    from kefu.workspace import RunFolder, dump, write_json

    plan = planned(made.plan, variant, batch, steps)
    folder = RunFolder(work / f"run-{name}")
    shutil.rmtree(folder.path, ignore_errors=True)
    folder.path.mkdir(parents=True)
    write_json(folder.file("plan.json"), plan, Plan)
    # Before the first step the contrast reads every row: for 72B no more than the steps need.
    count = EXAMPLES if variant.size == "7b" else batch * steps
    rows = itertools.islice(itertools.cycle(made.examples), count)
    lines = [json.dumps(dump(row), ensure_ascii=False) for row in rows]
    folder.file("examples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    start = [sys.executable]
    if variant.cards > 1:
        start += ["-m", "torch.distributed.run", "--standalone"]
        start += ["--nproc-per-node", str(variant.cards)]
    start += [str(HERE), "--worker", str(folder.path), "--variants", name]
    start += ["--begun", str(time.time()), *(["--weights"] if weights else [])]
    start += ["--limit", str(variant.limit)]
    begun = time.monotonic()
    # NVLink multicast asks for rights that rented machines do not give.
    process = subprocess.Popen(
        start,
        env={**os.environ, "NCCL_NVLS_ENABLE": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    late = False
    try:
        out, _ = process.communicate(timeout=variant.limit)
    except subprocess.TimeoutExpired:
        late = True
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
    told = list(folder.steps())
    found: dict[str, Any] = {
        "variant": name,
        "size": variant.size,
        "precision": variant.precision,
        "cards": variant.cards,
        "recorded": variant.recorded,
        "shard": variant.shard,
        "batch": batch,
        "took": round(time.monotonic() - begun, 1),
    }
    if late or process.returncode or len(told) < steps:
        print(out, file=sys.stderr, flush=True)
        found |= {"killed_after": variant.limit} if late else {"exit": process.returncode}
        found |= {"steps_done": len(told), "seconds": [s.seconds for s in told[-3:]]}
        print(json.dumps(found | {"last_words": out[-1500:]}), flush=True)
        return {}
    gaps = sorted(b.seconds - a.seconds for a, b in itertools.pairwise(told[WARM - 1 :]))
    # The mean: steps differ in their tokens. The slowest hundredth is the machine's doing.
    gaps = gaps[: max(1, len(gaps) - len(gaps) // 100)]
    each = sum(gaps) / len(gaps)
    ranks = [json.loads((folder.path / f"told-{r}").read_text()) for r in range(variant.cards)]
    found |= {
        "steps": steps,
        "times": ranks[0]["times"],
        "ms_a_step": round(1000 * each, 1),
        "examples_a_second": round(batch / each, 1),
        "peak_gib": [round(rank["peak"] / 2**30, 2) for rank in ranks],
        "held_gib": [round(rank["held"] / 2**30, 2) for rank in ranks],
        "forecast_gib": round(plan.forecast.allocated / 2**30, 2),
        "losses": [round(step.loss, 6) for step in told[:20]],
        "notes": [step.note for step in told if step.note],
    }
    print(json.dumps(found), flush=True)
    return found


def compared(control: dict[str, Any], found: dict[str, Any], grows: bool) -> None:
    """Prints what a variant brings over its control, and how far their losses lie apart."""
    if not control or not found:
        return
    speed = found["examples_a_second"] / control["examples_a_second"]
    line = {
        "variant": found["variant"],
        "against": control["variant"],
        "faster": round(speed, 3),
    }
    if grows:
        line["efficiency"] = round(speed / found["cards"], 3)
    else:
        apart = [abs(a - b) for a, b in zip(control["losses"], found["losses"], strict=False)]
        line |= {
            "losses_apart_first": round(apart[0], 6),
            "losses_apart_most": round(max(apart), 6),
        }
    print(json.dumps(line), flush=True)


def main() -> None:
    every = {**VARIANTS, **MORE}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--base", type=Path, help="a 7B folder with weights, to be loaded")
    parser.add_argument("--work", type=Path, default=Path("bench-many"))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=every)
    parser.add_argument("--rows", type=int, help="rows a step; without it the plan's")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--budget", type=float, default=290, help="seconds for all")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--limit", type=int, help="seconds for each")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--begun", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--weights", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.worker:
        asked = replace(every[said.variants[0]], limit=said.limit)
        return worker(said.worker, asked, said.begun, said.weights)
    end = time.monotonic() + said.budget
    chosen = {name: every[name] for name in said.variants}
    if said.limit:
        chosen = {name: replace(v, limit=said.limit) for name, v in chosen.items()}
    if said.tiny:
        sys.path.insert(0, str(HERE.parents[1] / "tests"))
        import tiny

        said.work = Path(tempfile.mkdtemp())
        said.tokenizer, end = tiny.base(said.work / "words"), time.monotonic() + 3600
        limit = said.limit or 600
        chosen = {
            name: replace(v, size="tiny", limit=limit)
            for name, v in chosen.items()
            if name in ON_A_PROCESSOR
        }
        said.rows = said.rows or 8
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    import made_bases

    made: dict[tuple[str, str], Any] = {}
    found: dict[str, dict[str, Any]] = {}
    for name, variant in chosen.items():
        left = int(end - time.monotonic())
        if left < 25:
            print(json.dumps({"variant": name, "left_out": f"{left} s were left"}), flush=True)
            continue
        kind = (variant.size, variant.precision)
        work = said.work / "-".join(kind)
        if kind not in made:
            base = said.base or made_bases.folder_of(variant.size, said.tokenizer, said.work)
            made[kind] = prepared(base.resolve(), work, variant.precision)
        rows = said.rows or made[kind].plan.micro_batch.value
        batch = rows * variant.cards if variant.grows else rows
        variant = replace(variant, limit=min(variant.limit, left))
        found[name] = run(name, variant, made[kind], work, batch, said.steps, said.base is not None)
        compared(found.get(variant.against, {}), found[name], variant.grows)
    return None


if __name__ == "__main__":
    main()
