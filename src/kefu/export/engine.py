"""Asks llama.cpp itself, where it is here, whether it reads an exported file as kefu meant it."""

from __future__ import annotations

import importlib.util
import json
import selectors
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import BaseError, GateError
from .source import Source

PROBES = (
    "運費多少？",
    "How much is delivery to Zürich, 3-5 days? Call 0800-123-456!",
    "  兩個空格，以及\n換行\n\n和 emoji 🙂👨‍👩‍👧 é",
    "客服電話：(02) 2345-6789 #12，價格 NT$1,280、2026/01/31 前 9 折。",
)
"""Questions in which tokenizers differ: spaces, newlines, digits, bytes beyond the vocabulary."""


_PATIENCE = 600.0
"""Seconds in which a model is loaded or refused, and in which it answers: on two busy cores 256
tokens of a small model have taken more than two minutes."""
_CHILD = """
import os, sys
import xllamacpp
model, lora, template, slots, context, states = sys.argv[1:]
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
params = xllamacpp.CommonParams()
params.model.path = model
params.n_ctx = int(context)
params.n_parallel = int(slots)
params.warmup = False
params.fit_params = False  # what it may have is said here; to try it out takes as long as to load
params.cache_ram_mib = 0  # else old prompts pile up to 8 GiB: no two customers ask alike
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = cores
if states:
    params.embedding, params.embd_normalize = True, -1
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    params.n_batch = params.n_ubatch = int(context) // int(slots)
params.use_jinja = True
if template:
    params.chat_template = template
if lora:
    adapter = xllamacpp.CommonAdapterLoraInfo()
    adapter.path, adapter.scale = lora, 1.0
    params.lora_adapters = [adapter]
server = xllamacpp.Server(params)
print("address", server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)  # whoever started it has ended, and its own ending can hang
"""


class Llama:
    """llama.cpp's own server on loopback."""

    def __init__(self, address: str, child: subprocess.Popen[str]) -> None:
        self.address, self._child = address, child

    def ended(self, seconds: float) -> bool:
        """Whether the process has ended, or does within `seconds`."""
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def context(self) -> int:
        """Tokens that one sequence may have."""
        with urllib.request.urlopen(self.address + "/props", timeout=120) as answer:
            return int(json.load(answer)["default_generation_settings"]["n_ctx"])

    def tokens(self, text: str) -> list[int]:
        """Token ids as llama.cpp reads a finished prompt."""
        asked = {"content": text, "add_special": True, "parse_special": True}
        found: list[int] = self._post("/tokenize", asked)["tokens"]
        return found

    def rendered(self, messages: list[dict[str, str]]) -> str:
        """A conversation as the file's chat template writes it."""
        found: str = self._post("/apply-template", {"messages": messages})["prompt"]
        return found

    def complete(self, prompt: str | list[int], most: int = 64, likely: int = 5) -> dict[str, Any]:
        """Greedy text after a prompt, in llama.cpp's own terms, with the `likely` first tokens."""
        asked = {"prompt": prompt, "n_predict": most, "temperature": 0, "return_tokens": True}
        found: dict[str, Any] = self._post("/completion", {**asked, "n_probs": likely})
        return found

    def states(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """The last hidden state after each sequence of token ids; opened with `states` only."""
        asked = {"content": [list(s) for s in sequences], "embd_normalize": -1}
        found = sorted(self._post("/embedding", asked), key=lambda one: int(one["index"]))
        return [one["embedding"][0] for one in found]

    def _post(self, path: str, data: Any) -> Any:
        body = json.dumps(data).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:  # an OSError else, as if llama.cpp had ended
            raise ValueError(error.read()[:500]) from None


def check_name(file: Path, run: str) -> None:
    """Raises GateError when a file is no GGUF, or says that it is another run's than `run`."""
    from ..weights import gguf_head

    try:
        held = gguf_head(file).fields.get("general.name")
        name = str(held.contents()) if held else "something else"
    except (ValueError, OSError) as error:
        raise GateError(f"{file.name} is no GGUF file: {error}.", "Export the run again.") from None
    if name != run:
        raise GateError(
            f"The file {file.name} is an export of {name}, not of {run}.",
            f"Export this run: `kefu export {run} --to gguf`.",
        )


def here() -> bool:
    """Whether llama.cpp is on this machine (the Python package xllamacpp)."""
    return importlib.util.find_spec("xllamacpp") is not None


@contextmanager
def opened(
    path: Path,
    lora: Path | None = None,
    template: str = "",
    *,
    slots: int = 1,
    context: int = 512,
    states: bool = False,
) -> Iterator[Llama]:
    """llama.cpp with a GGUF file (and a GGUF LoRA on it). Raises GateError if it refuses it,
    BaseError where it is not installed.

    `slots` sequences are generated side by side and share `context` tokens. With `states` it tells
    hidden states and makes no text.

    In a process of its own: a file that llama.cpp dislikes may end the process that reads it,
    and its server can hang when it is taken down.
    """
    if not here():
        raise BaseError(
            "llama.cpp is not on this machine (the Python package xllamacpp).",
            "Install it: `pip install 'kefu[llama]'`.",
        )
    words = (path, lora or "", template, slots, context, "states" if states else "")
    command = [sys.executable, "-c", _CHILD, *map(str, words)]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    said: deque[str] = deque(maxlen=20)
    reader = threading.Thread(target=lambda: said.extend(child.stderr or ()), daemon=True)
    reader.start()
    try:
        address = _address(child, time.monotonic() + _PATIENCE)
        if not address:
            reader.join(timeout=1)
            why = next((line.strip() for line in reversed(said) if line.strip()), "no reason given")
            raise GateError(
                f"llama.cpp refuses {path.name}: {why.rstrip('.')}.",
                "Export the run in another form, and report this.",
            )
        yield Llama(address, child)
    finally:
        child.kill()
        child.wait()
        reader.join(timeout=1)
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


def _address(child: subprocess.Popen[str], until: float) -> str:
    """The address that the child prints once the model is loaded; empty when it ended instead."""
    if child.stdout is None:
        return ""
    with selectors.DefaultSelector() as waiting:
        waiting.register(child.stdout, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0 and waiting.select(left):
            line = child.stdout.readline()
            if not line:
                return ""
            if line.startswith("address "):
                return line.split()[1]
    return ""


def same_tokens(source: Source, path: Path, lora: Path | None = None) -> str:
    """That llama.cpp reads the prompts as training did, as a note. Raises GateError if not.

    With `lora`, `path` is a GGUF of the base, which is given the run's chat template; whether it
    or the template begins the text is then all the same, as long as the tokens are.
    """
    if not here():
        return (
            "Not checked against llama.cpp itself, which is not on the exporting machine "
            "(`pip install xllamacpp`)."
        )
    prompt = source.prompt
    template = source.chat_template if lora else ""
    with opened(path, lora, template) as llama:
        for question in PROBES:
            history = () if question is PROBES[0] else ((PROBES[0], "滿千免運。"),)
            rows = ((question, "滿千免運。"),) if source.plan.book.value == "open" else ()
            text = llama.rendered(prompt.messages(question, history, rows))
            meant = prompt.text(question, history, rows)
            if text != meant and lora is None:
                raise GateError(
                    f"llama.cpp writes the prompt otherwise than training: {text!r}, "
                    f"not {meant!r}.",
                    "Export the run as `adapter` or `merged`, and report this.",
                )
            if llama.tokens(text) != prompt.encode(meant):
                raise GateError(
                    f"llama.cpp reads {meant!r} as other tokens than training.",
                    "Export the run as `adapter` or `merged`, and report this.",
                )
    return (
        f"llama.cpp itself writes and reads {len(PROBES)} probing prompts as training did, token "
        "by token."
    )
