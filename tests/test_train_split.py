"""A base in 4 bits cut up over two processes (gloo): the training of one process, step by step."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import tiny
from kefu.errors import RunError
from kefu.records import Choice, Plan
from kefu.workspace import RunFolder, write_json

STOPS = """
import os, sys
from pathlib import Path
import torch
from kefu.train import Interrupted, join, train
from kefu.train import split
from kefu.workspace import RunFolder

kept = split.over_cards
def over_cards(model, device, cards):
    layers = model.get_base_model().get_decoder().layers
    mine = [all(p.device.type != "meta" for p in layer.parameters()) for layer in layers]
    assert mine == [i % 2 == cards.rank for i in range(len(layers))], mine
    return kept(model, device, cards)
split.over_cards = over_cards

copied = torch._foreach_copy_
def as_a_gpu_does(to, of, *more):  # it writes one NaN for every NaN: pytorch#159333
    one = [x.where(~x.isnan(), float("nan")) if x.is_floating_point() else x for x in of]
    return copied(to, one, *more)
torch._foreach_copy_ = as_a_gpu_does

def on_step(step):
    if step.step == 3:
        raise KeyboardInterrupt

if os.environ["RANK"] == "1":
    join()
run = RunFolder(Path(sys.argv[1]))
try:
    train(run.plan(), run.examples(), run, on_step=on_step)
except Interrupted as error:
    print(error)
"""


def plan(base: Path, **changed: object) -> Plan:
    return tiny.plan(
        base, precision="nf4", steps=4, save_every=2, micro_batch=3, accumulation=2, **changed
    )


@pytest.mark.timeout(900)  # many processes, each slow to start on a busy machine
def test_4_bits_cut_up_over_two_processes_go_on_whole_in_one_and_end_as_if_never_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bitsandbytes")
    import torch

    from kefu.train import train

    monkeypatch.setenv("KEFU_CACHE", str(tmp_path / "cache"))
    base = tiny.base(tmp_path / "base", "qwen2", hidden_size=64, head_dim=16, num_hidden_layers=3)
    cut = tiny.run_folder(tmp_path / "cut")
    # Layers are also recomputed: they are then put together a second time.
    asked = plan(base, shard=True, checkpointing=True)
    write_json(cut.file("plan.json"), asked, Plan)
    cut.file("examples.jsonl").write_text(
        "".join(f"{line}\n" for line in _dumped()), encoding="utf-8"
    )
    (tmp_path / "stops.py").write_text(STOPS, encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "stops.py", str(cut.path),
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=800,
    )  # fmt: skip
    assert "Training was stopped after step 2." in done.stdout, done.stderr
    first = next(cut.steps())
    held, whole = (int(w.replace(",", "")) for w in first.note.split() if w[0].isdigit())
    assert whole > 60_000 and whole / 2 <= held < whole * 0.51

    assert [s.step for s in cut.steps()] == [1, 2, 3]
    train(cut.plan(), cut.examples(), cut, resume=True)  # one process, to which nothing is cut
    never = tiny.run_folder(tmp_path / "never")
    train(plan(base), tiny.EXAMPLES, never)
    losses = [[s.loss for s in run.steps()] for run in (cut, never)]
    assert len(losses[0]) == 4 and losses[0] == pytest.approx(losses[1], abs=1e-4)
    mine, theirs = tiny.weights(cut), tiny.weights(never)
    assert all(float(t.abs().max()) > 1e-5 for n, t in mine.items() if "lora_B" in n)
    assert all(torch.allclose(mine[k], theirs[k], rtol=0, atol=2e-4) for k in mine)


def _dumped() -> list[str]:
    import json

    from kefu.workspace import dump

    return [json.dumps(dump(row), ensure_ascii=False) for row in tiny.EXAMPLES]


def test_one_process_has_nobody_to_share_with_and_takes_a_plan_for_several_whole(
    tmp_path: Path,
) -> None:
    from kefu.train import train

    base = tiny.base(tmp_path / "base")
    asked = replace(tiny.plan(base, steps=1), shard=Choice(True, "The test's."))
    with pytest.raises(RunError, match="nobody to share"):
        train(asked, tiny.EXAMPLES, tiny.run_folder(tmp_path / "asked"), shard=True)
    run = train(asked, tiny.EXAMPLES, tiny.run_folder(tmp_path / "planned"))
    assert run.steps == 1 and RunFolder(tmp_path / "planned").finished
