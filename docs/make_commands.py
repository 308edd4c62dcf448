"""Writes docs/commands.md from the command line itself, so that it never says what is not so.

    python docs/make_commands.py            writes the file
    python docs/make_commands.py --check    only says whether it is stale (exit code 1)

Reads names, arguments, options, defaults and examples from click; knows nothing of what a
command does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from kefu.cli import cli

FILE = Path(__file__).with_name("commands.md")
HEAD = """\
# Commands

<!-- Made by docs/make_commands.py from the command line. Change the help texts there. -->

`kefu [-C FOLDER] COMMAND …` works in the folder that holds `kefu.toml`: this one, one above it,
or the one that `-C` names. Results go to standard output, remarks and errors to standard error;
colours and bars are shown on a terminal only.

Exit codes: 0 done · 1 `check` or `train` found something in the FAQ that has to be mended first ·
2 bad input, or training that was stopped, with what is wrong and the remedy · 130 stopped with
Ctrl-C elsewhere.
"""


def text() -> str:
    """The whole page."""
    commands = [(name, cli.commands[name]) for name in cli.list_commands(click.Context(cli))]
    parts = [HEAD, "\n".join(f"- [{_title(n)}](#kefu-{n}): {_help(c)}" for n, c in commands)]
    parts += ["## For every command\n\n" + "\n".join(_table(cli))]
    parts += [_section(name, command) for name, command in commands]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _title(name: str) -> str:
    return f"`kefu {name}`"


def _help(command: click.Command) -> str:
    return " ".join((command.help or "").split())


def _section(name: str, command: click.Command) -> str:
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    usage = " ".join(["kefu", name, "[OPTIONS]", *(_metavar(a) for a in arguments)])
    examples = [
        line.strip()
        for line in (command.epilog or "").splitlines()
        if line.strip().startswith("kefu ")
    ]
    lines = [f"## kefu {name}", "", _help(command), "", "```console"]
    lines += [usage, "", "# for example", *examples, "```", "", *_table(command)]
    return "\n".join(lines)


def _metavar(argument: click.Argument) -> str:
    name = argument.make_metavar(click.Context(cli))
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _table(command: click.Command) -> Iterator[str]:
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    yield "| option | what it does |"
    yield "| --- | --- |"
    for option in options:
        yield f"| {_names(option)} | {_what(option)} |"


def _names(option: click.Option) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return f"`{names}`"
    if isinstance(option.type, click.Choice):
        value = " \\| ".join(str(choice) for choice in option.type.choices)
        return f"`{names}` {value}"
    return f"`{names} {option.metavar or option.type.name.upper()}`"


def _what(option: click.Option) -> str:
    said = " ".join((option.help or "").split())
    if option.show_default and isinstance(option.default, str | int | float | Path):
        said += f" Without it: `{option.default}`."
    return said.strip()


def main() -> None:
    """Writes the page, or says that it is stale."""
    fresh = text()
    if "--check" in sys.argv[1:]:
        if not FILE.is_file() or FILE.read_text(encoding="utf-8") != fresh:
            sys.exit(f"{FILE.name} is stale: run `make docs`.")
        return
    FILE.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
