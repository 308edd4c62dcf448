"""Many adapters on one base in one server process, against one adapter: memory and latency.

`python bench/adapters.py RUN --adapters 100`: copies of a run's folder, each with changed values
in its adapter, in one process as the server's child holds them (`kefu.bot.Shelf`). Asks every one
twice (first: it is loaded; then: it is there), then one adapter again and again, and all by turns,
the same questions in both: median and 95th percentile of an answer, by the clock and by the
processor's time of this process, which other work on the machine hardly lengthens. Also: what
putting an adapter on costs, here and by PEFT's own `load_adapter` and `set_adapter`; with `--room`
(MiB) the same under a bound that holds only some. Without RUN a tiny random model, whose figures
say little. One thread, so that the processor's time is work and not waiting.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file, save_file

from kefu.bot import Shelf
from kefu.records import Example
from kefu.weights import WEIGHTS
from kefu.workspace import RunFolder, dump, write_text

MIB = 2**20


def copies(source: Path, to: Path, count: int, rows: int) -> dict[str, RunFolder]:
    """`count` run folders like `source`; large files that do not differ are links to its own."""
    made = {}
    tensors = load_file(source / "adapter" / WEIGHTS)
    for number in range(count):
        place = to / "runs" / f"run-{number}"
        (place / "adapter").mkdir(parents=True)
        for name in ("plan.json", "faq.json", "calibration.json", "run.json"):
            if (source / name).is_file():
                shutil.copy(source / name, place / name)
        lines = (source / "examples.jsonl").read_text(encoding="utf-8").split("\n")
        write_text(place / "examples.jsonl", "\n".join(lines[:rows]) + "\n")
        for file in (source / "adapter").iterdir():
            if file.name != WEIGHTS:
                (place / "adapter" / file.name).symlink_to(file.resolve())
        changed = {name: t * (1 + number / 1e4) for name, t in tensors.items()}
        save_file(changed, place / "adapter" / WEIGHTS)
        made[place.name] = RunFolder(place)
    return made


def tiny(to: Path) -> Path:
    """A tiny run."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import export_runs

    run = export_runs.run(to / "tiny", export_runs.base(to / "base", "llama"))
    rows = [Example(p.question, p.answer) for p in run.faq().pairs] + [Example("天氣如何", None)]
    lines = [json.dumps(dump(row), ensure_ascii=False) for row in rows]
    write_text(run.file("examples.jsonl"), "\n".join(lines) + "\n")
    return run.path


def say(text: str) -> None:
    print(text, flush=True)


def memory() -> float:
    """MiB that this process holds."""
    return float(psutil.Process().memory_info().rss) / MIB


Time = tuple[float, float]
"""Milliseconds by the clock, and of the processor."""


def timed(work: Callable[[], Any]) -> Time:
    begun, used = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - begun) * 1000, (time.process_time() - used) * 1000


def told(what: str, times: Sequence[Time]) -> float:
    """Says it, and gives back the median of the processor's time."""
    lines = []
    for name, values in zip(("clock", "processor"), zip(*times, strict=True), strict=True):
        cut = statistics.quantiles(values, n=20)[18] if len(values) > 1 else values[0]
        lines.append(f"{name} median {statistics.median(values):.1f} ms, p95 {cut:.1f}")
    say(f"{what}: {'; '.join(lines)} ({len(times)})")
    return statistics.median(used for _, used in times)


def by_peft(model: Any, runs: Sequence[RunFolder]) -> None:
    """PEFT's own way with the same adapters, on the same model."""
    loads = [
        timed(lambda r=run: model.load_adapter(str(r.adapter), adapter_name=r.name))  # type: ignore[misc]
        for run in runs
    ]
    told("  PEFT: an adapter is loaded", loads)
    told(
        "  PEFT: an adapter is put on", [timed(lambda r=r: model.set_adapter(r.name)) for r in runs]
    )  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--adapters", type=int, default=100)
    parser.add_argument("--rows", type=int, default=10**6, help="Trained wordings of a run.")
    parser.add_argument("--room", type=int, help="MiB that the adapters may hold.")
    parser.add_argument("--peft", action="store_true", help="PEFT's own way too.")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = said.run or tiny(Path(folder))
        runs = copies(source, Path(folder), said.adapters, said.rows)
        names = list(runs)
        before = memory()
        bots = Shelf(runs, bound=said.room * MIB if said.room else None)
        first, _ = timed(lambda: bots.take(names[0]))
        one = memory()
        questions = [pair.question + "？" for pair in runs[names[0]].faq().pairs]
        say(f"1 adapter: {one:.0f} MiB, loaded with its base in {first / 1000:.1f} s")

        def ask(name: str, number: int) -> Time:
            question = questions[number % len(questions)]
            return timed(lambda: bots.take(name).answer(question))

        ask(names[0], 0)
        alone = [ask(names[0], number) for number in range(len(names))]
        loads = [timed(lambda n=n: bots.take(n)) for n in names[1:]]  # type: ignore[misc]
        many = memory()
        say(
            f"{len(names)} adapters: {many:.0f} MiB, {(many - one) / (len(names) - 1):.1f} MiB for "
            f"each more; counted {bots.bytes / MIB / len(bots.held):.1f}; "
            f"{len(bots.held)} held (before: {before:.0f} MiB)"
        )
        told("an adapter is loaded, with its states", loads)
        turns = [ask(name, number) for number, name in enumerate(names)]
        again = [ask(names[-1], n) for n in range(len(names))]
        usual = told("one adapter answers, alone", alone)
        ratio = told("all answer by turns", turns) / usual
        beside = told("one adapter answers, beside all", again) / usual
        say(f"against one adapter alone: by turns {ratio:.3f}, beside all {beside:.3f} times")
        say(f"at the end {memory():.0f} MiB, loaded {bots.loads} times")
        if not said.room:
            switches = [timed(lambda n=n: bots.take(n)) for n in names]  # type: ignore[misc]
            told("  an adapter is put on", switches)
        if said.peft:
            by_peft(bots.take(names[0]).engine.model, list(runs.values()))  # type: ignore[attr-defined]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
