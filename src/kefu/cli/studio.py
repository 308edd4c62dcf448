"""The studio: a web page for the whole job."""

from __future__ import annotations

import os

import click

from .. import show
from ..errors import SettingsError
from ..workspace import Workspace
from .base import EXAMPLES, cli

PASSWORD = "KEFU_STUDIO_PASSWORD"


@cli.command(epilog=EXAMPLES + "kefu studio")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=7860, show_default=True, help="Port to listen on.")
@click.option("--open/--no-open", "open_", default=True, help="Open the browser.")
@click.pass_obj
def studio(workspace: Workspace, host: str, port: int, open_: bool) -> None:
    """The whole job in the browser, in Traditional Chinese or English.

    Listening elsewhere than on this machine needs a password in KEFU_STUDIO_PASSWORD.
    """
    password = os.environ.get(PASSWORD, "")
    if host not in ("127.0.0.1", "localhost", "::1") and not password:
        raise SettingsError(
            f"On {host} others can reach the studio, and there is no password.",
            f"Put one into the environment variable {PASSWORD}, or leave --host out.",
        )
    try:
        import uvicorn

        from ..studio import app
    except ImportError as error:
        raise SettingsError(
            f"The studio's packages are not here ({error.name}).",
            "Install them: `pip install 'kefu[studio]'`.",
        ) from None
    made = app(workspace, password)
    address = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}/"
    show.say(f"The studio is at {address} (Ctrl-C ends it; a training goes on).")
    if open_ and os.environ.get("DISPLAY", os.name == "nt"):
        click.launch(address)
    uvicorn.run(made, host=host, port=port, log_level="warning")
