"""Many LoRA adapters on one base: each is a set of tensors, and one at a time lies in the model.

PEFT keeps every adapter that was loaded as modules in every layer, and walks over all of them to
put another one on. Here PEFT holds one adapter of each shape, and its parameters are pointed to
another run's tensors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ..errors import RunError

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_TOLD = ("base_model_name_or_path", "revision", "peft_version", "inference_mode")
"""What a config tells of where an adapter comes from: adapters may differ in it."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """The tensors of one adapter, by the names in its file, and the shape that they belong to."""

    shape: str
    tensors: dict[str, Any]

    @property
    def bytes(self) -> int:
        return sum(int(tensor.nbytes) for tensor in self.tensors.values())


class Adapters:
    """The adapters over one PEFT model, whose own is that of the folder `first`."""

    def __init__(self, model: Any, first: Path) -> None:
        self.model = model
        self._shape = _shape(first)
        """Of the adapter that the model computes with."""
        self._names: dict[str, str] = {}
        self._own: dict[str, dict[str, Any]] = {}
        """The model's parameters for adapters of a shape, by the names in an adapter's file."""
        self._hold(self._shape, str(model.active_adapter))
        own = self._own[self._shape]
        self.first = Adapter(self._shape, {name: p.data for name, p in own.items()})

    def read(self, folder: Path) -> Adapter:
        """An adapter from its folder, on the model's device. Does not put it on.

        Raises RunError when its files are damaged or of another base.
        """
        from safetensors.torch import load_file

        shape = _shape(folder)
        try:
            found = load_file(folder / WEIGHTS)
            if shape not in self._own:
                name = f"shape{len(self._own)}"
                self.model.load_adapter(str(folder), adapter_name=name)
                self._hold(shape, name)
        except (OSError, SafetensorError, ValueError, RuntimeError) as error:
            raise damaged(folder, str(error).strip().splitlines()[0]) from None
        own = self._own[shape]
        if own.keys() != found.keys():
            raise damaged(folder, "its matrices are not those of the base")
        if any(own[name].shape != tensor.shape for name, tensor in found.items()):
            raise damaged(folder, "its matrices have other sizes than the base's")
        return Adapter(shape, {n: t.to(own[n].device, own[n].dtype) for n, t in found.items()})

    def put_on(self, adapter: Adapter) -> None:
        """From now on the model computes with `adapter`."""
        if adapter.shape != self._shape:
            self.model.set_adapter(self._names[adapter.shape])
            self._shape = adapter.shape
        for name, parameter in self._own[adapter.shape].items():
            parameter.data = adapter.tensors[name]

    def _hold(self, shape: str, name: str) -> None:
        """PEFT's adapter `name` is the one for adapters of this shape."""
        self._names[shape] = name
        self._own[shape] = {
            ".".join(part for part in parts if part != name): parameter
            for full, parameter in self.model.named_parameters()
            if "lora_" in full and name in (parts := full.split("."))
        }


def _shape(folder: Path) -> str:
    """All of an adapter's config that says how it computes."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kept = {name: value for name, value in config.items() if name not in _TOLD}
    except (OSError, ValueError, AttributeError) as error:
        raise damaged(folder, str(error)) from None
    return json.dumps(kept, sort_keys=True)


def damaged(folder: Path, why: str) -> RunError:
    """The error for an adapter that cannot be used."""
    return RunError(f"The adapter in {folder} cannot be used: {why}.", "Train the run again.")
