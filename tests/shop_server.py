"""Real servers over a tiny run, for the tests of the server: started once, side by side."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

import export_runs
from kefu.records import Example, Origin, Pair
from kefu.workspace import dump, write_json, write_text

XSS = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
ASK = {"messages": [{"role": "user", "content": "運費多少？"}]}
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Server:
    url: str
    root: Path
    process: subprocess.Popen[bytes]
    site: int = 0
    """The port of another web site that may call."""
    key: str = ""

    @property
    def engine(self) -> int:
        """The process that holds the model: made by the server's child that has imported torch."""
        grandchildren = [c for c in self.processes if c.ppid() != self.process.pid]
        return grandchildren[0].pid

    @property
    def processes(self) -> list[psutil.Process]:
        """All that the server has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def rows(self) -> list[tuple[object, ...]]:
        base = sqlite3.connect(self.root / ".serve" / "log.sqlite")
        try:
            return base.execute("SELECT id, question, answer, failed, vote FROM asked").fetchall()
        finally:
            base.close()


def make_run(root: Path, question: str = "運費多少？", answer: str = XSS + "滿千免運費。") -> None:
    """A run that answers `question` (and markup) with `answer`, and hands all else over."""
    run = export_runs.run(root / "runs" / "shop-1", export_runs.base(root / "base", "llama"))
    write_json(run.file("faq.json"), [Pair(question, answer, Origin("f.csv", 2))], list[Pair])
    rows = [json.dumps(dump(Example(text, answer, question))) for text in (question, XSS)]
    write_text(run.file("examples.jsonl"), "\n".join(rows) + "\n")
    write_json(run.file("calibration.json"), {"threshold": 2.0})


def kefu(root: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "kefu", "-C", str(root), *words]


def elsewhere(address: str) -> httpx.HTTPTransport:
    """A client at an address of its own: what it asks counts in its own minute, in no other's."""
    return httpx.HTTPTransport(local_address=address)


def wait_for_ready(url: str, word: str = '"ready"', seconds: float = 150) -> None:
    end, said = time.monotonic() + seconds, ""
    while word not in said:
        assert time.monotonic() < end, said
        time.sleep(0.1)
        with suppress(httpx.HTTPError):
            said = httpx.get(f"{url}/ready").text


def _free() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(root: Path, *words: str, key: str = "", site: int = 0) -> Iterator[Server]:
    """`kefu serve`, which need not be ready yet."""
    port = _free()
    with (root / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            kefu(root, "serve", "--port", str(port), *words), stdout=said, stderr=said
        )
    try:
        yield Server(f"http://127.0.0.1:{port}", root, process, site, key)
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def both(folder: Path) -> Iterator[tuple[Server, Server]]:
    """An open server that another site may call, and one with a key, narrow bounds, sampled text:
    in `free` a tiny model's facts, which the FAQ does not have, would be kept back."""
    (folder / "strict").mkdir()
    make_run(folder / "open")
    shutil.copytree(folder / "open" / "runs", folder / "strict" / "runs")
    key = subprocess.run(
        kefu(folder / "strict", "serve", "--new-key"), capture_output=True, text=True, check=True
    ).stdout.strip()
    site = _free()
    loose = ("--per-minute", "1000000", "--origin", f"http://127.0.0.1:{site}")
    strict = ("--per-minute", "60", "--waiting", "8", "--mode", "sample")
    strict += ("--origin", f"http://127.0.0.1:{site}")
    with (
        serving(folder / "open", *loose, site=site) as one,
        serving(folder / "strict", *strict, key=key, site=site) as other,
    ):
        wait_for_ready(one.url)
        wait_for_ready(other.url)
        yield one, other
