"""Training on a processor: kefu's engine beside plain TRL, on the same rows, in turns.

    python bench/cpu.py [--faq FILE] [--base NAME] [--steps 8] [--rounds 2] [--threads 1]

The sample FAQ (or that of FILE), its own plan for this machine, and its rows in the plan's order.
Three ways to do the steps, each in a process of its own, one after the other, `rounds` times:
  trl      TRL's trainer with the plan's batch and precision: loss over the whole vocabulary
  same     kefu's engine computing the very same: no contrast, the whole vocabulary in each step
  planned  kefu's engine as `kefu train` runs it: with contrast, and the likely vocabulary in seven
           steps of eight
A JSON line a run, then one with the medians, the ratios to TRL, and the load of the machine. Where
other work has the machine, look at the processor's own seconds, with one thread: more threads wait
for each other in a loop, which counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

WAYS: dict[str, dict[str, Any]] = {
    "trl": {"engine": "trl", "contrast": 0.0, "softmax": "all", "patience": 0},
    "same": {"contrast": 0.0, "softmax": "all", "patience": 0},
    "planned": {"patience": 0},
}


def one(way: str, base: str, steps: int, file: Path | None) -> None:
    """Some steps in this process; prints a line."""
    from kefu import jobs
    from kefu.plan import probe
    from kefu.records import Choice
    from kefu.settings import Settings
    from kefu.train import train
    from kefu.workspace import RunFolder, Workspace

    stamps: list[float] = []
    busy: list[float] = []
    losses: list[float] = []

    def on_step(step: Any) -> None:
        stamps.append(time.perf_counter())
        busy.append(time.process_time())
        losses.append(round(step.loss, 4))

    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        jobs.init(work)
        settings = Settings(base=base, faq="faq.csv")
        faq = jobs.open_faq(Workspace(work), settings, str(file) if file else None)
        prepared = jobs.prepare(faq, settings, probe("cpu"), steps=steps)
        plan = prepared.plan
        for key, value in {**WAYS[way], "save_every": 10_000}.items():
            plan = replace(plan, **{key: Choice(value, "bench")})
        folder = RunFolder(work / "run")
        folder.path.mkdir()
        train(plan, prepared.examples, folder, on_step=on_step)
    gaps = [b - a for a, b in itertools.pairwise(stamps)]
    each = median(gaps)
    line = {
        "way": way,
        "seconds_a_step": round(each, 3),
        "processor_seconds_a_step": round(median(b - a for a, b in itertools.pairwise(busy)), 3),
        "examples_a_second": round(plan.effective_batch / each, 2),
        "batch": plan.effective_batch,
        "micro_batch": plan.micro_batch.value,
        "precision": plan.precision.value,
        "slowest": round(max(gaps), 3),
        "losses": losses,
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faq", type=Path)
    parser.add_argument("--base", default="gemma-3-270m")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, help="of torch; else as many as there are cores")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.one:
        one(said.one, said.base, said.steps, said.faq)
        return
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    before = os.getloadavg()
    if said.threads:
        os.environ["OMP_NUM_THREADS"] = str(said.threads)
    for _ in range(said.rounds):
        for way in WAYS:
            words = [sys.executable, __file__, "--one", way, "--base", said.base]
            words += ["--faq", str(said.faq.resolve())] if said.faq else []
            done = subprocess.run(
                [*words, "--steps", str(said.steps)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(done.stderr[-3000:])
            line = json.loads(done.stdout.strip().splitlines()[-1])
            found[way].append(line)
            print(json.dumps(line), flush=True)
    seconds = {
        way: median(x["processor_seconds_a_step"] for x in lines) for way, lines in found.items()
    }
    rates = {way: median(x["examples_a_second"] for x in lines) for way, lines in found.items()}
    told = {
        "examples_a_second": rates,
        "times_trl": {way: round(rate / rates["trl"], 2) for way, rate in rates.items()},
        "times_trl_by_processor": {w: round(seconds["trl"] / s, 2) for w, s in seconds.items()},
        "threads": said.threads,
        "cores": len(os.sched_getaffinity(0)),
        "load_before": [round(x, 1) for x in before],
        "load_after": [round(x, 1) for x in os.getloadavg()],
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
