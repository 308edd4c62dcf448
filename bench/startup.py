"""Where the time goes from a process's start to the first step of a training.

    python bench/startup.py                     # the embedded base, converted before
    python bench/startup.py --base FOLDER       # another base, from local files
    python bench/startup.py --base FOLDER --make TOKENIZER_FOLDER
                                                # the 7B architecture, random weights written first
    python bench/startup.py --against SOURCE --turns 3   # in turn with another version's `src`

Trains the sample FAQ by kefu's own plan, as `kefu train` does, for two steps, in a process of its
own; `import torch` alone in another one before is the control. One JSON line; all in seconds from
the process's start, but for the control and what has a name in -s_itself. `first_step` is when the
first step begins: its end, less what the second step took. `processor` has the same in seconds of
processor time, all cores together. What is trained at once is planned with the libraries imported
and the tokenizer read: both are in `planned`. Beside other work set OMP_WAIT_POLICY=passive:
threads that wait for each other burn minutes of it otherwise, and say nothing of kefu.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STARTED = "BENCH_STARTED"


class Done(Exception):
    """The second step is over: nothing more is measured."""


def child(base: str) -> None:
    """What `kefu train` does, with a stamp after each part."""
    started = float(os.environ[STARTED])
    at: dict[str, float] = {}
    busy: dict[str, float] = {}

    def stamp(name: str) -> None:
        at.setdefault(name, round(time.time() - started, 2))
        busy.setdefault(name, round(time.process_time(), 2))

    stamp("python")
    from kefu import cli, jobs, plan, settings, weights, workspace

    assert cli
    stamp("command_line")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        jobs.init(folder)
        said = settings.Settings(base=base, faq="faq.csv")
        room = workspace.Workspace(folder)
        faq = jobs.open_faq(room, said, None)
        from kefu.weights import loader

        if hasattr(loader, "tokenizer_of"):
            loader.tokenizer_of = timed(loader.tokenizer_of, "tokenizer", at)
        if hasattr(jobs, "stops"):  # as `kefu train`; older versions planned without torch
            jobs.stops(faq)
            stamp("checked")
            prepared = jobs.prepare(faq, said, plan.probe(), steps=2, at_once=True)
        else:
            jobs.check_faq(faq, said)
            stamp("checked")
            prepared = jobs.prepare(faq, said, plan.probe(), steps=2)
        stamp("planned")
        machine = prepared.plan.machine.device
        if hasattr(weights, "read_ahead"):  # as jobs.train does first; older versions did without
            weights.import_libraries(lambda: weights.read_ahead(base, machine))
        elif hasattr(weights, "import_libraries"):
            weights.import_libraries()
        import torch

        assert torch
        stamp("libraries")
        from kefu import train
        from kefu.train import opening

        assert train
        watched = (
            (opening, "load", "weights_and_tokenizer"),
            (opening, "get_peft_model", "adapter"),
        )
        for module, name, said_as in watched:
            if hasattr(module, name):
                setattr(module, name, timed(getattr(module, name), said_as, at))
        stamps: list[float] = []

        def on_step(step: Any) -> None:
            stamps.append(time.time() - started)
            stamp("first_step_done")
            if len(stamps) == 2:
                raise Done

        with contextlib.suppress(Done):
            jobs.train(room, prepared, on_step=on_step, on_start=lambda *_: stamp("model_ready"))
    second = stamps[1] - stamps[0]
    line = {
        "base": base,
        "device": prepared.plan.machine.device,
        **at,
        "first_step": round(stamps[0] - second, 2),
        "a_step_s_itself": round(second, 2),
        "processor": busy,
        "rows": len(prepared.examples),
        "trl_imported": "trl" in sys.modules,
        "modules": len(sys.modules),
    }
    print(json.dumps(line), flush=True)


def timed(work: Any, name: str, into: dict[str, float]) -> Any:
    def wrapped(*args: Any, **named: Any) -> Any:
        begun = time.time()
        made = work(*args, **named)
        into[f"{name}_s_itself"] = round(time.time() - begun, 2)
        return made

    return wrapped


def fresh(words: list[str], source: Path | None = None) -> tuple[float, str]:
    """A process of its own, with the kefu in `source`: seconds and what it printed."""
    begun = time.time()
    more = {"PYTHONPATH": str(source.resolve())} if source else {}
    done = subprocess.run(
        words,
        env={**os.environ, STARTED: str(begun), "TOKENIZERS_PARALLELISM": "false", **more},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(done.stderr[-3000:], file=sys.stderr)
        raise SystemExit("It failed.")
    return time.time() - begun, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="gemma-3-270m")
    parser.add_argument("--make", type=Path, metavar="TOKENIZER_FOLDER")
    parser.add_argument("--against", type=Path, metavar="SOURCE")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.child:
        child(said.base)
        return
    if said.make:
        from gpu import build

        build(Path(said.base), said.make)
    else:
        fresh([sys.executable, "-c", f"from kefu.weights import load; load({said.base!r})"])
    for _ in range(said.turns):
        for source in [None, said.against] if said.against else [None]:
            control, _ = fresh([sys.executable, "-c", "import torch"])
            _, text = fresh([sys.executable, __file__, "--child", "--base", said.base], source)
            line = json.loads(text.strip().splitlines()[-1])
            line["import_torch_alone"] = round(control, 2)
            line["beyond_torch"] = round(line["first_step"] - control, 2)
            line["load_average"] = [round(x, 1) for x in os.getloadavg()]
            print(json.dumps({"source": str(source or "this"), **line}), flush=True)


if __name__ == "__main__":
    main()
