"""Kills a training again and again, and compares the adapter with one that was left alone.

    python bench/faults.py [KILLS]

A tiny random model, a checkpoint after every step, so that many kills fall into the saving. Says
for each kill at which step it came and whether a half-written checkpoint lay there, and at the
end whether the two adapters are alike in every byte. Ends with code 1 when they are not.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

import tiny  # noqa: E402
from kefu.train import train  # noqa: E402
from kefu.workspace import RunFolder, write_json, write_text  # noqa: E402

STEPS = 400
CHILD = """
import sys
from pathlib import Path
from kefu.train import train
from kefu.workspace import RunFolder
folder = RunFolder(Path(sys.argv[1]))
train(folder.plan(), folder.examples(), folder, resume=True, say=lambda text: None)
"""


def last(folder: RunFolder) -> int:
    """The last step that was told."""
    return max((s.step for s in folder.steps()), default=0)


def main(kills: int) -> int:
    draw = random.Random(11)
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        base = tiny.base(root / "base")
        plan = tiny.plan(base, steps=STEPS, save_every=1, keep=2, rank=4, dropout=0.1)
        whole = tiny.run_folder(root / "whole")
        train(plan, tiny.EXAMPLES, whole)
        folder = tiny.run_folder(root / "killed")
        write_json(folder.file("plan.json"), plan)
        write_text(
            folder.file("examples.jsonl"), whole.file("examples.jsonl").read_text(encoding="utf-8")
        )
        halves = 0
        for kill in range(1, kills + 1):
            before = last(folder)
            process = subprocess.Popen([sys.executable, "-c", CHILD, str(folder.path)])
            # One in five while the model is still being loaded, the others between steps or in.
            target = before if kill % 5 == 0 else before + draw.randint(1, STEPS // kills - 4)
            while process.poll() is None and last(folder) < target:
                time.sleep(0.005)
            time.sleep(draw.random() * (2.0 if kill % 5 == 0 else 0.05))
            process.kill()
            process.wait()
            half = len(list(folder.checkpoints.glob(".*")))
            halves += bool(half)
            print(f"kill {kill:2}: at step {last(folder):3}, {half} half-written", flush=True)
        train(plan, tiny.EXAMPLES, folder, resume=True)
        name = "adapter_model.safetensors"
        same = (whole.adapter / name).read_bytes() == (folder.adapter / name).read_bytes()
        losses = [s.loss for s in whole.steps()] == [s.loss for s in folder.steps()]
    print(f"{kills} kills, {halves} of them inside saving; adapter the same in every byte: {same}")
    print(f"{STEPS} losses the same: {losses}")
    return 0 if same and losses else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
