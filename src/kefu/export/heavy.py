"""The forms that touch weights: merged, gguf, ollama."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import BaseError, GateError
from . import card, merging, numbers, vllm
from .forms import same_prompts
from .merging import Say
from .source import Source


def make(
    source: Source, form: str, folder: Path, say: Say, options: Mapping[str, Any]
) -> tuple[str, ...]:
    """Fills `folder` (empty) and returns the notes."""
    if form == "merged":
        return _merged(source, folder, say, options)
    if importlib.util.find_spec("gguf") is None:
        raise BaseError(
            f"The form {form} needs the Python package gguf, which is not here.",
            "Install it: `pip install gguf`.",
        )
    if form == "gguf":
        return (
            _lora(source, folder, say, options)
            if options.get("lora")
            else _gguf(source, folder, say, options)
        )
    return _ollama(source, folder, say, options)


def _merged(source: Source, folder: Path, say: Say, options: Mapping[str, Any]) -> tuple[str, ...]:
    onto, notes = merging.choose(source, folder.parent, options.get("judge"), say)
    say(f"merging the adapter into the {onto} base")
    merging.save(merging.merged(source, onto, say), source, folder)
    vllm.write(source, folder, lora=False)
    notes = (*notes, same_prompts(source, folder))
    card.write(source, folder, card.merged_snippet(source), notes)
    return notes


def _gguf(source: Source, folder: Path, say: Say, options: Mapping[str, Any]) -> tuple[str, ...]:
    notes = write_models(source, folder, say, options, ("f16", "q8_0"))
    card.write(source, folder, card.llama_snippet(source, _first(folder)), notes)
    return notes


def _ollama(source: Source, folder: Path, say: Say, options: Mapping[str, Any]) -> tuple[str, ...]:
    from . import ollama

    pieces = ollama.pieces(source)  # before the long work
    notes = write_models(source, folder, say, options, ("q8_0",))
    if pieces.system is None:
        notes += ("Its template has no place for a system message: Ollama drops one.",)
    notes += ("The folder was not tried in Ollama itself.",)
    path = folder / "Modelfile"
    path.write_text(ollama.modelfile(source, _first(folder)), encoding="utf-8", newline="\n")
    card.write(source, folder, card.ollama_snippet(source), notes)
    return notes


def write_models(
    source: Source,
    folder: Path,
    say: Say,
    options: Mapping[str, Any],
    types: Sequence[str],
) -> tuple[str, ...]:
    """The merged model as RUN-TYPE.gguf in each number format, checked; returns the notes."""
    from . import engine, gguf_files

    types = tuple(options.get("types") or types)
    numbers.check(types)
    onto, notes = merging.choose(source, folder.parent, options.get("judge"), say)
    say(f"merging the adapter into the {onto} base")
    model = merging.merged(source, onto, say)
    for name in types:
        say(f"writing {name}")
        kept = gguf_files.write_model(model, source, folder / f"{source.name}-{name}.gguf", name)
        if kept < gguf_files.KEPT:
            raise GateError(
                f"In {name} only {kept:.0%} of what the training changed is left: the base comes "
                "rounded, and rounding it again undoes the training.",
                "Use q8_0; or `lora`, the adapter alone, on the base's own GGUF file.",
            )
    return (*notes, engine.same_tokens(source, folder / f"{source.name}-{types[0]}.gguf"))


def _lora(source: Source, folder: Path, say: Say, options: Mapping[str, Any]) -> tuple[str, ...]:
    from . import engine, gguf_files

    say("writing the adapter as a GGUF LoRA")
    path = folder / f"{source.name}-lora.gguf"
    gguf_files.write_lora(source, path)
    (folder / "chat_template.jinja").write_text(
        source.chat_template, encoding="utf-8", newline="\n"
    )
    notes: tuple[str, ...] = (
        f"It is the adapter alone and goes on a GGUF of the base `{source.base_name}`, in any "
        "number format; the nearer that is to the precision of training, the safer.",
    )
    base = options.get("base")
    if base is None:
        notes += (
            "Whether a GGUF of the base cuts text as training did was not checked: name one "
            "with `base`.",
        )
    else:
        notes += (engine.same_tokens(source, Path(base), path),)
    card.write(source, folder, card.lora_snippet(source, path.name), notes)
    return notes


def _first(folder: Path) -> str:
    return min(p.name for p in folder.glob("*.gguf"))
