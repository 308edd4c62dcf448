"""Reads a base onto the GPU while Python is still importing libraries.

The first use of a GPU and the 15 GB of a 7B's files take seconds, and so do PEFT and transformers;
neither needs the other. What is read are the tensors that transformers would read itself, one
after another where it packs them into 4 bits. Knows no model and no precision.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

SHARE = 0.4
"""Of the GPU's free memory, what files may take: for a moment they lie beside the model."""
READERS = 4
"""Files read at once."""
_begun: dict[tuple[str, str], Future[dict[str, Any]]] = {}


def begin(folder: Path, device: str) -> None:
    """Begins to read the model in `folder` onto a GPU, beside what this thread goes on with.

    torch is to be imported.
    """
    from safetensors.torch import load_file  # in this thread, which alone imports

    alone = ThreadPoolExecutor(1)
    _begun[str(folder), _card(device)] = alone.submit(_read, folder, device, load_file)
    alone.shutdown(wait=False)


def taken(place: str, device: str) -> dict[str, Any]:
    """The tensors that were read of a base, by name, and once; empty where there are none."""
    import torch

    reading = _begun.pop((place, _card(device)), None)
    try:
        return reading.result() if reading else {}
    # Not there, damaged or too large: whoever loads it says so.
    except (OSError, ValueError, KeyError, SafetensorError, torch.OutOfMemoryError):
        return {}


def files_of(folder: Path) -> list[Path]:
    """The safetensors of the model in `folder`, as its index names them."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return [folder / "model.safetensors"]
    names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    return [folder / name for name in sorted(set(names))]


def _read(folder: Path, device: str, load_file: Callable[..., Any]) -> dict[str, Any]:
    import torch

    torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)  # its context, and cuBLAS
    files = files_of(folder)
    if sum(f.stat().st_size for f in files) > SHARE * torch.cuda.mem_get_info(device)[0]:
        return {}
    with ThreadPoolExecutor(READERS) as readers:
        parts = list(readers.map(lambda file: load_file(file, device=device), files))
    return {name: tensor for part in parts for name, tensor in part.items()}


def _card(device: str) -> str:
    return "cuda:0" if device == "cuda" else device
