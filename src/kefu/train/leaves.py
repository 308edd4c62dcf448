"""What a run folder holds before its first step and after its last.

Does not know how a step is done.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..records import Example, Plan, Run
from ..weights import save_tokenizer, warm
from ..workspace import RunFolder, dump, write_json, write_text
from . import checkpoints, curve

if TYPE_CHECKING:
    from .session import Session

VERSIONED = (
    "kefu", "torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets",
    "safetensors",
)  # fmt: skip


def describe(plan: Plan, examples: Sequence[Example], folder: RunFolder) -> None:
    """Everything that is needed to repeat the run, before it begins."""
    write_json(folder.file("plan.json"), plan, Plan)
    lines = [json.dumps(dump(e), ensure_ascii=False) for e in examples]
    write_text(folder.file("examples.jsonl"), "\n".join(lines) + "\n")
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in VERSIONED:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    versions["examples_sha256"] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    versions["faq_digest"] = plan.faq_digest
    if plan.reads_by:
        versions["warm_sha256"] = warm.digest(plan.reads_by)
    write_json(folder.file("versions.json"), versions)


def trainable(model: Any) -> int:
    """Parameters that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def finish(session: Session) -> Run:
    folder, plan = session.folder, session.plan
    if session.cards.first:
        keep(session)
    steps = list(folder.steps())
    run = Run(
        name=folder.name,
        folder=str(folder.path),
        steps=steps[-1].step if steps else 0,
        first_loss=steps[0].loss if steps else 0.0,
        last_loss=steps[-1].loss if steps else 0.0,
        seconds=round(time.monotonic() - session.started, 2),
        trainable=trainable(session.model),
        total=plan.total.value,
    )
    if session.cards.first:
        write_text(folder.file("loss.svg"), curve.loss_picture(steps))
        write_json(folder.file("run.json"), run, Run)
        shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return run


def keep(session: Session) -> None:
    """Writes the adapter, whole or not at all."""
    folder, plan = session.folder, session.plan
    work = folder.file(".adapter")
    shutil.rmtree(work, ignore_errors=True)
    session.model.save_pretrained(str(work))
    save_tokenizer(session.prompt.tokenizer, work)
    # PEFT writes a model card of its own with this machine's path to the base in it.
    with suppress(OSError):
        (work / "README.md").unlink()
    _name_base(work / "adapter_config.json", plan.base.value)
    shutil.rmtree(folder.adapter, ignore_errors=True)
    checkpoints.sync_all(work)
    work.replace(folder.adapter)
    checkpoints.sync_all(folder.adapter)


def _name_base(path: Path, base: str) -> None:
    """Embedded bases keep their cache path, so that plain PEFT finds them on this machine."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.setdefault("base_model_name_or_path", base)
    # PEFT keeps names as a set, whose order is another in every process.
    for name, value in config.items():
        if name in ("target_modules", "modules_to_save") and isinstance(value, list):
            config[name] = sorted(value)
    write_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")
