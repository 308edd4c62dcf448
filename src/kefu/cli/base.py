"""What all commands share: the group, the options about an FAQ, and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..records import Faq
from ..settings import Settings, parse
from ..workspace import Workspace, cannot_write

ORDER = (
    "init", "check", "plan", "reword", "train", "sweep", "ask", "chat", "exam", "eval", "advise",
    "runs", "compare", "release", "export", "serve", "feedback", "studio", "demo",
)  # fmt: skip
EXAMPLES = "\b\nExample:\n  "


class Commands(click.Group):
    """Lists commands in the order of the work, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.commands, key=lambda name: (*ORDER, name).index(name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Keeps the command's own words, for one that is started once more in other processes."""
        ctx.meta["words"] = tuple(args)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kefu")
@click.option(
    "-C", "--folder", type=click.Path(path_type=Path), help="Work in this folder, not in this one."
)
@click.pass_context
def cli(ctx: click.Context, folder: Path | None) -> None:
    """kefu 客服: from an FAQ file to a customer-service bot that its owner can trust.

    \b
    Example:
      kefu init && kefu check && kefu train && kefu ask "如何退貨？"
    """
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.chdir(folder)
        except OSError as error:
            raise cannot_write(folder, error) from None
    ctx.obj = Workspace.find()


@dataclass(frozen=True, slots=True)
class Asked:
    """What was said about the FAQ and the settings, on the command line and in kefu.toml."""

    workspace: Workspace
    settings: Settings
    path: str | None
    columns: dict[str, str | None]
    said: dict[str, Any] = field(default_factory=dict)
    """The settings that the command line gave."""

    def faq(self) -> Faq:
        """The FAQ that was named, else the one of kefu.toml."""
        from ..jobs import open_faq

        return open_faq(self.workspace, self.settings, self.path, **self.columns)


Command = Callable[..., Any]


def with_faq(command: Command) -> Command:
    """Gives a command `asked`: the FAQ to read, and the options that override kefu.toml."""
    options = [
        click.argument("faq", required=False),
        click.option("--base", help="Base model: a known name, a folder, or OWNER/NAME."),
        click.option("--recipe", type=click.Choice(["default", "tutorial"]), help="How to train."),
        click.option(
            "--thorough",
            type=click.Choice(["quick", "normal", "thorough"]),
            help="The one dial: how much practice.",
        ),
        click.option(
            "--precision",
            type=click.Choice(["auto", "nf4", "bf16", "fp16", "fp32"]),
            help="In which the base is kept.",
        ),
        click.option(
            "--book",
            type=click.Choice(["auto", "closed", "open"]),
            help="Answers by heart, or looked up in the FAQ as it then is.",
        ),
        click.option(
            "--reader",
            type=click.Choice(["auto", "none"]),
            help="Whether the embedded base reads for another one.",
        ),
        click.option(
            "--reranker",
            metavar="BASE",
            help="A larger base that reads the likeliest rows: a known name, a folder, or none.",
        ),
        click.option("--seed", type=int, help="Of everything that is drawn by lot."),
        click.option("--question", help="Name of the question column."),
        click.option("--answer", help="Name of the answer column."),
        click.option("--sheet", help="Sheet of a workbook to read."),
    ]

    @wraps(command)
    def wrapped(**given: Any) -> Any:
        names = ("base", "recipe", "thorough", "precision", "book", "reader", "reranker", "seed")
        said = {name: given.pop(name) for name in names}
        said = {name: value for name, value in said.items() if value is not None}
        columns = {name: given.pop(name) for name in ("question", "answer", "sheet")}
        workspace: Workspace = click.get_current_context().obj
        settings = workspace.settings()
        if said:
            settings = parse({**settings.model_dump(), **said}, "the command line")
        return command(Asked(workspace, settings, given.pop("faq"), columns, said), **given)

    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


ray_option = click.option(
    "--ray", metavar="ADDRESS", help="Of a Ray cluster that works; without it this machine does."
)
as_json = click.option("--json", "json_", is_flag=True, help="Print JSON for a script.")


def emit(data: Any) -> None:
    """JSON on standard output, Chinese readable."""
    click.echo(json.dumps(data, ensure_ascii=False, indent=1))
