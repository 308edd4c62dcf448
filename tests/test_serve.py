"""A real server over a tiny run: OpenAI's own client works, strangers and floods are turned away,
a killed engine comes back, and a stop loses nobody's answer."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import psutil
import pytest

import export_runs
from kefu.asked import redacted
from kefu.records import Example, Origin, Pair
from kefu.workspace import dump, write_json, write_text

ASK = {"messages": [{"role": "user", "content": "運費多少？"}]}
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Server:
    url: str
    root: Path
    process: subprocess.Popen[bytes]

    @property
    def engine(self) -> int:
        """The process that holds the model: the child with most memory."""
        children = psutil.Process(self.process.pid).children()
        return max(children, key=lambda c: c.memory_info().rss).pid

    def rows(self) -> list[tuple[object, ...]]:
        base = sqlite3.connect(self.root / ".serve" / "log.sqlite")
        try:
            return base.execute("SELECT id, question, answer, failed, vote FROM asked").fetchall()
        finally:
            base.close()


def make_run(root: Path, question: str = "運費多少？", answer: str = "滿千免運費。") -> None:
    """A run that always answers, with `answer`."""
    run = export_runs.run(root / "runs" / "shop-1", export_runs.base(root / "base", "llama"))
    write_json(run.file("faq.json"), [Pair(question, answer, Origin("f.csv", 2))], list[Pair])
    row = json.dumps(dump(Example(question, answer, question)))
    write_text(run.file("examples.jsonl"), row + "\n")
    write_json(run.file("calibration.json"), {"threshold": -1.0})


def kefu(root: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "kefu", "-C", str(root), *words]


def wait_for_ready(url: str, word: str = '"ready"', seconds: float = 60) -> None:
    end, said = time.monotonic() + seconds, ""
    while word not in said:
        assert time.monotonic() < end, said
        time.sleep(0.1)
        with suppress(httpx.HTTPError):
            said = httpx.get(f"{url}/ready").text


@contextmanager
def serving(root: Path, *words: str, until: str = '"ready"') -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(kefu(root, "serve", "--port", str(port), *words))
    server = Server(f"http://127.0.0.1:{port}", root, process)
    try:
        wait_for_ready(server.url, until)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    make_run(root)
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Server]:
    with serving(root, "--per-minute", "100000") as made:
        yield made


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def ask(client: openai.OpenAI, text: str) -> openai.types.chat.ChatCompletion:
    return client.chat.completions.create(
        model="shop-1", messages=[{"role": "user", "content": text}]
    )


def test_the_official_client_reads_an_answer_and_its_cost(client: openai.OpenAI) -> None:
    assert [m.id for m in client.models.list()] == ["shop-1"]
    done = ask(client, "運費多少？")
    assert done.choices[0].message.content
    assert done.choices[0].finish_reason == "stop"
    assert done.usage and done.usage.prompt_tokens > 3 and done.usage.completion_tokens > 3


def test_a_stream_says_the_same_as_the_whole(client: openai.OpenAI) -> None:
    whole = ask(client, "運費多少？").choices[0].message.content
    chunks = list(
        client.chat.completions.create(
            model="shop-1",
            messages=[{"role": "user", "content": "運費多少？"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(pieces) == whole and len([p for p in pieces if p]) > 1
    assert chunks[-1].usage and chunks[-1].usage.total_tokens > 6


def test_a_raw_reader_sees_events_and_their_end(server: Server) -> None:
    with httpx.stream("POST", server.url + CHAT, json={**ASK, "stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = "".join(answer.iter_text()).split("\n\n")
    assert events[-1] == "" and events[-2] == "data: [DONE]"
    said = [json.loads(e.removeprefix("data: ")) for e in events[:-2]]
    assert {e["object"] for e in said} == {"chat.completion.chunk"}
    assert said[-1]["choices"][0]["finish_reason"] == "stop"
    assert "handed_over" in said[-1]["kefu"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"messages": []}', 400),
        (b'{"messages": [{"role": "assistant", "content": "x"}]}', 400),
        (b'{"messages": [{"role": "user", "content": "  "}]}', 400),
        (json.dumps({"messages": [{"role": "user", "content": "x" * 5000}]}).encode(), 400),
        (b'{"messages": [{"role": "user", "content": "' + b"x" * 70_000 + b'"}]}', 413),
    ],
)
def test_a_malformed_request_gets_an_error_in_openais_shape(
    server: Server, body: bytes, status: int
) -> None:
    answer = httpx.post(server.url + CHAT, content=body)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_half_a_character_harms_nobody(server: Server) -> None:
    body = b'{"messages": [{"role": "user", "content": "a\\ud800b"}]}'
    assert httpx.post(server.url + CHAT, content=body).status_code < 500


def test_a_body_of_unknown_length_is_cut_off_too(server: Server) -> None:
    answer = httpx.post(server.url + CHAT, content=iter([b"x" * 40_000] * 4))
    assert answer.status_code == 413


def test_no_path_leads_out_of_the_pages(server: Server) -> None:
    port = int(server.url.rsplit(":", 1)[1])
    for path in ("/../../pyproject.toml", "/%2e%2e/keys.json", "/chat.js/../../.serve/keys.json"):
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
            )
            assert b" 404 " in raw.makefile("rb").readline()


def test_other_sites_and_other_names_are_refused(server: Server) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        assert httpx.post(server.url + CHAT, json=ASK, headers=headers).status_code == 403
    assert httpx.post(server.url + CHAT, json=ASK, headers={"Origin": server.url}).is_success


def test_a_slow_client_is_let_go_while_others_are_served(server: Server) -> None:
    port = int(server.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(
            f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{{".encode()
        )
        assert httpx.post(server.url + CHAT, json=ASK).is_success
        raw.settimeout(20)
        assert b" 408 " in raw.recv(4096)


def test_votes_and_questions_are_logged_without_who_asked(
    server: Server, client: openai.OpenAI
) -> None:
    done = ask(client, "我是 0912-345-678 或 a.b@mail.example，卡號 4111 1111 1111 1111")
    vote = {"id": done.id, "vote": "down"}
    assert httpx.post(f"{server.url}/v1/feedback", json=vote).is_success
    assert httpx.post(f"{server.url}/v1/feedback", json={**vote, "id": "x"}).status_code == 404
    (row,) = [r for r in server.rows() if r[0] == done.id]
    assert row[1] == "我是 [phone] 或 [mail]，卡號 [card]"
    assert row[2] == done.choices[0].message.content and row[4] == "down"


@pytest.mark.parametrize("text", ["訂單 A12345", "2026-11-24 到貨", "滿 1000 免運", "10:30-20:00"])
def test_what_tells_nobody_is_kept(text: str) -> None:
    assert redacted(text) == text


def test_metrics_count_the_questions(server: Server, client: openai.OpenAI) -> None:
    def count() -> float:
        lines = httpx.get(f"{server.url}/metrics").text.splitlines()
        return sum(float(x.split()[-1]) for x in lines if x.startswith("kefu_questions_total"))

    before = count()
    ask(client, "運費？")
    assert count() == before + 1


def test_a_killed_engine_is_replaced_and_nobody_waits_in_vain(server: Server) -> None:
    stop = threading.Event()
    seen: list[tuple[int, dict[str, object]]] = []

    def customer() -> None:
        while not stop.is_set():
            answer = httpx.post(server.url + CHAT, json=ASK, timeout=60)
            seen.append((answer.status_code, answer.json()))

    before = len(server.rows())
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(customer)
        time.sleep(0.5)
        os.kill(server.engine, signal.SIGKILL)
        time.sleep(0.5)
        begun = time.monotonic()
        wait_for_ready(server.url)
        stop.set()
    assert time.monotonic() - begun < 30
    codes = [code for code, _ in seen]
    assert 200 in codes and set(codes) <= {200, 503}
    assert all("error" in body for code, body in seen if code == 503)
    assert httpx.post(server.url + CHAT, json=ASK).is_success
    assert len(server.rows()) == before + len(seen) + 1


def test_a_full_queue_and_an_eager_client_are_told_to_wait(root: Path) -> None:
    with (
        serving(root, "--waiting", "1", "--per-minute", "150") as server,
        ThreadPoolExecutor(24) as pool,
    ):
        done = list(pool.map(lambda _: httpx.post(server.url + CHAT, json=ASK), range(200)))
    refused = [a for a in done if a.status_code == 429]
    assert {a.status_code for a in done} == {200, 429}
    assert all(int(a.headers["retry-after"]) > 0 for a in refused)
    said = {a.json()["error"]["message"] for a in refused}
    assert said == {"Too many questions wait already.", "Too many questions in a minute."}


def test_sigterm_lets_the_running_answers_end(root: Path) -> None:
    with serving(root, "--per-minute", "10000") as server:
        with ThreadPoolExecutor(8) as pool, httpx.Client(timeout=30) as web:
            os.kill(server.engine, signal.SIGSTOP)  # answers are surely still under way
            engine = server.engine
            asked = [pool.submit(web.post, server.url + CHAT, json=ASK) for _ in range(8)]
            time.sleep(0.7)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            os.kill(engine, signal.SIGCONT)
            assert [a.result().status_code for a in asked] == [200] * 8
        server.process.wait(timeout=20)
        assert not psutil.pid_exists(engine)


def test_a_damaged_run_is_told_and_not_opened_for_ever(tmp_path: Path) -> None:
    make_run(tmp_path)
    (tmp_path / "runs" / "shop-1" / "examples.jsonl").unlink()
    with serving(tmp_path, until="damaged") as server:
        assert httpx.post(server.url + CHAT, json=ASK).status_code == 503


def test_a_key_is_needed_once_there_is_one_and_only_its_digest_is_kept(tmp_path: Path) -> None:
    make_run(tmp_path)
    away = subprocess.run(
        kefu(tmp_path, "serve", "--host", "0.0.0.0"), capture_output=True, text=True
    )
    assert away.returncode == 2 and "no API key" in away.stderr
    made = subprocess.run(kefu(tmp_path, "serve", "--new-key"), capture_output=True, text=True)
    key = made.stdout.strip()
    assert len(key) > 40 and key not in (tmp_path / ".serve" / "keys.json").read_text()
    with serving(tmp_path) as server:
        for sent in ("", "Bearer wrong", f"Bearer {key}x"):
            answer = httpx.post(server.url + CHAT, json=ASK, headers={"Authorization": sent})
            assert answer.status_code == 401
            assert answer.json()["error"]["type"] == "authentication_error"
        good = {"Authorization": f"Bearer {key}"}
        assert httpx.post(server.url + CHAT, json=ASK, headers=good).is_success
        assert httpx.get(f"{server.url}/health").is_success
