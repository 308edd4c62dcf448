"""One training on one card and on several: examples a second, memory, and equality of the losses.

    python bench/many_gpus.py --tokenizer FOLDER [--work FOLDER] [--variants NAME …] [--steps 16]
    python bench/many_gpus.py --tiny          # two processes on a processor: does it run at all?

Trains the architectures of Qwen2.5-7B and -72B with random weights (made_bases.py) on 1,000
examples made of the sample FAQ's rows, by kefu's own plan, in processes that it starts itself as
torchrun would (which imports torch once more), one batch for all cards, so that the losses must be
those of one card, step by step. FOLDER has tokenizer.json and tokenizer_config.json of any Qwen.

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
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kefu.workspace import RunFolder

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


def worker(folder: Path, variant: Variant, weights: bool) -> None:
    """One process of a training; writes what its card held at most, and where its time went.

    Imports most of what it needs, and then waits until it is its variant's turn.
    """
    import torch
    import transformers.models.qwen2.modeling_qwen2  # noqa: F401

    import made_bases
    from kefu.train import graphs, opening, train
    from kefu.workspace import RunFolder

    while not (folder / "go").exists():
        time.sleep(0.02)
    begun = time.time()
    faulthandler.dump_traceback_later(max(5.0, float((folder / "go").read_text()) - 8.0))
    told: dict[str, Any] = {"seconds": {}}
    cuda = torch.cuda.is_available()

    def load(*said: Any, **named: Any) -> Any:
        found = (opened_before if weights else made_bases.load)(*said, **named)
        if cuda:
            torch.cuda.synchronize()
            told["made_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
            torch.cuda.reset_peak_memory_stats()
        told["seconds"]["made"] = round(time.time() - begun, 1)
        return found

    opened_before, opening.load = opening.load, load
    if not variant.recorded:
        graphs.possible = lambda session: False
    run = RunFolder(folder)
    train(
        run.plan(), run.examples(), run, shard=variant.shard, say=lambda text: None,
        on_start=lambda *n: told["seconds"].update(opened=round(time.time() - begun, 1)),
        on_step=lambda step: told["seconds"].setdefault("first", round(time.time() - begun, 1)),
    )  # fmt: skip
    told["seconds"]["ended"] = round(time.time() - begun, 1)
    told["peak"] = torch.cuda.max_memory_allocated() if cuda else 0
    told["held"] = torch.cuda.max_memory_reserved() if cuda else 0
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


def started(name: str, variant: Variant, folder: Path, weights: bool) -> list[Any]:
    """A variant's processes, which import and then wait for its turn."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [sys.executable, str(HERE), "--worker", str(folder), "--variants", name]
    start += ["--weights"] if weights else []
    found = []
    for rank in range(variant.cards):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": variant.cards, "MASTER_PORT": port}
        env = {**os.environ, **{k: str(v) for k, v in place.items()}, "MASTER_ADDR": "127.0.0.1"}
        # NVLink multicast asks for rights that rented machines do not give.
        env["NCCL_NVLS_ENABLE"] = "0"
        with (folder / f"out-{rank}").open("w") as out:
            found.append(
                subprocess.Popen(start, env=env, stdout=out, stderr=out, start_new_session=True)
            )
    return found


def ended(processes: list[Any], limit: float) -> bool:
    """Waits until all have ended, or one badly; kills what is left. Whether the time was up."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        codes = [process.poll() for process in processes]
        if all(code == 0 for code in codes) or any(codes):
            break
        time.sleep(0.05)
    late = time.monotonic() >= end
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return late


def run(
    name: str, variant: Variant, made: Any, folder: RunFolder, batch: int, steps: int,
    processes: list[Any],
) -> dict[str, Any]:  # fmt: skip
    """Trains in the variant's processes; prints and returns the figures."""
    from kefu.records import Plan
    from kefu.workspace import dump, write_json

    plan = planned(made.plan, variant, batch, steps)
    write_json(folder.file("plan.json"), plan, Plan)
    # Before the first step the contrast reads every row: for 72B no more than the steps need.
    count = EXAMPLES if variant.size == "7b" else batch * steps
    rows = itertools.islice(itertools.cycle(made.examples), count)
    lines = [json.dumps(dump(row), ensure_ascii=False) for row in rows]
    folder.file("examples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    begun = time.monotonic()
    (folder.path / "new").write_text(str(variant.limit))
    (folder.path / "new").rename(folder.path / "go")
    late = ended(processes, variant.limit)
    bad = [p.returncode for p in processes if p.returncode]
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
    if late or bad or len(told) < steps:
        words = [(folder.path / f"out-{r}").read_text() for r in range(variant.cards)]
        print(*words, sep="\n", file=sys.stderr, flush=True)
        found |= {"killed_after": variant.limit} if late else {"exit": bad}
        found |= {"steps_done": len(told), "losses": [round(s.loss, 4) for s in told]}
        print(json.dumps(found | {"last_words": words[-1][-1500:]}), flush=True)
        return {}
    gaps = sorted(b.seconds - a.seconds for a, b in itertools.pairwise(told[WARM - 1 :]))
    # The mean: steps differ in their tokens. The slowest hundredth is the machine's doing.
    gaps = gaps[: max(1, len(gaps) - len(gaps) // 100)]
    each = sum(gaps) / len(gaps)
    ranks = [json.loads((folder.path / f"told-{r}").read_text()) for r in range(variant.cards)]
    found |= {
        "steps": steps,
        "seconds": ranks[0]["seconds"],
        "made_gib": [rank.get("made_gib") for rank in ranks],
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
    parser.add_argument("--weights", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.worker:
        return worker(said.worker, every[said.variants[0]], said.weights)
    # Ended from outside it takes its processes along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
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
    from kefu.workspace import RunFolder

    # Importing takes longer than most variants: others do it meanwhile where cores are many.
    ahead = max(1, (os.cpu_count() or 1) // 4)
    made: dict[tuple[str, str], Any] = {}
    found: dict[str, dict[str, Any]] = {}
    waiting: dict[str, list[Any]] = {}
    try:
        for place, (name, variant) in enumerate(chosen.items()):
            for other in list(chosen)[place : place + ahead]:
                if other not in waiting:
                    folder = said.work / f"run-{other}"
                    waiting[other] = started(other, chosen[other], folder, said.base is not None)
            left = int(end - time.monotonic())
            if left < 25:
                print(json.dumps({"variant": name, "left_out": f"{left} s were left"}), flush=True)
                continue
            kind = (variant.size, variant.precision)
            if kind not in made:
                base = said.base or made_bases.folder_of(variant.size, said.tokenizer, said.work)
                made[kind] = prepared(base.resolve(), said.work / "-".join(kind), kind[1])
            rows = said.rows or made[kind].plan.micro_batch.value
            batch = rows * variant.cards if variant.grows else rows
            timed = replace(variant, limit=min(variant.limit, left))
            run_folder = RunFolder(said.work / f"run-{name}")
            found[name] = run(name, timed, made[kind], run_folder, batch, said.steps, waiting[name])
            compared(found.get(variant.against, {}), found[name], variant.grows)
    finally:
        for process in itertools.chain(*waiting.values()):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return None


if __name__ == "__main__":
    main()
