"""The server under load, by wrk from outside the process.

`python bench/load.py WORKSPACE RUN --seconds 600`: all wordings that the run was trained on are
asked over and over; what came of them (by status), the latency of an answer, the time to the first
token of streams that a probe asks meanwhile, and the memory of the server and its child after the
first minute, each minute since, and at most. Then the engine is killed under the same load: what
the askers got, how soon the server was ready again, and whether every question that was answered or
refused by 503 stands in the log.

`python bench/load.py WORKSPACE RUN --gguf FILE`: the same over llama.cpp where it writes freely,
and by turns bare llama.cpp (xllamacpp's own server on the same file, without kefu) on the same
questions with as many sequences side by side: generated tokens a second, and a second of processor
time, of both, in turns of a minute at most. Needs wrk.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from kefu.asked import PLACE
from kefu.export import opened
from kefu.serve.llama import ROOM, SLOTS
from kefu.workspace import RunFolder

CHAT = "/v1/chat/completions"
TURNS = 2
"""How often kefu and bare llama.cpp take turns; who begins changes, as the machine's other work may
grow or shrink meanwhile."""
TURN = 60
"""Seconds of a turn at most, and of the load under which the engine is killed."""
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local asked, at, threads = {%s}, 0, {}
seen, tokens, shaped = {}, 0, 0
function setup(thread) table.insert(threads, thread) end
function request() at = at %% #asked + 1; return wrk.format(nil, nil, nil, asked[at]) end
function response(status, headers, body)
  seen[status] = (seen[status] or 0) + 1
  if string.match(body, '^{"error":{"message":".-","type":".-",') then shaped = shaped + 1 end
  tokens = tokens + (tonumber(string.match(body, '"completion_tokens": ?(%%d+)')) or 0)
end
function done(all, latency)
  local lost = all.errors.connect + all.errors.read + all.errors.write + all.errors.timeout
  local codes = {}
  for code, count in pairs(threads[1]:get("seen")) do
    table.insert(codes, string.format('"%%d": %%d', code, count))
  end
  io.write(string.format('RESULT {"seconds": %%f, "tokens": %%d, "lost": %%d, "shaped": %%d, '
    .. '"p50": %%f, "p95": %%f, "p99": %%f, "codes": {%%s}}\\n', all.duration / 1e6,
    threads[1]:get("tokens"), lost, threads[1]:get("shaped"), latency:percentile(50) / 1e6,
    latency:percentile(95) / 1e6, latency:percentile(99) / 1e6, table.concat(codes, ", ")))
end
"""


def wrk(url: str, script: str, connections: int, seconds: float) -> dict[str, Any]:
    """What wrk tells of `seconds` of questions over `connections`."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "90s"]
    out = subprocess.run([*words, "-s", script, url + CHAT], capture_output=True, text=True)
    found = re.search(r"^RESULT (.*)$", out.stdout, re.MULTILINE)
    if not found:
        sys.exit(out.stdout + out.stderr)
    told: dict[str, Any] = json.loads(found[1])
    return told


@contextmanager
def kefu(workspace: Path, run: str, *words: str) -> Iterator[tuple[str, int]]:
    """`kefu serve` when it is ready: its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "kefu", "-C", str(workspace), "serve", run, *words]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--per-minute", "10000000"], stdout=subprocess.DEVNULL
    )
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + 300
    try:
        while True:
            try:
                if httpx.get(f"{url}/ready").is_success:
                    break
            except httpx.HTTPError:
                pass
            if time.monotonic() > end or server.poll() is not None:
                sys.exit("the server did not become ready")
            time.sleep(0.5)
        yield url, server.pid
    finally:
        server.terminate()
        server.wait()


class Watch:
    """Memory (bytes, all processes of the server) and first tokens (seconds), about each second."""

    def __init__(self, url: str, pid: int, bodies: list[dict[str, Any]]) -> None:
        self.memory: list[tuple[float, int]] = []
        self.first: list[float] = []
        self._stop, self._begun = threading.Event(), time.monotonic()
        self._threads = [
            threading.Thread(target=self._weigh, args=(pid,)),
            threading.Thread(target=self._probe, args=(url, bodies)),
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _weigh(self, pid: int) -> None:
        while not self._stop.wait(1):
            top = psutil.Process(pid)
            held = sum(p.memory_info().rss for p in (top, *top.children(recursive=True)))
            self.memory.append((time.monotonic() - self._begun, held))

    def _probe(self, url: str, bodies: list[dict[str, Any]]) -> None:
        number = 0
        while not self._stop.wait(1):
            number += 1
            body, begun = {**bodies[number % len(bodies)], "stream": True}, time.perf_counter()
            with httpx.stream("POST", url + CHAT, json=body, timeout=90) as answer:
                for line in answer.iter_lines():
                    if '"content": "' in line and '"content": ""' not in line:
                        self.first.append(time.perf_counter() - begun)
                        break

    def tell(self) -> None:
        cuts = statistics.quantiles(self.first, n=20) if len(self.first) > 1 else [0.0] * 19
        print(
            f"first token of {len(self.first)} streams: p50 {cuts[9]:.3f} s, p95 {cuts[18]:.3f} s"
        )
        late = [held for at, held in self.memory if at >= 60]
        if not late:
            print("memory: not judged, the load ended within the first minute")
            return
        minutes = [f"{held / 2**20:.0f}" for held in late[::60]]
        print(f"memory in MiB after the first minute and each minute since: {' '.join(minutes)}")
        growth, last = max(late) / late[0] - 1, late[-1] / late[0] - 1
        print(f"memory since the first minute: {growth:+.1%} at most, {last:+.1%} at the end")


def tell(who: str, told: dict[str, Any]) -> None:
    answered, seconds = told["codes"].get("200", 0), told["seconds"]
    print(
        f"{who}: {answered} answers in {seconds:.0f} s, {answered / seconds:.2f}/s, "
        f"{told['tokens'] / seconds:.1f} tokens/s; by status {told['codes']}, "
        f"without an answer {told['lost']}; p50 {told['p50']:.2f} s, p95 {told['p95']:.2f} s, "
        f"p99 {told['p99']:.2f} s"
    )


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("workspace", type=Path)
    asked.add_argument("run")
    asked.add_argument("--gguf", type=Path)
    asked.add_argument("--seconds", type=int, default=60)
    asked.add_argument("--connections", type=int, default=32)
    given = asked.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not here: apt-get install wrk")
    rows = RunFolder(given.workspace / "runs" / given.run).examples()
    questions = dict.fromkeys(row.question for row in rows if not row.history)
    bodies = [{"messages": [{"role": "user", "content": asked}]} for asked in questions]
    words = ["--gguf", str(given.gguf.resolve()), "--mode", "free"] if given.gguf else []
    # As the engine of `free` asks it: greedy, at most 256 tokens.
    for body in bodies if given.gguf else []:
        body |= {"temperature": 0, "max_tokens": 256}
    print(f"{len(os.sched_getaffinity(0))} cores, load average {os.getloadavg()[0]:.1f} before")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % ", ".join(f"[=[{json.dumps(b)}]=]" for b in bodies))
        script.flush()
        with kefu(given.workspace, given.run, *words) as (url, pid):
            if given.gguf:
                by_turns(given, url, pid, script.name)
            watch = Watch(url, pid, bodies)
            tell("kefu", wrk(url, script.name, given.connections, given.seconds))
            watch.end()
            watch.tell()
            killed(given, url, pid, script.name)
            lines = httpx.get(f"{url}/metrics").text.splitlines()
            kept = [x for x in lines if re.match(r"kefu_(questions_total|engine_restarts)", x)]
            print(*kept, sep="\n")


def killed(given: argparse.Namespace, url: str, pid: int, script: str) -> None:
    """The process that holds the model is killed under load."""
    quiet(url)
    before, again = rows(given.workspace), [0.0]

    def kill() -> None:
        time.sleep(TURN / 4)
        largest = max(
            psutil.Process(pid).children(recursive=True), key=lambda p: p.memory_info().rss
        )
        largest.kill()
        begun = time.monotonic()
        for ready in (False, True):
            while httpx.get(f"{url}/ready").is_success is not ready:
                time.sleep(0.02)
        again[0] = time.monotonic() - begun

    thread = threading.Thread(target=kill)
    thread.start()
    told = wrk(url, script, given.connections, TURN)
    thread.join()
    quiet(url)
    tell("kefu, its engine killed", told)
    kept = rows(given.workspace) - before
    due = sum(n for code, n in told["codes"].items() if code in ("200", "503"))
    print(
        f"ready again {again[0]:.1f} s after the kill; {told['shaped']} errors in OpenAI's shape; "
        f"{kept} rows in the log for {due} answers and 503 (more: asked, and cut off by wrk's end)"
    )


def rows(workspace: Path) -> int:
    with closing(sqlite3.connect(workspace / PLACE)) as base:
        return int(base.execute("SELECT count(*) FROM asked").fetchone()[0])


def quiet(url: str) -> None:
    """Until kefu has answered also those questions whose askers have left with wrk."""
    before = None
    while True:
        now = re.findall(
            r"^kefu_(?:questions_total|waiting).*", httpx.get(f"{url}/metrics").text, re.M
        )
        if now == before and "kefu_waiting 0.0" in now:
            return
        before = now
        time.sleep(15)


def by_turns(given: argparse.Namespace, url: str, pid: int, script: str) -> None:
    """kefu and bare llama.cpp, the other one idle meanwhile."""
    rates: dict[str, dict[str, list[float]]] = {
        of: {"bare llama.cpp": [], "kefu": []} for of in ("second", "processor second")
    }
    with opened(given.gguf, slots=SLOTS, context=SLOTS * ROOM) as llama:
        bare = next(p for p in psutil.Process().children() if "xllamacpp" in " ".join(p.cmdline()))
        both = [("bare llama.cpp", llama.address, bare), ("kefu", url, psutil.Process(pid))]
        for turn in range(TURNS):
            for who, at, top in both[:: -1 if turn % 2 else 1]:
                before = spent(top)
                told = wrk(at, script, given.connections, min(TURN, given.seconds))
                used = spent(top) - before
                quiet(url)
                tell(who, told)
                rates["second"][who].append(told["tokens"] / told["seconds"])
                rates["processor second"][who].append(told["tokens"] / used)
    for of, found in rates.items():
        pairs = zip(found["bare llama.cpp"], found["kefu"], strict=True)
        ratios = [k / max(b, 1e-9) for b, k in pairs]
        told = ", ".join(f"{r:.3f}" for r in ratios)
        print(f"tokens a {of}, kefu / bare: {told}; median {statistics.median(ratios):.3f}")


def spent(top: psutil.Process) -> float:
    """Processor seconds of a process and all that it has started: other work does not change it."""
    times = [p.cpu_times() for p in (top, *top.children(recursive=True))]
    return sum(t.user + t.system for t in times)


if __name__ == "__main__":
    main()
