"""What a training survives: killed, robbed of disk, memory or sense, it ends with the same exam.

    python bench/faults.py [--kills 20] [--base BASE] [--only NAME ...]

The sample FAQ's default run, checkpoint after every step, on a tiny random model (or on --base, by
the hour). Each fault is done to a run of its own; then the bot is made ready and examined. A line
each: whether adapter and losses are those of the undisturbed run in every byte, and the exam beside
the undisturbed one's. `seed` is an undisturbed run with another seed: how much luck is in an exam.
  kill    SIGKILL at random moments, half of them while a checkpoint lies half-written
  term    SIGTERM, three times          damaged  one bit of the newest checkpoint, three times
  disk    no file may grow beyond 6,000 bytes while a step is saved, as on a full disk
  nan spike memory   in the middle of a step
Ends with code 1 where an adapter that should be the same is not.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import tiny
from kefu import jobs
from kefu.errors import RunError
from kefu.plan import probe
from kefu.records import Choice
from kefu.settings import Settings
from kefu.train import Interrupted, checkpoints, lean
from kefu.workspace import RunFolder, Workspace

# A server that has imported all that training needs, and is forked for each process.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["kefu.train.lean", "peft", "transformers.models.qwen3"])
SAME = ("kill", "term", "damaged", "disk")
ROOM = 6000


def last(folder: RunFolder) -> int:
    """The last step that was told."""
    return max((s.step for s in folder.steps()), default=0)


def halves(folder: RunFolder) -> int:
    """Checkpoints that are being written."""
    return sum(path.name.startswith(".") for path in folder.checkpoints.glob(".*"))


class Shop:
    """A workspace, and the run that is done in it again and again."""

    def __init__(self, root: Path, base: str, steps: int | None, seed: int = 1) -> None:
        self.place = Workspace(root)
        jobs.init(root)
        self.made = self.prepared(base, steps, seed)
        self.steps = self.made.plan.steps.value

    def prepared(self, base: str, steps: int | None, seed: int) -> jobs.Prepared:
        settings = Settings(base=base, precision="fp32", faq="faq.csv", seed=seed)
        faq = jobs.open_faq(self.place, settings, None)
        made = jobs.prepare(faq, settings, probe("cpu"), steps=steps)
        plan = replace(made.plan, save_every=Choice(1, "bench"), keep=Choice(2, "bench"))
        return replace(made, plan=plan)

    def run(self, name: str, on_step: Callable[[Any], None] = lambda step: None) -> RunFolder:
        jobs.train(self.place, self.made, name=name, on_step=on_step)
        return self.place.run(name)

    def begun(self, name: str, at: int = 1) -> RunFolder:
        """A run that was stopped after a step."""

        def stop(step: Any) -> None:
            if step.step == at + 1:
                raise KeyboardInterrupt

        with suppress(Interrupted):
            self.run(name, stop)
        return self.place.run(name)

    def child(self, folder: RunFolder) -> Any:
        """A process of its own that goes on with it."""
        process = SERVER.Process(target=go_on, args=(self.place.root, folder.name))
        process.start()
        return process


def go_on(root: Path, name: str) -> None:
    with suppress(Interrupted):
        jobs.resume(Workspace(root), name)


def until(folder: RunFolder, step: int, process: Any) -> None:
    while process.is_alive() and last(folder) < step:
        time.sleep(0.005)


def kill(shop: Shop, name: str, times: int) -> dict[str, Any]:
    draw, folder = random.Random(11), shop.begun(name)
    inside, at = 0, []
    for number in range(1, times + 1):
        process = shop.child(folder)
        until(folder, max(last(folder) + 1, number * (shop.steps - 2) // (times + 1)), process)
        if number % 2:
            time.sleep(draw.random() * 0.1)
        else:
            while process.is_alive() and not halves(folder):
                time.sleep(0.0002)
        process.kill()
        process.join()
        inside += bool(halves(folder))
        at.append(last(folder))
    jobs.resume(shop.place, name)
    return {"kills": times, "half_written": inside, "at": at}


def term(shop: Shop, name: str, times: int) -> dict[str, Any]:
    folder, at = shop.begun(name), []
    for number in range(1, 4):
        process = shop.child(folder)
        until(folder, number * shop.steps // 4, process)
        process.terminate()
        process.join()
        newest = checkpoints.newest(folder)
        at.append([last(folder), checkpoints.step_of(newest) if newest else 0])
    jobs.resume(shop.place, name)
    return {"last_step_and_checkpoint": at}


def damaged(shop: Shop, name: str, times: int) -> dict[str, Any]:
    folder, back = shop.begun(name, shop.steps // 4), []
    for number in range(1, 4):
        newest = checkpoints.newest(folder)
        assert newest is not None
        file = newest / "state.pt"
        data = bytearray(file.read_bytes())
        data[len(data) * number // 4] ^= 1
        file.write_bytes(data)
        told: list[int] = []

        def stop(step: Any, told: list[int] = told, number: int = number) -> None:
            told.append(step.step)
            if number < 3 and step.step == (number + 1) * shop.steps // 4:
                raise KeyboardInterrupt

        with suppress(Interrupted):
            jobs.resume(shop.place, name, on_step=stop)
        back.append([checkpoints.step_of(newest), told[0] - 1])
    return {"damaged_and_taken": back}


def disk(shop: Shop, name: str, times: int) -> dict[str, Any]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step: Any) -> None:
        if step.step == shop.steps // 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))

    said = ""
    try:
        shop.run(name, fill)
    except RunError as error:
        said = str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    jobs.resume(shop.place, name)
    return {"said": said}


def wrong(change: Callable[[Any], Any], part: float) -> Callable[[Shop, str, int], dict[str, Any]]:
    """A run one of whose forward passes goes wrong, after this part of the steps."""

    def work(shop: Shop, name: str, times: int) -> dict[str, Any]:
        kept, passes = lean.summed_loss, [0]
        a_step = shop.made.plan.accumulation.value

        def summed_loss(*said: Any) -> Any:
            passes[0] += 1
            summed, apart = kept(*said)
            return (
                change(summed) if passes[0] == int(shop.steps * part) * a_step else summed
            ), apart

        lean.summed_loss = summed_loss  # type: ignore[assignment]
        try:
            folder = shop.run(name)
        finally:
            lean.summed_loss = kept
        return {"notes": {s.step: s.note for s in folder.steps() if s.note}}

    return work


def short(_: Any) -> Any:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


FAULTS: dict[str, Callable[[Shop, str, int], dict[str, Any]]] = {
    "kill": kill,
    "term": term,
    "damaged": damaged,
    "disk": disk,
    "nan": wrong(lambda loss: loss * float("nan"), 0.6),
    "spike": wrong(lambda loss: loss * 50, 0.6),
    "memory": wrong(short, 0.3),
}


def exam(folder: RunFolder) -> list[tuple[bool, bool, bool]]:
    """Of each question of the finished run's exam: right, handed over, with an invented fact."""
    bot = jobs.settle(folder, 0.02)
    found = jobs.evaluate(folder, bot=bot, controls=False)
    marks = [v.mark for v in found.verdicts]
    return [(m.right, m.handed_over, bool(m.facts_invented)) for m in marks]


def told(marks: list[tuple[bool, bool, bool]], alone: list[tuple[bool, bool, bool]]) -> Any:
    """An exam in figures, beside that of the run that was left alone."""
    right, handed, invented = (sum(m[i] for m in marks) for i in range(3))
    return {
        "asked": len(marks), "right": right, "handed_over": handed, "invented": invented,
        "marked_otherwise": sum(a != b for a, b in zip(marks, alone, strict=True)),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--base", default="")
    parser.add_argument("--steps", type=int, help="in place of the plan's")
    parser.add_argument("--only", nargs="*", default=[], choices=FAULTS)
    said = parser.parse_args()
    fine = True
    with tempfile.TemporaryDirectory() as made:
        os.environ["KEFU_CACHE"] = str(Path(made) / "cache")  # what memory lacked is not learnt
        root = Path(made) / "shop"
        root.mkdir()
        base = said.base or str(tiny.base(Path(made) / "base", "qwen3"))
        shop = Shop(root, base, said.steps)
        whole = shop.run("whole")
        losses, weights = [s.loss for s in whole.steps()], adapter(whole)
        alone = exam(whole)
        print(
            json.dumps({"run": "whole", "steps": shop.steps, "exam": told(alone, alone)}),
            flush=True,
        )
        other = Shop(root, base, said.steps, 2).run("seed")
        print(json.dumps({"run": "seed", "exam": told(exam(other), alone)}), flush=True)
        for name in said.only or FAULTS:
            begun = time.monotonic()
            line = {"run": name, **FAULTS[name](shop, name, said.kills)}
            folder = shop.place.run(name)
            steps = [s.loss for s in folder.steps()]
            line["adapter_same"] = adapter(folder) == weights
            line["losses_same"] = steps == losses
            line["last_loss"] = [round(losses[-1], 4), round(steps[-1], 4)]
            line["exam"] = told(exam(folder), alone)
            line["seconds"] = round(time.monotonic() - begun)
            print(json.dumps(line, ensure_ascii=False), flush=True)
            fine &= name not in SAME or (line["adapter_same"] and line["losses_same"])
    return 0 if fine else 1


def adapter(folder: RunFolder) -> bytes:
    return (folder.adapter / "adapter_model.safetensors").read_bytes()


if __name__ == "__main__":
    sys.exit(main())
