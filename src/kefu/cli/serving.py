"""The server behind OpenAI's protocol."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

import click

from .. import releases, show
from ..asked import PLACE, Log
from ..errors import SettingsError
from ..records import Mode
from ..workspace import RunFolder, Workspace
from .base import EXAMPLES, cli

LOCAL = ("127.0.0.1", "localhost", "::1")
FOLDER = ".serve"


@cli.command(epilog=EXAMPLES + "kefu serve first --port 8000")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="Serve every finished run of the workspace.")
@click.option("--mode", type=click.Choice(["sample", "free", "locked", "verbatim"]))
@click.option(
    "--gguf",
    type=click.Path(path_type=Path, exists=True),
    help="Answer by llama.cpp with this GGUF file of the run.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port to listen on.")
@click.option("--new-key", is_flag=True, help="Make an API key, show it once, and end.")
@click.option("--origin", multiple=True, help="A web site that may call or frame the chat.")
@click.option("--per-minute", default=60, show_default=True, help="Questions of one client.")
@click.option("--waiting", default=64, show_default=True, help="Questions that may wait.")
@click.option("--keep-days", default=90, show_default=True, help="Days that the log is kept.")
@click.option(
    "--redact/--no-redact",
    default=True,
    help="Black out phones, mails and card numbers in the log.",
)
@click.pass_obj
def serve(
    workspace: Workspace,
    runs: tuple[str, ...],
    all_: bool,
    mode: str | None,
    gguf: Path | None,
    host: str,
    port: int,
    new_key: bool,
    origin: tuple[str, ...],
    per_minute: int,
    waiting: int,
    keep_days: int,
    redact: bool,
) -> None:
    """Serve runs over OpenAI's protocol, with a chat page and a widget.

    Without RUN the one that is released, else the newest. Several runs on one base share it, and
    are asked by their names. Listening elsewhere than on this machine needs an API key.
    """
    if all_ and runs:
        raise click.UsageError("--all serves every run: name none.")
    try:
        import uvicorn

        from ..serve import Arriving, Engine, Keys, Limits, LlamaEngine, app
    except ImportError as error:
        raise SettingsError(
            f"The server's packages are not here ({error.name}).",
            "Install them: `pip install 'kefu[serve]'`.",
        ) from None
    keys = Keys(workspace.root / FOLDER / "keys.json")
    if new_key:
        click.echo(keys.new())
        show.aside("Keep it: only its digest is stored.")
        return
    local = host in LOCAL
    if not local and not keys:
        raise SettingsError(
            f"On {host} others can reach the server, and there is no API key.",
            "Make one: `kefu serve --new-key`, or leave --host out.",
        )
    named = runs or (_released(workspace),)
    folders = _all(workspace) if all_ else tuple(map(workspace.run, named))
    if gguf is not None and len(folders) > 1:
        raise SettingsError("A GGUF file is of one run.", "Name that run, or leave --gguf out.")
    first, how = folders[0], cast("Mode | None", mode)
    if len(folders) == 1:
        how = how or first.plan().mode.value
    engine: Engine | LlamaEngine
    if gguf is not None and how in ("free", "sample"):
        engine = LlamaEngine(first.path, gguf, sample=how == "sample", waiting=waiting)
    else:
        paths = [folder.path for folder in folders]
        engine = Engine(*paths, mode=how, gguf=gguf, waiting=waiting)
    log = Log(workspace.root / PLACE, days=keep_days, redact=redact)
    limits = Limits(minute=per_minute, origins=origin, local=local)
    who = f"{first.name} answers"
    if len(folders) > 1:
        who = f"{first.name} and {len(folders) - 1} more answer"
    show.say(f"{who} at http://{host}:{port}/ (Ctrl-C ends it).")
    logging.basicConfig(level=logging.WARNING)
    # Without an access log: a line of it would hold what customers send in addresses.
    uvicorn.run(
        app(engine, log, limits, keys),
        host=host,
        port=port,
        http=Arriving,
        log_level="warning",
        access_log=False,
        limit_concurrency=512,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=60,
        server_header=False,
    )


def _released(workspace: Workspace) -> str | None:
    out = releases.current(workspace)
    return out.run if out else None


def _all(workspace: Workspace) -> tuple[RunFolder, ...]:
    """Every finished run, the one first that answers where no name is said: the one that is
    released, else the newest."""
    first = workspace.run(_released(workspace))
    rest = [run for run in reversed(workspace.runs()) if run.finished and run.name != first.name]
    return (first, *rest)
