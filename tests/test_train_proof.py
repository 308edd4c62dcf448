"""A run that does not know what its training learned is found before it gets a threshold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from kefu import jobs
from kefu.errors import RunError
from kefu.plan import probe
from kefu.settings import Settings
from kefu.workspace import Workspace


@pytest.mark.slow
def test_a_run_that_does_not_know_its_rows_is_refused(tmp_path: Path) -> None:
    settings = Settings(
        base=str(tiny.base(tmp_path / "base")), precision="fp32", hand_over=tiny.HAND_OVER
    )
    shop = Workspace(tmp_path)
    made = jobs.prepare(tiny.FAQ, settings, probe("cpu"), steps=12)
    folder = shop.run(jobs.train(shop, made).name)
    steps, threshold = folder.file("steps.jsonl"), folder.file("calibration.json")
    jobs.settle(folder, 0.05)
    assert threshold.is_file()
    threshold.unlink()
    # As if it had learned all by heart, in a model that computes something else.
    learned = [line | {"loss": 0.1} for line in tiny.lines(steps)]
    steps.write_text("".join(json.dumps(line) + "\n" for line in learned), encoding="utf-8")
    with pytest.raises(RunError, match=r"has a loss of 6\.\d\d on rows .* ended at 0\.10"):
        jobs.settle(folder, 0.05)
    assert not threshold.exists()
