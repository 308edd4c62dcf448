"""Questions to a trained bot: ask and chat."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from .. import show
from ..records import MODES, Mode
from ..workspace import Workspace, dump
from .base import EXAMPLES, as_json, cli, emit

if TYPE_CHECKING:
    from ..bot import Bot


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
    _tell(bot, asked, [])
    return None


@cli.command(epilog=EXAMPLES + "kefu chat --run first")
@click.option("--run", "name", help="The run that answers; the newest one without this.")
@click.option("--mode", type=click.Choice(MODES), help="How to answer.")
@click.pass_obj
def chat(workspace: Workspace, name: str | None, mode: Mode | None) -> None:
    """Talk to a bot; it remembers what was said. An empty line or Ctrl-D ends it.

    Where it hands over it offers the questions that were probably meant: type the number of one.
    """
    from ..bot import Bot

    bot = Bot.open(workspace.run(name), mode=mode)
    history: list[tuple[str, str]] = []
    offered: tuple[str, ...] = ()
    shown = sys.stdin.isatty()
    while True:
        try:
            asked = input("> " if shown else "").strip()
        except (EOFError, KeyboardInterrupt):
            break
        if not asked:
            break
        if asked.isdecimal() and 0 < int(asked) <= len(offered):
            asked = offered[int(asked) - 1]
        said, offered = _tell(bot, asked, history)
        history.append((asked, said))
        dropped = bot.dropped(asked, history)
        if dropped:
            show.aside(f"(the oldest {dropped} turns no longer fit and are forgotten)")


def _tell(bot: Bot, asked: str, history: list[tuple[str, str]]) -> tuple[str, tuple[str, ...]]:
    """Prints the answer as it comes, and below a hand-over the questions that may be meant."""
    if bot.streams:
        said = ""
        for piece in bot.stream(asked, history):
            said += piece
            click.echo(piece, nl=False)
            sys.stdout.flush()
        click.echo()
        return said, ()
    reply = bot.answer(asked, history)
    click.echo(reply.text)
    if reply.offered:
        click.echo(
            "您是不是想問：" if any("一" <= c <= "鿿" for c in reply.text) else "Did you mean:"
        )
    for number, question in enumerate(reply.offered, 1):
        click.echo(f"  {number}. {question}")
    return reply.text, reply.offered
