"""A person's own experiment tracker hears every step, in both engines."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import tiny
from kefu.errors import SettingsError
from kefu.train import tracked, train
from kefu.workspace import RunFolder


def scalars(folder: RunFolder, name: str) -> dict[int, float]:
    """What TensorBoard's own file holds under this name, by step."""
    from tensorboardX.proto.event_pb2 import Event

    (file,) = folder.file("trackers").rglob("events.out.tfevents.*")
    data = file.read_bytes()
    found: dict[int, float] = {}
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + size])
        for value in event.summary.value:
            if value.tag == name:
                found[event.step] = value.simple_value
        data = data[16 + size :]
    return found


@pytest.mark.parametrize("engine", ["lean", "trl"])
def test_tensorboard_shows_the_loss_of_every_step(tmp_path: Path, engine: str) -> None:
    base = tiny.base(tmp_path / "base")
    plan = tiny.plan(base, engine=engine, steps=4, contrast=0.0, softmax="all", dropout=0.0)
    folder = tiny.run_folder(tmp_path / "run")
    with tracked(["tensorboard"], plan, folder) as told:
        train(plan, tiny.EXAMPLES, folder, on_step=told)
    seen = scalars(folder, "train/loss")
    assert seen == {s.step: pytest.approx(s.loss) for s in folder.steps()}
    assert len(seen) == 4


def test_an_unknown_tracker_is_a_sentence(tmp_path: Path) -> None:
    plan = tiny.plan(tiny.base(tmp_path / "base"))
    folder = tiny.run_folder(tmp_path / "run")
    with (
        pytest.raises(SettingsError, match="notebook_of_my_aunt"),
        tracked(["notebook_of_my_aunt"], plan, folder),
    ):
        pass
