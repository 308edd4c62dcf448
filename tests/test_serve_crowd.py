"""More ask than can be answered: who would wait too long is told so at once, and nobody who was let
in is kept until the time is over."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest

from kefu.asked import Log
from kefu.records import Reply
from kefu.serve import Guard, Keys, Limits, app, door
from kefu.serve import guard as guards
from kefu.serve.child import Held, Told
from kefu.serve.engine import Busy
from kefu.serve.pace import LEAST, SEATS, Pace

CHAT = "/v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "運費多少？"}]}


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.at = 0.0
        self.ready = True

    def pace(self, model: str = "shop", count: int = SEATS) -> Pace:
        """With questions that stay open."""
        made = Pace(lambda: self.ready, lambda: self.at)
        for _ in range(count):
            made.asked(model)
        return made


def answer(clock: Clock, pace: Pace, each: float, count: int = LEAST, model: str = "shop") -> None:
    """`count` more questions, an answer each."""
    for _ in range(count):
        pace.asked(model)
        clock.at += each
        pace.ended(model, answered=True)


def test_one_who_asks_waits_as_long_as_those_before_him_take() -> None:
    clock = Clock()
    pace = clock.pace()
    assert pace.wait("shop") == 0.0  # nothing is known yet
    answer(clock, pace, 0.5)
    assert pace.wait("shop") == pytest.approx((SEATS + 1) * 0.5)
    for _ in range(8):
        pace.asked("shop")
    assert pace.wait("shop") == pytest.approx((SEATS + 9) * 0.5)


def test_a_machine_that_slows_down_is_noticed_and_one_that_recovers_too() -> None:
    clock = Clock()
    pace = clock.pace()
    answer(clock, pace, 0.1, 500)
    fast = pace.wait("shop")
    answer(clock, pace, 1.0, 200)
    slow = pace.wait("shop")
    answer(clock, pace, 0.1, 200)
    assert slow > 8 * fast and pace.wait("shop") < 2 * fast


def test_the_time_in_which_few_ask_or_the_engine_is_away_says_nothing_of_its_pace() -> None:
    clock = Clock()
    pace = clock.pace()
    answer(clock, pace, 0.5)
    known = pace.wait("shop")
    clock.ready = False
    pace.asked("shop")
    clock.at += 60
    clock.ready = True
    pace.ended("shop", answered=False)
    assert pace.wait("shop") == pytest.approx(known)
    pace.ended("shop", answered=False)
    pace.ended("shop", answered=False)
    answer(clock, pace, 60.0, 100)  # one question a minute
    assert pace.wait("shop") == 0.0
    for _ in range(2):
        pace.asked("shop")
    assert pace.wait("shop") == pytest.approx(known)


def test_a_long_line_of_one_model_does_not_turn_away_anothers_customers() -> None:
    clock = Clock()
    pace = clock.pace("busy", 59)
    answer(clock, pace, 1.0, model="busy")
    assert pace.wait("busy") == pytest.approx(60)
    assert pace.wait("quiet") == pytest.approx(2)  # they take turns


class Slow:
    """An engine that answers four questions at a time, each in a quarter of a second."""

    def __init__(self) -> None:
        self.ready, self.restarts, self.fault = True, 0, ""
        self.names, self.held = ("shop",), Held(("shop",))
        self._queue: queue.Queue[Future[Told]] = queue.Queue(1000)
        self._closed = threading.Event()
        self.asked = 0

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def start(self) -> None:
        for _ in range(4):
            threading.Thread(target=self._work, daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def ask(self, question: str, history: Any = (), **_: Any) -> Future[Told]:
        told: Future[Told] = Future()
        self.asked += 1
        try:
            self._queue.put_nowait(told)
        except queue.Full:
            raise Busy from None
        return told

    def _work(self) -> None:
        while not self._closed.is_set():
            try:
                told = self._queue.get(timeout=0.1)
            except queue.Empty:
                continue
            if told.set_running_or_notify_cancel():
                time.sleep(0.25)
                told.set_result(Told(Reply("滿千免運。"), 5, 5))


def test_an_overloaded_server_says_at_once_when_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "HOLD", 0.0)
    slow, log, keys = Slow(), Log(tmp_path / "log.sqlite"), Keys(tmp_path / "keys.json")
    made = app(slow, log, Limits(answer=4.0, minute=10_000), keys)  # type: ignore[arg-type]

    async def crowd() -> tuple[list[httpx.Response], str]:
        through = httpx.ASGITransport(made)
        async with httpx.AsyncClient(transport=through, base_url="http://localhost") as web:

            async def come(count: int) -> list[httpx.Response]:
                return await asyncio.gather(*(web.post(CHAT, json=ASK) for _ in range(count)))

            assert {said.status_code for said in await come(16)} == {200}
            return await come(60), (await web.get("/metrics")).text

    slow.start()
    try:
        said, counted = asyncio.run(crowd())
    finally:
        slow.close()
    refused = [one for one in said if one.status_code == 429]
    assert {one.status_code for one in said} == {200, 429}
    # In two seconds the engine answers 32; a slow machine lets in fewer.
    assert slow.asked - 16 <= 40 and len(refused) >= 60 - 40
    assert all(int(one.headers["retry-after"]) > 0 for one in refused)
    assert {one.json()["error"]["type"] for one in refused} == {"rate_limit_error"}
    assert f'kefu_questions_total{{outcome="busy"}} {len(refused):.1f}' in counted


def test_a_bot_that_cannot_be_opened_is_not_asked_again(tmp_path: Path) -> None:
    from kefu.serve.engine import Engine

    engine, log = Engine(tmp_path / "gone"), Log(tmp_path / "log.sqlite")
    made = app(engine, log, Limits(), Keys(tmp_path / "keys.json"))

    async def ask() -> tuple[httpx.Response, httpx.Response]:
        through = httpx.ASGITransport(made)
        async with httpx.AsyncClient(transport=through, base_url="http://localhost") as web:
            return await web.post(CHAT, json=ASK), await web.get("/ready")

    engine.start()
    try:
        until = time.monotonic() + 30
        while not engine.fault and time.monotonic() < until:
            time.sleep(0.05)
        said, ready = asyncio.run(ask())
    finally:
        engine.close()
    assert said.status_code == ready.status_code == 503
    assert "cannot be opened: see /ready" in said.text and "retry-after" not in said.headers
    assert "gone" in ready.text


def test_a_crowd_at_the_gate_is_told_to_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "CROWD", 3)
    release = asyncio.Event()

    async def busy(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def come() -> None:
        guarded = Guard(busy, size=100, seconds=5, origins=(), local=True)
        through = httpx.ASGITransport(guarded)
        async with httpx.AsyncClient(transport=through, base_url="http://localhost") as web:
            first = [asyncio.create_task(web.get("/")) for _ in range(3)]
            await asyncio.sleep(0.05)
            refused = await web.get("/")
            assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
            assert refused.json()["error"]["type"] == "rate_limit_error"
            release.set()
            assert {(await one).status_code for one in first} == {200}
            assert (await web.get("/")).is_success

    asyncio.run(come())
