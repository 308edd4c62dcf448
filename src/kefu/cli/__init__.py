"""The command line: one adapter a command. Parse, call one door, hand the result to `show`.

Only `main` exits. Nothing here imports torch; the commands that need it do so when they run.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import warnings

import click

from .. import show
from ..errors import KefuError
from . import asking, feedback, judging, making, scaling, serving, shipping, studio
from .base import cli
from .shipping import DEMO_QUESTIONS

__all__ = [
    "DEMO_QUESTIONS", "asking", "cli", "feedback", "judging", "main", "making", "scaling",
    "serving", "shipping", "studio",
]  # fmt: skip


def main() -> None:
    """Runs a command; every fault of input ends with one sentence, a remedy and exit code 2."""
    for stream in (sys.stdout, sys.stderr):  # Windows and bare locales would trip over Chinese
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(encoding="utf-8", errors="replace")
    # Python would end with a search through all that torch and a model left in memory: seconds.
    atexit.register(gc.freeze)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # What one library tells another's developers; a shop owner can do nothing about it.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers|peft|trl")
    try:
        cli(standalone_mode=False)
    except KefuError as error:
        show.error(error.what, error.fix, error.anchor)
        sys.exit(2)
    except click.exceptions.Abort:
        show.aside("stopped")
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        show.aside("stopped")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
