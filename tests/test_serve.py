"""A real server over a tiny run: OpenAI's own client works, strangers and floods are turned away,
a killed engine comes back, and a stop loses nobody's answer."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import httpx
import openai
import pytest

from kefu.asked import Log, redacted
from shop_server import ASK, CHAT, Server, elsewhere, kefu, make_run, serving, wait_for_ready


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module", autouse=True)
def slow(server: Server) -> Iterator[tuple[socket.socket, socket.socket, socket.socket]]:
    """Clients that began to send before all others, and never go on: after a part of the body, of
    the headers, and of the headers of a second request."""
    at = ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    with (
        socket.create_connection(at) as body,
        socket.create_connection(at) as head,
        socket.create_connection(at) as second,
    ):
        start = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
        body.sendall(f"{start}\r\n{{".encode())
        head.sendall(start.encode())
        second.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in second.recv(4096)
        second.sendall(start.encode())
        yield body, head, second


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


def test_what_is_not_known_is_handed_over_with_what_may_be_meant(client: openai.OpenAI) -> None:
    told = ask(client, "可以刷卡嗎？")
    about = told.model_extra["kefu"] if told.model_extra else {}
    assert about["handed_over"] and about["offered"] == ["運費多少？"]
    assert "滿千" not in str(told.choices[0].message.content)


def test_the_official_client_raises_its_own_errors(server: Server, strict: Server) -> None:
    with httpx.Client(transport=elsewhere("127.0.0.5")) as web:
        stranger = openai.OpenAI(
            base_url=f"{strict.url}/v1", api_key="wrong", max_retries=0, http_client=web
        )
        with pytest.raises(openai.AuthenticationError):
            ask(stranger, "運費多少？")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.BadRequestError, match="last message must be a question") as told:
        ask(client, " ")
    assert told.value.type == "invalid_request_error"
    eager = openai.OpenAI(
        base_url=f"{strict.url}/v1", api_key=strict.key, max_retries=0,
        http_client=httpx.Client(transport=elsewhere("127.0.0.6")),
    )  # fmt: skip
    with pytest.raises(openai.RateLimitError), eager:
        for _ in range(61):
            with suppress(openai.NotFoundError):  # nothing was answered under this id
                eager.post("/feedback", body={"id": "x", "vote": "up"}, cast_to=object)


def test_langchain_asks_and_streams(server: Server) -> None:
    chains = pytest.importorskip("langchain_openai", reason="needs langchain-openai")
    chat = chains.ChatOpenAI(base_url=f"{server.url}/v1", api_key="none", model="shop-1")
    whole = chat.invoke("運費多少？")
    assert whole.content and whole.usage_metadata["output_tokens"] > 3
    assert "".join(str(c.content) for c in chat.stream("運費多少？")) == whole.content


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
        (b'{"messages": [{"role": "user", "content": "x"}], "temperature": 3}', 400),
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


def test_a_named_site_may_call_and_no_other(server: Server) -> None:
    ours = {"Origin": f"http://127.0.0.1:{server.site}"}
    wish = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    said = httpx.options(server.url + CHAT, headers={**ours, **wish})
    assert said.is_success and said.headers["access-control-allow-origin"] == ours["Origin"]
    assert "POST" in said.headers["access-control-allow-methods"]
    said = httpx.post(server.url + CHAT, json=ASK, headers=ours)
    assert said.is_success and said.headers["access-control-allow-origin"] == ours["Origin"]
    other = {"Origin": "http://127.0.0.1:1"}
    for said in (
        httpx.options(server.url + CHAT, headers={**other, **wish}),
        httpx.post(server.url + CHAT, json=ASK, headers=other),
    ):
        assert said.status_code == 403 and "access-control-allow-origin" not in said.headers
    page = httpx.get(server.url).headers["content-security-policy"]
    assert f"frame-ancestors 'self' {ours['Origin']}" in page


def test_a_key_is_needed_once_there_is_one_and_only_its_digest_is_kept(strict: Server) -> None:
    away = subprocess.run(
        kefu(strict.root.parent, "serve", "--host", "0.0.0.0"), capture_output=True, text=True
    )
    assert away.returncode == 2 and "no API key" in away.stderr
    kept = (strict.root / ".serve" / "keys.json").read_text()
    assert len(strict.key) > 40 and strict.key not in kept
    for sent in ("", "Bearer wrong", f"Bearer {strict.key}x"):
        answer = httpx.post(strict.url + CHAT, json=ASK, headers={"Authorization": sent})
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "authentication_error"
    answer = httpx.post(strict.url + CHAT, json=ASK, headers=bearer(strict))
    assert answer.is_success
    assert httpx.get(f"{strict.url}/health").is_success


def test_whoever_tries_many_keys_must_wait(strict: Server) -> None:
    guess = {"Authorization": "Bearer guess"}
    with httpx.Client(transport=elsewhere("127.0.0.3"), headers=guess) as web:
        answers = [web.get(f"{strict.url}/v1/models") for _ in range(35)]
        answer = web.get(f"{strict.url}/v1/models", headers=bearer(strict))
    assert {a.status_code for a in answers} == {401, 429}
    assert int(answers[-1].headers["retry-after"]) > 0
    assert answer.is_success  # a right key is no guess


def bearer(strict: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {strict.key}"}


def test_text_is_shown_while_it_is_made(strict: Server) -> None:
    engine, asked = strict.engine, {**ASK, "stream": True, "temperature": 0}
    with httpx.stream(
        "POST", strict.url + CHAT, json=asked, headers=bearer(strict), timeout=30
    ) as answer:
        lines = answer.iter_lines()
        seen = [line for line, _ in zip(lines, range(5), strict=False)]
        os.kill(engine, signal.SIGSTOP)  # it is still at work: the last word is not yet said
        try:
            time.sleep(0.5)
            logged = len(strict.rows())
        finally:
            os.kill(engine, signal.SIGCONT)
        seen += list(lines)
    said = [json.loads(line[6:]) for line in seen if line.startswith("data: {")]
    pieces = [e["choices"][0]["delta"].get("content", "") for e in said]
    assert len([p for p in pieces if p]) > 5 and seen[-2] == "data: [DONE]"
    time.sleep(0.1)
    rows = strict.rows()
    assert len(rows) == logged + 1 and rows[-1][2] == "".join(pieces)


def test_text_is_as_long_as_was_asked(strict: Server) -> None:
    # A piece ends with a whole character, and this model makes many broken ones.
    for stream, most in ((False, 5), (True, 100)):
        asked = {
            **ASK,
            "max_tokens": 5,
            "stream": stream,
            "stream_options": {"include_usage": True},
        }
        text = httpx.post(strict.url + CHAT, json=asked, headers=bearer(strict), timeout=30).text
        assert '"finish_reason":"length"' in text.replace(": ", ":")
        made = re.search(r'"completion_tokens": ?(\d+)', text)
        assert made and 1 <= int(made[1]) <= most


def test_an_engine_that_dies_in_a_stream_says_so_in_it(strict: Server) -> None:
    before = len(strict.rows())
    with httpx.stream(
        "POST",
        strict.url + CHAT,
        json={**ASK, "stream": True, "temperature": 0},
        headers=bearer(strict),
        timeout=30,
    ) as answer:
        lines = answer.iter_lines()
        seen = [line for line, _ in zip(lines, range(5), strict=False)]
        os.kill(strict.engine, signal.SIGKILL)
        seen += list(lines)
    last = json.loads(next(line for line in reversed(seen) if line)[6:])
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert httpx.get(f"{strict.url}/ready").status_code == 503
    assert httpx.get(f"{strict.url}/health").is_success
    wait_for_ready(strict.url)
    assert len(strict.rows()) == before + 1  # the failed question, too


def test_nobody_waits_for_the_answers_of_those_who_have_gone(strict: Server) -> None:
    at = ("127.0.0.1", int(strict.url.rsplit(":", 1)[1]))
    os.kill(strict.engine, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool, httpx.Client(transport=elsewhere("127.0.0.7")) as web:
            ask = partial(web.post, strict.url + CHAT, headers=bearer(strict), timeout=60)
            first = pool.submit(ask, json=ASK)  # the engine has it
            time.sleep(0.5)
            for number in range(3):
                asked = json.dumps({"messages": [{"role": "user", "content": f"gone {number}"}]})
                with socket.create_connection(at, source_address=("127.0.0.7", 0)) as raw:
                    raw.sendall(
                        f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n"
                        f"Authorization: Bearer {strict.key}\r\nContent-Type: application/json\r\n"
                        f"Content-Length: {len(asked)}\r\n\r\n{asked}".encode()
                    )
                    time.sleep(0.2)
            time.sleep(2)
            os.kill(strict.engine, signal.SIGCONT)
            assert first.result().is_success
    finally:
        os.kill(strict.engine, signal.SIGCONT)
    rows = [row for row in strict.rows() if str(row[1]).startswith("gone")]
    assert [(row[2], row[3]) for row in rows] == [("", 1)] * 3


def test_a_full_queue_and_an_eager_client_are_told_to_wait(strict: Server) -> None:
    engine = strict.engine
    eager_one = elsewhere("127.0.0.4")
    with (
        ThreadPoolExecutor(24) as pool,
        httpx.Client(transport=eager_one, headers=bearer(strict), timeout=60) as web,
    ):
        os.kill(engine, signal.SIGSTOP)
        asked = [pool.submit(web.post, strict.url + CHAT, json=ASK) for _ in range(24)]
        time.sleep(1)
        os.kill(engine, signal.SIGCONT)
        done = [a.result() for a in asked]
        brief = {**ASK, "max_tokens": 1}
        eager = [web.post(strict.url + CHAT, json=brief) for _ in range(60)]
    for answers, words in (
        (done, "Too many questions wait already."),
        (eager, "Too many questions in a minute."),
    ):
        refused = [a for a in answers if a.status_code == 429]
        assert {a.status_code for a in answers} == {200, 429}
        assert all(int(a.headers["retry-after"]) > 0 for a in refused)
        assert {a.json()["error"]["message"] for a in refused} == {words}


def test_a_damaged_run_is_told_and_not_opened_for_ever(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("damaged")
    make_run(root)
    (root / "runs" / "shop-1" / "examples.jsonl").unlink()
    with serving(root) as server:
        wait_for_ready(server.url, "damaged")
        assert httpx.post(server.url + CHAT, json=ASK).status_code == 503


def test_rows_are_kept_as_long_as_was_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("log") / "log.sqlite"
    Log(file, days=30).add("young", "問", "答")
    with sqlite3.connect(file) as base:
        for number, days in (("old", 31), ("late", 29)):
            base.execute(
                "INSERT INTO asked SELECT ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now', ?), question, "
                "answer, handed_over, confidence, source, failed, vote, model FROM asked "
                "WHERE id = 'young'",
                (number, f"-{days} days"),
            )
    base.close()
    Log(file, days=30).add("new", "問", "答")
    with sqlite3.connect(file) as base:
        assert {i for (i,) in base.execute("SELECT id FROM asked")} == {"young", "late", "new"}
    base.close()


def test_slow_clients_were_let_go_while_others_were_served(
    slow: tuple[socket.socket, socket.socket, socket.socket],
) -> None:
    ends = []
    for one in slow:
        one.settimeout(20)
        ends.append(b"".join(iter(partial(one.recv, 4096), b"")))
    assert b" 408 " in ends[0]
    assert ends[1] == b"" and b"HTTP" not in ends[2]  # the end, without a word
