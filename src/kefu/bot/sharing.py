"""Bots over a model that is loaded already: one in training, or one base with many adapters."""

from __future__ import annotations

from typing import Any

from ..prompt import Prompt
from ..workspace import RunFolder
from .bot import Bot
from .engine import Engine


def over(folder: RunFolder, model: Any, prompt: Prompt, device: str) -> Bot:
    """A bot over the PEFT model of a run that is still being trained. Puts it into eval mode."""
    return Bot(folder, folder.plan(), folder.faq().pairs, Engine(model, device), prompt)
