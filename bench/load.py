"""The server under load, by wrk from outside the process: `python bench/load.py WORKSPACE RUN`.

Prints questions a second, the latency of a question, refusals, and the growth of memory after the
first third. A stream begins when its answer is whole, so the latency is also the time to the
first token. Compares with nothing: bare llama.cpp is not run here. Needs wrk.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local asked, at = {%s}, 0
function request() at = at %% #asked + 1; return wrk.format(nil, nil, nil, asked[at]) end
function done(all, latency)
  io.write(string.format("p50 %%.3f s, p95 %%.3f s, p99 %%.3f s\\n", latency:percentile(50) / 1e6,
    latency:percentile(95) / 1e6, latency:percentile(99) / 1e6))
end
"""


def memory(pid: int) -> int:
    top = psutil.Process(pid)
    return sum(p.memory_info().rss for p in (top, *top.children(recursive=True)))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("workspace", type=Path)
    asked.add_argument("run")
    asked.add_argument("--seconds", type=int, default=60)
    asked.add_argument("--connections", type=int, default=32)
    given = asked.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not here: apt-get install wrk")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    words = ["-C", str(given.workspace), "serve", given.run, "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, "-m", "kefu", *words, "--per-minute", "10000000"],
        stdout=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 300
        while True:
            try:
                if httpx.get(f"{url}/ready").is_success:
                    break
            except httpx.HTTPError:
                pass
            if time.monotonic() > end or server.poll() is not None:
                sys.exit("the server did not become ready")
            time.sleep(0.5)
        pairs = json.loads((given.workspace / "runs" / given.run / "faq.json").read_text())
        bodies = [{"messages": [{"role": "user", "content": p["question"]}]} for p in pairs]
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(SCRIPT % ", ".join(f"[=[{json.dumps(b)}]=]" for b in bodies))
            script.flush()
            command = ["wrk", "-t1", f"-c{given.connections}", f"-d{given.seconds}s"]
            load = subprocess.Popen(
                [*command, "--timeout", "60s", "-s", script.name, url + "/v1/chat/completions"],
                stdout=subprocess.PIPE,
                text=True,
            )
            seen = []
            while load.poll() is None:
                seen.append(memory(server.pid))
                time.sleep(1)
            print(load.stdout.read() if load.stdout else "")
        late = seen[len(seen) // 3]
        most = max(seen[len(seen) // 3 :])
        print(f"memory {late / 2**20:.0f} MiB after a third, {most / late - 1:+.1%} at most since")
        lines = httpx.get(f"{url}/metrics").text.splitlines()
        print(
            *[x for x in lines if re.match(r"kefu_(questions_total|engine_restarts)", x)], sep="\n"
        )
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
