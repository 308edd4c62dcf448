"""Puts a file or folder in its place whole or not at all, and takes its fingerprint.

Everything is made beside its place and moved there at the end, so that a full disk or a missing
permission leaves what was there before. Does not know what the files mean.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import KefuError, RunError
from ..workspace import cannot_write

MANIFEST = "export.json"
"""Lies in every exported folder; without it a folder is never replaced, not even by force."""
MOMENT = (1980, 1, 1, 0, 0, 0)
"""The date of every file in an archive, so that two exports of a run are byte-equal."""


@dataclass(frozen=True, slots=True)
class File:
    """One exported file: its name relative to the export, SHA-256 (hex) and size in bytes."""

    name: str
    sha256: str
    bytes: int


def check_free(to: Path, force: bool) -> None:
    """Raises RunError when something stands at `to` that may not be replaced."""
    if not to.exists() and not to.is_symlink():
        return
    if not force:
        raise RunError(f"{to} exists already.", "Choose another place, or replace it with --force.")
    if to.is_dir() and not (to / MANIFEST).is_file() and any(to.iterdir()):
        raise RunError(
            f"The folder {to} is no earlier export of kefu, so it is not replaced.",
            "Choose another place, or move that folder away yourself.",
        )


@contextmanager
def staged(to: Path, force: bool) -> Iterator[Path]:
    """An empty folder beside `to` that is thrown away when the work inside the block fails.

    The block fills it and calls `place`. Disk full, no permission: RunError, nothing is left.
    """
    check_free(to, force)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}."))
    except OSError as error:
        raise cannot_write(to, error) from None
    try:
        yield work
    except OSError as error:
        raise cannot_write(to, error) from None
    except Exception as error:
        # The writers of tensor files have their own words for a full disk.
        if isinstance(error, KefuError) or not _is_full(error):
            raise
        raise cannot_write(to, OSError(28, "No space left on device")) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _is_full(error: Exception) -> bool:
    text = str(error).lower()
    return "no space left" in text or "os error 28" in text


def place(made: Path, to: Path, force: bool) -> None:
    """Moves what was made to its place; what stood there goes only when the new one stands."""
    check_free(to, force)
    if made.is_dir():
        made.chmod(0o755)
    if not to.exists():
        made.replace(to)
        return
    old = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}.old."))
    try:
        to.replace(old / to.name)
        try:
            made.replace(to)
        except OSError:
            (old / to.name).replace(to)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def fingerprints(folder: Path) -> tuple[File, ...]:
    """All files below `folder`, sorted by name, the manifest left out."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    return tuple(
        fingerprint(p, p.relative_to(folder).as_posix()) for p in paths if p.name != MANIFEST
    )


def fingerprint(path: Path, name: str) -> File:
    """A file's SHA-256 and size."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return File(name, found, path.stat().st_size)


def write_manifest(folder: Path, form: str, run: str, notes: Sequence[str]) -> tuple[File, ...]:
    """Writes export.json, by which a folder is known as an export and can be checked."""
    files = fingerprints(folder)
    data = {
        "form": form,
        "run": run,
        "notes": list(notes),
        "files": {f.name: {"sha256": f.sha256, "bytes": f.bytes} for f in files},
    }
    text = json.dumps(data, ensure_ascii=False, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")
    for path in folder.rglob("*"):  # tensor files are written for their owner only
        with suppress(OSError):
            path.chmod(0o755 if path.is_dir() else 0o644)
    return files


def pack(folder: Path, archive: Path, top: str) -> None:
    """A zip of `folder` under the one folder name `top`: sorted, undated, the same every time."""
    with zipfile.ZipFile(archive, "w") as made:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(f"{top}/{path.relative_to(folder).as_posix()}", MOMENT)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3
            # Weights do not compress; trying costs more than it saves.
            dense = path.suffix in {".safetensors", ".gguf"}
            entry.compress_type = zipfile.ZIP_STORED if dense else zipfile.ZIP_DEFLATED
            entry.file_size = path.stat().st_size
            with path.open("rb") as source, made.open(entry, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)
