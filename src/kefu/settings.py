"""kefu.toml: the few things that a person may want to change. Everything else is computed.

Torch-free. A setting that can be computed from the FAQ and the machine is not here.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import SettingsError
from .records import Book, Mode, Recipe

Thoroughness = Literal["quick", "normal", "thorough"]
FILE = "kefu.toml"


class Settings(BaseModel):
    """What the person says. Unknown keys are refused with the key's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    faq: str = ""
    """The FAQ file or folder, relative to kefu.toml."""
    thorough: Thoroughness = "normal"
    """The one dial: how often each fact is practised, and in how many wordings."""
    base: str = "auto"
    """`auto`, a name from the catalogue, a local folder, or a model hub id."""
    recipe: Recipe = "default"
    precision: Literal["auto", "nf4", "bf16", "fp16", "fp32"] = "auto"
    """In which the frozen base is kept while training."""
    mode: Literal["auto"] | Mode = "auto"
    """How the bot answers: sample, free, locked or verbatim."""
    book: Literal["auto"] | Book = "auto"
    """`closed`: answers are learned by heart. `open`: they are looked up in the FAQ file as it is
    when a customer asks, so that a row that was edited is answered newly without training."""
    reader: Literal["auto", "none"] = "auto"
    """Whether the small embedded base, which has learned what an answer covers, reads questions for
    a bot on another base: `auto` where it is installed, or `none`."""
    reranker: str = "auto"
    """A larger base that reads the rows which a question may mean, instead of the small one: a name
    from the catalogue for which kefu brings an adapter, or a folder with that base; `none`; or
    `auto` for one that is installed as packages."""
    max_false_answers: float = Field(default=0.02, gt=0, lt=1)
    """What matters to the owner: of the questions that the bot answers, how many may be wrong."""
    hand_over: str = Field(default="這個問題我請真人客服為您回覆，請稍候。", min_length=1)
    """What the bot says when it hands a question to a person."""
    persona: str = ""
    """A system prompt. Empty by default: a serving engine then has nothing to forget."""
    seed: int = 42
    patience: int = Field(default=0, ge=0)
    """Optimizer steps without a gain on held-out wordings after which training ends early, with the
    best adapter kept; 0 for never, since it gained nothing where it was measured (LOG.md)."""
    reword_endpoint: str = ""
    """An OpenAI-compatible address that `kefu reword` may ask for wordings, or nothing."""
    reword_model: str = ""
    embedder: str = ""
    """A sentence-transformers model (folder or hub id) whose retrieval stands beside the bot in its
    exams, or nothing."""
    report_to: tuple[str, ...] = ()
    """Experiment trackers that hear every step: "tensorboard", "trackio", "mlflow", "wandb" …, by
    the names of transformers' `report_to`."""
    trust_remote_code: bool = False
    """Lets a base model's own Python code run on this machine. Leave off unless you read it."""


def load(path: Path | None) -> Settings:
    """Settings from a kefu.toml, or the defaults when `path` is None.

    Raises SettingsError with the key at fault.
    """
    if path is None:
        return Settings()
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist.", "Run `kefu init` to make one.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.", "Check the file.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.", "Mend that line.") from None
    return parse(data, str(path))


def parse(data: dict[str, object], where: str) -> Settings:
    """Settings from plain data; `where` names the place for messages."""
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(Settings.model_fields)
        fix = f"Change `{key}` there, or leave it out: its default is then used."
        if first["type"] == "extra_forbidden":
            fix = f"Known settings: {known}."
        raise SettingsError(f"{where}: `{key}`: {first['msg']}.", fix) from None
