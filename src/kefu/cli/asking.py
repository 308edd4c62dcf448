"""Questions to a trained bot: ask and chat."""

from __future__ import annotations

import sys

import click

from .. import show
from ..records import MODES, Mode
from ..workspace import Workspace, dump
from .base import EXAMPLES, as_json, cli, emit


@cli.command(epilog=EXAMPLES + "kefu ask 產品保固多久？")
@click.argument("question", nargs=-1, required=True)
@click.option("--run", "name", help="The run that answers; the newest one without this.")
@click.option("--mode", type=click.Choice(MODES), help="How to answer.")
@as_json
@click.pass_obj
def ask(
    workspace: Workspace,
    question: tuple[str, ...],
    name: str | None,
    mode: Mode | None,
    json_: bool,
) -> None:
    """Ask a bot one question; prints the answer and nothing else."""
    from ..bot import Bot

    bot = Bot.open(workspace.run(name), mode=mode)
    asked = " ".join(question)
    if json_:
        return emit(dump(bot.answer(asked)))
    for piece in bot.stream(asked):
        click.echo(piece, nl=False)
        sys.stdout.flush()
    click.echo()
    return None


@cli.command(epilog=EXAMPLES + "kefu chat --run first")
@click.option("--run", "name", help="The run that answers; the newest one without this.")
@click.option("--mode", type=click.Choice(MODES), help="How to answer.")
@click.pass_obj
def chat(workspace: Workspace, name: str | None, mode: Mode | None) -> None:
    """Talk to a bot; it remembers what was said. An empty line or Ctrl-D ends it."""
    from ..bot import Bot

    bot = Bot.open(workspace.run(name), mode=mode)
    history: list[tuple[str, str]] = []
    shown = sys.stdin.isatty()
    while True:
        try:
            asked = input("> " if shown else "").strip()
        except (EOFError, KeyboardInterrupt):
            break
        if not asked:
            break
        said = ""
        for piece in bot.stream(asked, history):
            said += piece
            click.echo(piece, nl=False)
            sys.stdout.flush()
        click.echo()
        history.append((asked, said))
        dropped = bot.dropped(asked, history)
        if dropped:
            show.aside(f"(the oldest {dropped} turns no longer fit and are forgotten)")
