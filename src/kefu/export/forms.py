"""Fills a folder with one form of a run; returns what the person should know of it."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import GateError, SettingsError
from ..records import Plan
from ..workspace import dump
from . import card, vllm
from .engine import PROBES
from .source import Source, write_json

Say = Callable[[str], None]
ROWS = ("examples.jsonl", "faq.json", "split.json", "exam.jsonl", "report.json")
"""Files of a run that hold the customers' own words."""
OURS = ("loss.svg", "calibration.json", "steps.jsonl")
"""Files of a run without a word of the customers'."""


def make(
    source: Source, form: str, folder: Path, say: Say, options: Mapping[str, Any]
) -> tuple[str, ...]:
    """Fills `folder` (empty) and returns the notes."""
    if form == "zip":
        return _zip(source, folder, say, options)
    if form == "adapter":
        return _adapter(source, folder, say, options)
    if form == "hub":
        return _hub(source, folder, say, options)
    from . import heavy  # torch and gguf, which the others do without

    return heavy.make(source, form, folder, say, options)


def _adapter(source: Source, folder: Path, say: Say, options: Mapping[str, Any]) -> tuple[str, ...]:
    say("copying the adapter and its tokenizer")
    source.save_adapter(folder)
    vllm.write(source, folder, lora=True)
    notes = (card.how_to_get(source), same_prompts(source, folder))
    card.write(source, folder, card.peft_snippet(source, "."), notes)
    return notes


def _hub(source: Source, folder: Path, say: Say, options: Mapping[str, Any]) -> tuple[str, ...]:
    from . import hub

    what = str(options.get("what") or "adapter")
    if what not in {"adapter", "merged", "gguf"}:
        raise SettingsError(f"The form {what} is not pushed.", "Push adapter, merged or gguf.")
    hub.check(options)
    return make(source, what, folder, say, {})


def _zip(source: Source, folder: Path, say: Say, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The run folder itself without what is only of this machine, so that kefu opens it too."""
    say("packing the run")
    rows = bool(options.get("rows"))
    adapter = folder / "adapter"
    adapter.mkdir()
    source.save_adapter(adapter)
    vllm.write(source, adapter, lora=True)
    plan = source.plan
    moved = dataclasses.replace(plan, base=dataclasses.replace(plan.base, value=source.base_name))
    write_json(folder / "plan.json", dump(moved, Plan))
    record = dump(source.folder.run())
    write_json(folder / "run.json", {**record, "folder": source.name})
    for name in ("versions.json", *OURS, *(ROWS if rows else ())):
        if source.folder.file(name).is_file():
            shutil.copyfile(source.folder.file(name), folder / name)
    digest = data_digest(source)
    if digest:
        text = f"{digest}  examples.jsonl\n"
        (folder / "examples.jsonl.sha256").write_text(text, encoding="utf-8", newline="\n")
    notes = [card.how_to_get(source)]
    if not rows:
        notes.append(
            "The customers' rows are left out: without them kefu's own modes `locked` and "
            "`verbatim` cannot answer from this archive. Export with `rows` to take them along."
        )
    card.write(source, folder, card.peft_snippet(source, "adapter"), notes)
    return tuple(notes)


def same_prompts(source: Source, folder: Path) -> str:
    """That the tokenizer in `folder` writes and reads prompts as training did, as a note, where
    it is used without kefu. Raises GateError if not."""
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(str(folder))
    for question in PROBES:
        said = [{"role": "user", "content": question}]  # a client without a persona
        text = words.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        ids = words(text, add_special_tokens=False)["input_ids"]
        if ids != source.prompt.ids(question):
            raise GateError(
                f"The exported tokenizer reads {text!r} as other tokens than training.",
                "Report this.",
            )
    return f"Its tokenizer writes and reads {len(PROBES)} probing prompts as training did."


def data_digest(source: Source) -> str:
    """SHA-256 (hex) of the rows that were trained, or nothing where they are gone."""
    path = source.folder.file("examples.jsonl")
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
