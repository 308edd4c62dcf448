"""Run folders: whole files or none, names that are free, locks that hold, and clear refusals."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kefu.errors import RunError
from kefu.records import Example, Run, Split, Step
from kefu.workspace import (
    RunFolder,
    Workspace,
    append_lines,
    discard,
    dump,
    read_json,
    write_json,
    write_text,
)

SPLIT = Split((Example("問", "答", "問", history=(("前", "後"),)),), (Example("別的", None),))
RUN = Run("first", "somewhere", 3, 2.0, 1.0, 3.5, 10, 100)


def made(space: Workspace, name: str | None = None, finished: bool = True) -> RunFolder:
    folder = space.create(name, "default")
    write_text(folder.file("plan.json"), "{}\n")
    if finished:
        write_json(folder.file("run.json"), RUN, Run)
        folder.adapter.mkdir()
    return folder


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    write_json(tmp_path / "split.json", SPLIT, Split)
    assert read_json(tmp_path / "split.json", Split) == SPLIT
    assert "問" in (tmp_path / "split.json").read_text(encoding="utf-8")  # a person can read it


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "report.json"
    write_text(place, "old\n")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left") as caught:
        write_text(place, "new\n")
    assert "Free some space" in caught.value.fix
    assert place.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [place]  # no half-written file beside it


def test_a_file_that_others_may_read_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "文\n")
    assert (tmp_path / "a" / "b.txt").stat().st_mode & 0o044 == 0o044


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"train": 3}', "\x00\xff"])
def test_a_missing_or_damaged_record_is_a_sentence(tmp_path: Path, content: str | None) -> None:
    place = tmp_path / "split.json"
    if content is not None:
        place.write_bytes(content.encode("latin-1"))
    with pytest.raises(RunError, match=r"split\.json") as caught:
        read_json(place, Split)
    assert caught.value.fix


def test_runs_are_numbered_and_the_newest_finished_one_is_meant(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    names = []
    for age, finished in enumerate([True, True, False]):
        folder = made(space, finished=finished)
        os.utime(folder.file("plan.json"), (age, age))
        names.append(folder.name)
    assert names == ["default-1", "default-2", "default-3"]
    assert [r.name for r in space.runs()] == names
    assert space.run().name == "default-2"
    assert space.run("default-3").name == "default-3"
    assert space.run(str(tmp_path / "runs" / "default-1")).name == "default-1"


def test_an_unknown_run_is_refused_with_those_that_are_there(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    with pytest.raises(RunError, match="There is no finished run"):
        space.run()
    made(space, "first")
    with pytest.raises(RunError, match=r"no run 'second'.*first"):
        space.run("second")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up", "a b", "x" * 81, "nul\0"])
def test_a_name_that_is_no_folder_s_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="cannot name a run"):
        Workspace(tmp_path).create(name, "default")
    assert not (tmp_path / "runs").exists()


def test_a_taken_name_is_refused_and_chinese_ones_are_welcome(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    assert space.create("第一版", "default").path.is_dir()
    with pytest.raises(RunError, match="第一版 is taken") as caught:
        space.create("第一版", "default")
    assert "--name" in caught.value.fix


def test_the_workspace_is_found_from_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "kefu.toml").write_text('faq = "shop.csv"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert Workspace.find(below).root == tmp_path
    assert Workspace.find(below).settings().faq == "shop.csv"


def test_nothing_is_made_until_something_is_written(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "new")
    assert space.runs() == ()
    assert not (tmp_path / "new").exists()


def test_a_run_held_by_another_process_is_refused_until_that_ends(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom kefu.workspace import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked():\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin and other.stdout
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process"), RunFolder(tmp_path).locked():
            pass
    finally:
        other.kill()  # a crash must not hold the run for ever
        other.wait()
    with RunFolder(tmp_path).locked():
        pass


def step(number: int) -> Step:
    return Step(number, 9, 1.5, 1e-3, 0.5, 0.1, 2**20, "註")


def test_a_torn_last_line_of_steps_is_passed_over(tmp_path: Path) -> None:
    import json

    folder = RunFolder(tmp_path)
    assert list(folder.steps()) == []
    lines = [json.dumps(dump(step(n)), ensure_ascii=False) for n in (1, 2, 3)]
    append_lines(folder.steps_file, lines)
    data = folder.steps_file.read_bytes()
    for cut in range(1, len(lines[-1].encode())):  # in the midst of a character too
        folder.steps_file.write_bytes(data[: -1 - cut])
        assert [s.step for s in folder.steps()] == [1, 2]


def test_a_line_after_a_torn_one_is_not_lost_with_it(tmp_path: Path) -> None:
    place = tmp_path / "list.jsonl"
    place.write_text('{"a": 1}\n{"a": ')
    append_lines(place, ['{"a": 3}'])
    assert place.read_text().splitlines() == ['{"a": 1}', '{"a": ', '{"a": 3}']
    append_lines(place, ['{"a": 4}'])
    assert len(place.read_text().splitlines()) == 4


def test_a_run_in_which_nothing_was_trained_can_be_taken_away(tmp_path: Path) -> None:
    folder = made(Workspace(tmp_path), "first")
    discard(folder)
    assert not folder.path.exists()
    assert Workspace(tmp_path).create("first", "default").path.is_dir()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(RunError, match="Permission denied") as caught:
            Workspace(tmp_path).create("first", "default")
    finally:
        tmp_path.chmod(0o755)
    assert "permission" in caught.value.fix


def test_a_place_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("no folder")
    with pytest.raises(RunError, match="cannot be written") as caught:
        Workspace(tmp_path).create("first", "default")
    assert caught.value.fix
