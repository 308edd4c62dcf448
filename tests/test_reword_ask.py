"""Promises of kefu.reword: wordings from a model, over a real HTTP server on this machine."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from kefu.errors import KefuError
from kefu.records import Faq, Origin, Pair
from kefu.reword import endpoint, reword

FAQ = Faq(
    (
        Pair("105年的門票多少錢？", "成人 300 元。", Origin("faq.csv", 2)),
        Pair("可以帶寵物入場嗎？", "不可以。", Origin("faq.csv", 3)),
    ),
    (),
)


class Server:
    """Answers each request with the next (status, text) of `plan`, the last for ever."""

    def __init__(self) -> None:
        self.plan: list[tuple[int, str]] = [(200, "[]")]
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                outer.seen.append(json.loads(self.rfile.read(size)))
                outer.headers.append(dict(self.headers))
                outer.paths.append(self.path)
                status, text = outer.plan.pop(0) if len(outer.plan) > 1 else outer.plan[0]
                body = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
                if text == "garbage":
                    body = b"<html>"
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


GOOD = (
    '```json\n["105年進去一次要花多少", "門票多少", "105年門票200元嗎", "105年的門票多少錢"]\n```'
)


def test_a_models_wordings_come_first_and_are_checked(server: Server) -> None:
    server.plan = [(200, GOOD), (200, "1. 我家狗可以跟我進去入場嗎\n2. 帶寵物進場行不行\n")]
    made = reword(FAQ, per_pair=3, ask=endpoint(server.url, "tiny"))
    asked = [(r.pair_question, r.wording) for r in made if r.rules == ("asked",)]
    assert ("105年的門票多少錢？", "105年進去一次要花多少") in asked
    assert ("可以帶寵物入場嗎？", "帶寵物進場行不行") in asked
    said = {r.wording for r in made}
    assert "門票多少" not in said  # the year is lost
    assert "105年門票200元嗎" not in said  # brings a number of its own
    assert "105年的門票多少錢" not in said  # is the question itself
    assert len(made) == 6  # the rules fill up the rest


def test_what_is_asked_names_the_question_the_model_and_no_more_rows(server: Server) -> None:
    reword(FAQ, per_pair=2, ask=endpoint(server.url, "tiny"))
    assert [r["model"] for r in server.seen] == ["tiny", "tiny"]
    first = server.seen[0]["messages"][-1]["content"]
    assert "105年的門票多少錢？" in first
    assert "寵物" not in first
    assert server.paths[0] == "/v1/chat/completions"


def test_a_wording_of_another_row_is_refused(server: Server) -> None:
    server.plan = [(200, '["105年可以帶寵物入場嗎"]')]
    made = reword(FAQ, per_pair=2, ask=endpoint(server.url, "tiny"))
    assert not [r for r in made if r.rules == ("asked",) and "門票" in r.pair_question]


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.plan = [(429, ""), (503, ""), (200, "好")]
    assert endpoint(server.url, "tiny", wait=0.01)("hi") == "好"
    assert len(server.seen) == 3


def test_a_server_that_stays_busy_is_given_up(server: Server) -> None:
    server.plan = [(429, "")]
    with pytest.raises(KefuError, match=r"answered 429.*4 times"):
        endpoint(server.url, "tiny", wait=0.01)("hi")
    assert len(server.seen) == 4


def test_a_refused_key_and_a_wrong_address_are_not_asked_again(server: Server) -> None:
    for status, fix in ((401, "Check the key"), (404, "model called 'tiny'")):
        server.plan, server.seen = [(status, "")], []
        with pytest.raises(KefuError, match=fix):
            endpoint(server.url, "tiny", wait=0.01)("hi")
        assert len(server.seen) == 1


def test_an_unreachable_server_is_named(server: Server) -> None:
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(KefuError, match="cannot be reached") as caught:
        endpoint(server.url, "tiny", wait=0.01, timeout=1)("hi")
    assert "rules alone" in caught.value.fix


def test_an_answer_that_is_no_completion_is_named(server: Server) -> None:
    server.plan = [(200, "garbage")]
    with pytest.raises(KefuError, match="no chat completion"):
        endpoint(server.url, "tiny")("hi")


def test_the_key_is_sent_and_never_said(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret")
    ask = endpoint(server.url, "tiny", "MY_KEY", wait=0.01)
    ask("hi")
    assert server.headers[0]["Authorization"] == "Bearer s3cret"
    server.plan = [(401, "")]
    with pytest.raises(KefuError) as caught:
        ask("hi")
    assert "s3cret" not in str(caught.value) + repr(ask) + "".join(capfd.readouterr())
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(KefuError, match="MY_KEY"):
        endpoint(server.url, "tiny", "MY_KEY")


def test_an_address_without_http_is_refused() -> None:
    with pytest.raises(KefuError, match="not a web address"):
        endpoint("localhost:8000", "tiny")
