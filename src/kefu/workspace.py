"""Where every record lives: a folder with kefu.toml, and runs/NAME inside it.

The only place that knows file names. Every file is written beside its place and then moved
there, so that a crash leaves the old file or the new one, never half of one. Torch-free.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from .errors import RunError
from .records import Calibration, Example, Faq, Pair, Place, Plan, Run, Split, Step
from .settings import FILE, Settings, load

R = TypeVar("R")

_NAME = re.compile(r"[\w.\-]{1,80}")


@cache  # building one costs more than using it
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def dump(record: Any, kind: Any = None) -> Any:
    """A record as plain JSON-able data."""
    return _adapter(kind or type(record)).dump_python(record, mode="json")  # type: ignore[arg-type]


def parse(kind: type[R], data: Any) -> R:
    """Plain data as a record. Raises pydantic's ValidationError."""
    found: R = _adapter(kind).validate_python(data)  # type: ignore[arg-type]
    return found


def write_text(path: Path, text: str) -> None:
    """Writes a whole file or, when the disk is full or the machine stops, nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)  # a temporary file is its maker's alone
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise cannot_write(path, error) from None


def cannot_write(path: Path, error: OSError) -> RunError:
    """The error for a place that cannot be written, with the remedy for its cause."""
    fix = {
        28: "Free some space there, or choose another folder.",
        122: "Free some of your quota, or choose another folder.",
        13: "Ask for permission to write there, or choose another folder.",
        30: "That disk is read-only: choose another folder.",
    }.get(error.errno or 0, "Choose another folder.")
    return RunError(f"{path} cannot be written: {error.strerror or error}.", fix)


def write_json(path: Path, record: Any, kind: Any = None) -> None:
    """A record (or plain data) as readable JSON."""
    plain = kind is None and isinstance(record, dict | list)
    data = record if plain else dump(record, kind)
    write_text(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")


def read_json(path: Path, kind: type[R]) -> R:
    """A record from its JSON file. Raises RunError when it is missing or damaged."""
    try:
        return parse(kind, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RunError(
            f"{path} is missing.", "Train the run again, or name a run that is complete."
        ) from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error}.", "Check the file.") from None
    except (ValidationError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise RunError(
            f"{path} is damaged, or of another version of kefu: {first}.", "Train the run again."
        ) from None


def now() -> str:
    """The time as ISO 8601 in UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run on disk."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def adapter(self) -> Path:
        """The PEFT adapter with the tokenizer beside it."""
        return self.path / "adapter"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def steps_file(self) -> Path:
        return self.path / "steps.jsonl"

    def file(self, name: str) -> Path:
        """Any other file of the run."""
        return self.path / name

    def plan(self) -> Plan:
        return read_json(self.path / "plan.json", Plan)

    @property
    def calibration_file(self) -> Path:
        return self.path / "calibration.json"

    def calibration(self) -> Calibration:
        """How sure its bot must be; the default where none was set."""
        file = self.calibration_file
        return read_json(file, Calibration) if file.is_file() else Calibration()

    def versions(self) -> dict[str, str]:
        """What it was trained with: libraries, and digests of what was read."""
        return read_json(self.path / "versions.json", dict[str, str])

    def split(self) -> Split:
        return read_json(self.path / "split.json", Split)

    def examples(self) -> tuple[Example, ...]:
        """The rows that the run is trained on. Raises RunError when they are missing or damaged."""
        path = self.path / "examples.jsonl"
        try:
            found = tuple(parse(Example, json.loads(line)) for line in read_lines(path))
        except (ValueError, ValidationError):
            found = ()
        if not found:
            raise RunError(f"{path} is missing or damaged.", "Train the run again.")
        return found

    def keep_faq(self, faq: Faq) -> None:
        """Keeps the FAQ as it was when the run was made, and where it was read."""
        write_json(self.path / "faq.json", faq.pairs, tuple[Pair, ...])
        if faq.place is not None:
            path, root = Path(faq.place.path), self.path.absolute().parent.parent
            if path.is_relative_to(root):  # so that the workspace may be moved
                path = Path(os.path.relpath(path, self.path.absolute()))
            write_json(self.path / "place.json", replace(faq.place, path=path.as_posix()), Place)

    def place(self) -> Place | None:
        """Where the FAQ was read that the run was made from; None where nobody wrote it down."""
        file = self.path / "place.json"
        if not file.is_file():
            return None
        found = read_json(file, Place)
        return replace(found, path=os.path.normpath(self.path.absolute() / found.path))

    def faq(self) -> Faq:
        """The FAQ that the run was made from, all its wordings included: also those held out."""
        return Faq(read_json(self.path / "faq.json", tuple[Pair, ...]), ())

    def run(self) -> Run:
        return read_json(self.path / "run.json", Run)

    @property
    def finished(self) -> bool:
        """Whether training came to its end and the adapter is there."""
        return (self.path / "run.json").is_file() and self.adapter.is_dir()

    def check_finished(self) -> None:
        """Raises RunError when the run is not finished."""
        if not self.finished:
            raise RunError(
                f"The run {self.name} is not finished.",
                f"Go on with it: `kefu train --resume {self.name}`.",
            )

    def steps(self) -> Iterator[Step]:
        """The steps so far; a torn last line is passed over."""
        for line in read_lines(self.steps_file):
            with suppress(ValueError, ValidationError):
                yield parse(Step, json.loads(line))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run against a second training. Raises RunError when it is held."""
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"The run {self.name} is being trained by another process.",
                "Wait for it, stop it, or give this one another name with --name.",
            ) from None
        except OSError as error:
            raise cannot_write(self.path, error) from None
        try:
            yield
        finally:
            lock.release()


class Workspace:
    """A folder that holds kefu.toml, an FAQ and runs/. Nothing is made until it is written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def find(cls, start: Path | None = None) -> Workspace:
        """The nearest folder upwards that holds kefu.toml, else `start` (or where we are)."""
        start = (start or Path.cwd()).resolve()
        for folder in (start, *start.parents):
            if (folder / FILE).is_file():
                return cls(folder)
        return cls(start)

    @property
    def settings_file(self) -> Path | None:
        path = self.root / FILE
        return path if path.is_file() else None

    def settings(self) -> Settings:
        return load(self.settings_file)

    @property
    def runs_folder(self) -> Path:
        return self.root / "runs"

    def runs(self) -> tuple[RunFolder, ...]:
        """All runs, oldest first."""
        if not self.runs_folder.is_dir():
            return ()
        found = [p for p in self.runs_folder.iterdir() if (p / "plan.json").is_file()]
        return tuple(RunFolder(p) for p in sorted(found, key=_age))

    def run(self, name: str | None = None) -> RunFolder:
        """A run by name or folder; without a name the newest that is finished."""
        if name is None:
            done = [r for r in self.runs() if r.finished]
            if not done:
                raise RunError(
                    f"There is no finished run in {self.runs_folder}.", "Train one: `kefu train`."
                )
            return done[-1]
        for folder in (self.runs_folder / name, Path(name)):
            if (folder / "plan.json").is_file():
                return RunFolder(folder)
        names = ", ".join(r.name for r in self.runs()) or "none"
        raise RunError(f"There is no run {name!r}.", f"The runs here: {names}.")

    def create(self, name: str | None, stem: str) -> RunFolder:
        """A new, empty run folder. Raises RunError when the name is bad or taken."""
        if name is not None:
            if not _NAME.fullmatch(name) or name.startswith("."):
                raise RunError(
                    f"{name!r} cannot name a run.",
                    "Use letters, digits, dots, hyphens and underlines, 80 at most.",
                )
            path = self.runs_folder / name
            if path.exists():
                raise RunError(
                    f"The run name {name} is taken.",
                    "Give another with --name, or go on with it: `kefu train --resume NAME`.",
                )
            return self._make(path)
        return self._make(self.runs_folder / self.free_name(stem))

    def free_name(self, stem: str) -> str:
        """A name that no run has yet: that of the file that it learns from, and a number."""
        stem = re.sub(r"[^\w.\-]+", "-", stem).strip("-.")[:60] or "run"
        taken = {p.name for p in self.runs_folder.iterdir()} if self.runs_folder.is_dir() else set()
        number = 1
        while f"{stem}-{number}" in taken:
            number += 1
        return f"{stem}-{number}"

    def _make(self, path: Path) -> RunFolder:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path.parent, error) from None
        try:
            path.mkdir()
        except FileExistsError:
            raise RunError(
                f"The run name {path.name} is taken.", "Give another with --name."
            ) from None
        except OSError as error:
            raise cannot_write(path, error) from None
        return RunFolder(path)


def check_one_base(folders: Iterable[RunFolder]) -> None:
    """Raises RunError when the runs are not all finished, or not all on one base as it is loaded
    once: the same model in the same precision on the same device."""
    first: tuple[str, tuple[str, ...]] | None = None
    for folder in folders:
        folder.check_finished()
        plan = folder.plan()
        precision = plan.precision.value
        if plan.machine.device == "cpu" and precision != "nf4":
            precision = "fp32"  # in which a processor computes, whatever the plan says
        compute = plan.compute.value if plan.machine.device == "cuda" else "fp32"
        mine = (plan.base.value, precision, plan.machine.device, compute)
        first = first or (folder.name, mine)
        if mine != first[1]:
            told = [f"{base} in {kept} for {device}" for base, kept, device, _ in (first[1], mine)]
            raise RunError(
                f"The runs {first[0]} and {folder.name} are on different bases: {told[0]}, and "
                f"{told[1]}.",
                "Serve the runs of each base by a process of their own.",
            )


def discard(folder: RunFolder) -> None:
    """Removes a run folder in which nothing was trained yet."""
    shutil.rmtree(folder.path, ignore_errors=True)


def read_lines(path: Path) -> list[str]:
    """The lines of a file, none where it is missing. Bytes that are no text do not matter.

    Only `\\n` parts lines: JSON in readable Chinese may hold others, which `splitlines` would take.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line for line in text.split("\n") if line]


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Adds lines to a file that other processes may read meanwhile; a torn last line is ended."""
    try:
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write("".join(line + "\n" for line in lines).encode("utf-8"))
    except OSError as error:
        raise cannot_write(path, error) from None


def _age(path: Path) -> tuple[float, str]:
    try:
        return ((path / "plan.json").stat().st_mtime, path.name)
    except OSError:
        return (0.0, path.name)
