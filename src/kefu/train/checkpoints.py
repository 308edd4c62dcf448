"""Checkpoints that are whole or absent, whenever the machine stops, and of this very run.

A checkpoint is written beside its place, file by file onto the disk; a manifest with every file's
size and SHA-256, and of what run it is, comes last; then it is moved to its place. Whatever does
not agree with its manifest is passed over, and the one before is taken.

Does not know what an engine keeps in a checkpoint, nor when one is due.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import random
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..records import Choice, Example, Plan
from ..workspace import RunFolder, cannot_write, dump, write_json

MANIFEST = "manifest.json"
UNLEARNT = {
    "micro_batch",
    "accumulation",
    "checkpointing",
    "save_every",
    "keep",
    "log_every",
    "shard",
}
"""Choices of a plan that change how a run is computed, and nothing of what it learns."""
NAMES = {"plan": "another plan", "faq": "other rows of the FAQ", "base": "another base model"}
SAMPLE = 64
"""Values of each weight that tell one base from another."""


# --- of which run ----------------------------------------------------------------


def digests(plan: Plan, examples: Sequence[Example]) -> dict[str, str]:
    """What a checkpoint must agree with: the plan's choices, and the rows in their order."""
    chosen = {
        name: getattr(plan, name).value
        for name in plan.__dataclass_fields__
        if isinstance(getattr(plan, name), Choice) and name not in UNLEARNT
    }
    chosen["effective_batch"] = plan.effective_batch
    rows = [dump(example) for example in examples]
    return {"plan": _digest(chosen), "faq": _digest(rows)}


def base_digest(model: Any, cut: Mapping[str, str] | None = None) -> str:
    """Of the frozen weights of a PEFT model: names, shapes and the first values of each. `cut` has
    the lines of weights that are cut up over cards meanwhile."""
    found = hashlib.sha256()
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            line = (cut or {}).get(name) or sampled(name, weight)
            found.update(f"{line}\n".encode())
    return found.hexdigest()


def sampled(name: str, weight: Any) -> str:
    """What tells a weight from that of another base; the same in whatever dtype 4 bits lie."""
    import torch

    flat, shape = weight.detach().reshape(-1), tuple(weight.shape)
    if hasattr(weight, "quant_state"):
        flat = flat.view(torch.uint8)
        shape = (flat.numel(), 1)
    return f"{name} {shape} {flat[:SAMPLE].float().cpu().tolist()}"


def _digest(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def refuse_another(folder: RunFolder, expected: dict[str, str]) -> None:
    """Raises RunError when the newest checkpoint is of another plan, FAQ or base."""
    path = newest(folder)
    if path is None:
        return
    of = _manifest(path).get("of", {})
    other = [NAMES[part] for part, digest in expected.items() if of.get(part) != digest]
    if other:
        raise RunError(
            f"The checkpoints of the run {folder.name} are of {' and '.join(other)}, "
            "and training cannot go on from them.",
            "Put back what was changed since, or train a new run with another --name.",
        )


# --- on disk ---------------------------------------------------------------------


def newest(folder: RunFolder) -> Path | None:
    """The newest checkpoint that agrees with its manifest in every byte."""
    return next((path for path in reversed(_all(folder)) if _whole(path)), None)


def step_of(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[1])


def write(
    folder: RunFolder, step: int, files: dict[str, bytes], of: dict[str, str], keep: int
) -> None:
    """A whole checkpoint, or none. Raises RunError when the disk takes no more; nothing that was
    there before is lost then."""
    place = folder.checkpoints / f"checkpoint-{step}"
    work = folder.checkpoints / f".{step}"
    with writing(folder, place):
        try:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            for name, data in files.items():
                (work / name).write_bytes(data)
            seal(work, of)
            _sync(folder.steps_file)  # what is told of the steps is as safe as the steps
            shutil.rmtree(place, ignore_errors=True)
            work.replace(place)
            _sync(folder.checkpoints)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    prune(folder, keep)


def seal(path: Path, of: dict[str, str]) -> None:
    """Brings all files of a folder onto the disk and writes its manifest, last of all."""
    files = {}
    for file in sorted(p for p in path.rglob("*") if p.is_file() and p.name != MANIFEST):
        _sync(file)
        files[file.relative_to(path).as_posix()] = _print(file)
    write_json(path / MANIFEST, {"of": of, "files": files})
    _sync(path)


def prune(folder: RunFolder, keep: int) -> None:
    """Removes all but the newest `keep` that are whole; torn ones older than those go with them."""
    found = _all(folder)
    whole = [path for path in found if (path / MANIFEST).is_file()][-keep:]
    for old in found:
        if whole and step_of(old) < step_of(whole[0]):
            shutil.rmtree(old, ignore_errors=True)


def sync_all(path: Path) -> None:
    """Brings a folder, its files and its own name onto the disk."""
    for file in path.rglob("*"):
        _sync(file)
    _sync(path)
    _sync(path.parent)


@contextmanager
def writing(folder: RunFolder, place: Path) -> Iterator[None]:
    """Turns what the libraries raise when a disk is full into a sentence, with the way on."""
    try:
        yield
    except RunError as error:
        raise RunError(error.what, _way_on(folder, error.fix)) from None
    except Exception as error:
        found = _disk_error(error, folder.path)
        if found is None:
            raise
        said = cannot_write(place, found)
        raise RunError(said.what, _way_on(folder, said.fix)) from None


def _way_on(folder: RunFolder, fix: str) -> str:
    if "--resume" in fix:
        return fix
    path = newest(folder)
    if path is None:
        return f"{fix} Nothing of the run was saved before."
    return f"{fix} Step {step_of(path)} is kept: go on with `kefu train --resume {folder.name}`."


def _disk_error(error: Exception, path: Path) -> OSError | None:
    """The OSError behind what torch.save and safetensors raise: they pass only its text on."""
    if isinstance(error, OSError):  # a pipe is no disk
        return None if isinstance(error, BrokenPipeError) else error
    text = str(error)
    if not ("StreamWriter" in text or "inline_container" in text or "I/O error" in text
            or "IoError" in text):  # fmt: skip
        return None
    number = re.search(r"(?:os error|code:) (\d+)", text)
    if number:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    if shutil.disk_usage(path).free < 2**26:  # torch does not say which error it was
        return OSError(28, os.strerror(28))
    return OSError(5, "writing failed")


def _all(folder: RunFolder) -> list[Path]:
    """All that is called a checkpoint, oldest first."""
    found = []
    for path in folder.checkpoints.glob("checkpoint-*"):
        with suppress(ValueError):
            found.append((step_of(path), path))
    return [path for _, path in sorted(found)]


def _manifest(path: Path) -> dict[str, Any]:
    try:
        found = json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(path: Path) -> bool:
    files = _manifest(path).get("files")
    if not isinstance(files, dict) or not files:
        return False
    try:
        return all(_print(path / name) == printed for name, printed in files.items())
    except OSError:
        return False


def _print(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": digest}


def _sync(path: Path) -> None:
    """Returns when the disk holds the file, or the names in the folder."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders, and needs none opened
    with suppress(FileNotFoundError):
        handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# --- what moves while the lean engine trains --------------------------------------


@dataclass
class Moving:
    """All that changes from step to step; `scaler` and `bank` where there are such."""

    model: Any
    optimizer: Any
    scheduler: Any
    scaler: Any
    bank: Any
    device: str
    guard: Any = None
    watch: Any = None

    def state(self, step: int) -> dict[str, Any]:
        """As it is after `step`, by reference: copy it, or write it, before the next step."""
        import torch

        return {
            "adapter": {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad},
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if self.device.startswith("cuda") else None,
            "python_rng": random.getstate(),
            "bank": self.bank.states if self.bank else None,
            "guard": self.guard.state() if self.guard else None,
            "watch": self.watch.state() if self.watch else None,
            "step": step,
        }

    def put(self, state: dict[str, Any]) -> int:
        """Puts a state back and returns its step."""
        import torch

        with torch.no_grad():
            for name, p in self.model.named_parameters():
                if p.requires_grad:
                    p.copy_(state["adapter"][name])
        # A copy: the optimizer would go on in the very tensors of a state that is kept.
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.scheduler.load_state_dict(state["scheduler"])
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["torch_rng"].cpu())
        if state["cuda_rng"] is not None and self.device.startswith("cuda"):
            torch.cuda.set_rng_state(state["cuda_rng"].cpu())
        random.setstate(state["python_rng"])
        if self.bank is not None:
            self.bank.states.copy_(state["bank"])
        if self.guard is not None and state.get("guard"):
            self.guard.put(state["guard"])
        if self.watch is not None and state.get("watch"):
            self.watch.put(state["watch"])
        return int(state["step"])

    def save(self, folder: RunFolder, step: int, of: dict[str, str], keep: int) -> None:
        """The state after `step` as a checkpoint."""
        import torch

        # Into memory first: what torch.save says of a full disk is not to be understood.
        data = io.BytesIO()
        torch.save(self.state(step), data)
        write(folder, step, {"state.pt": data.getvalue()}, of, keep)

    def restore(self, folder: RunFolder) -> int:
        """Puts the newest whole checkpoint back and returns its step; 0 where there is none."""
        import torch

        path = newest(folder)
        if path is None:
            return 0
        # weights_only: a checkpoint from elsewhere must not run code here.
        return self.put(torch.load(path / "state.pt", map_location=self.device, weights_only=True))
