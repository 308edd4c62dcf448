"""A finished run as an export sees it: plan, base, tokenizer, prompt, and no path of this machine.

The tokenizer that leaves the house carries the whole prompt: engines elsewhere know neither the
persona nor which way a reasoning model was trained, so both are baked into its chat template.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..plan.bases import Base, catalogue, resolve
from ..prompt import Prompt
from ..records import Plan, Report
from ..workspace import RunFolder, read_json

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Source:
    """One run that is finished."""

    folder: RunFolder
    plan: Plan

    @property
    def name(self) -> str:
        return self.folder.path.resolve().name

    @cached_property
    def base(self) -> Base:
        """Raises BaseError when the base is a folder that is gone."""
        return resolve(self.plan.base.value)

    @cached_property
    def base_name(self) -> str:
        """The base by a name that means something elsewhere: a folder only by its last part."""
        name = self.plan.base.value
        if any(b.name == name for b in catalogue()) or not _is_place(name):
            return name
        return Path(name).expanduser().resolve().name

    @cached_property
    def adapter_config(self) -> dict[str, Any]:
        """PEFT's own description of the adapter."""
        path = self.folder.adapter / CONFIG
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read: {error}.", "Train the run again.") from None
        return found

    @cached_property
    def tokenizer(self) -> Any:
        """The run's own tokenizer, as it was trained with."""
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(str(self.folder.adapter))
        except (OSError, ValueError) as error:
            first = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise RunError(
                f"The run's tokenizer cannot be read: {first}.", "Train the run again."
            ) from None

    @cached_property
    def prompt(self) -> Prompt:
        """The prompt as in training."""
        plan = self.plan
        return Prompt.of_plan(self.tokenizer, plan)

    @cached_property
    def chat_template(self) -> str:
        """The template that other engines get."""
        return baked(str(self.prompt.tokenizer.chat_template), self.plan.persona.value)

    @cached_property
    def report(self) -> Report | None:
        """The run's exam, where it sat one."""
        path = self.folder.file("report.json")
        return read_json(path, Report) if path.is_file() else None

    def save_tokenizer(self, folder: Path) -> None:
        """The run's tokenizer with the baked template, into `folder`."""
        for path in sorted(self.folder.adapter.iterdir()):
            own = path.name in {WEIGHTS, CONFIG, "README.md", "chat_template.jinja"}
            if path.is_file() and not own and not path.name.startswith("."):
                shutil.copyfile(path, folder / path.name)
        path = folder / "tokenizer_config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        # Which machine and cache it was read from is nobody's business, and true nowhere else.
        for key in ("name_or_path", "is_local", "local_files_only", "chat_template"):
            config.pop(key, None)
        write_json(path, config)
        (folder / "chat_template.jinja").write_text(
            self.chat_template, encoding="utf-8", newline="\n"
        )

    def save_adapter(self, folder: Path) -> None:
        """The adapter in plain PEFT with its tokenizer, into `folder`."""
        shutil.copyfile(self.folder.adapter / WEIGHTS, folder / WEIGHTS)
        config = dict(self.adapter_config)
        config["base_model_name_or_path"] = self.base_name
        for key, value in config.items():  # PEFT keeps sets, whose order changes by the run
            if isinstance(value, list) and all(isinstance(v, str) for v in value):
                config[key] = sorted(value)
        write_json(folder / CONFIG, config)
        self.save_tokenizer(folder)


def open_run(folder: RunFolder) -> Source:
    """A finished run. Raises RunError when it is not finished, or its adapter is not whole."""
    if not folder.finished:
        raise RunError(
            f"The run {folder.name} is not finished.",
            f"Go on with it: `kefu train --resume {folder.name}`.",
        )
    for name in (WEIGHTS, CONFIG, "tokenizer_config.json"):
        if not (folder.adapter / name).is_file():
            raise RunError(
                f"The run {folder.name} has no {name} in its adapter folder.",
                "Train the run again.",
            )
    return Source(folder, folder.plan())


def baked(template: str, persona: str) -> str:
    """A chat template that needs nothing said to it: persona and thinking are as in training."""
    before = ""
    if "enable_thinking" in template:
        before += "{%- set enable_thinking = false -%}"
    if persona:
        said = json.dumps(persona, ensure_ascii=False)
        before += (
            "{%- if not messages or messages[0]['role'] != 'system' -%}"
            "{%- set messages = [{'role': 'system', 'content': " + said + "}] + messages -%}"
            "{%- endif -%}"
        )
    return before + template


def write_json(path: Path, data: Any) -> None:
    """Plain data as readable JSON with sorted keys, the same on every machine."""
    text = json.dumps(data, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")


def _is_place(name: str) -> bool:
    return name.startswith((".", "/", "~")) or "\\" in name or Path(name).expanduser().is_dir()
