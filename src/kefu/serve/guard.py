"""What stands before every request: its size, its time, where it comes from.

Plain ASGI, so that nothing is read which is not wanted. Headers that trickle in never get here: see
arriving.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .protocol import error

CROWD = 384
"""Requests that are dealt with at one time; who waits for an answer is one of them. Below the
number of connections at which uvicorn refuses in words of its own."""
LOCAL = ("127.0.0.1", "localhost", "::1")


class Guard:
    """Reads the whole body, at most `size` bytes within `seconds`, before the application sees it.

    `origins` are the other web sites that may call. `local` refuses names that are not this
    machine's, which a foreign page could otherwise point here.
    """

    def __init__(
        self, app: ASGIApp, *, size: int, seconds: float, origins: Sequence[str], local: bool
    ) -> None:
        self.app, self.size, self.seconds = app, size, seconds
        self.origins, self.local = frozenset(origins), local
        self.here = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self.here += 1
        try:
            await self._request(scope, receive, send)
        finally:
            self.here -= 1

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        refused = self._stranger(headers)
        if refused is None and self.here > CROWD:
            refused = _refusal(429, "Too many requests at one time.", "rate_limit_error")
            refused.headers["retry-after"] = "1"
        body = b""
        if refused is None:
            try:
                body = await asyncio.wait_for(self._body(headers, receive), self.seconds)
            except TimeoutError:
                refused = _refusal(408, "The request took too long to arrive.", "timeout")
            except ValueError:
                refused = _refusal(413, f"A request may have {self.size} bytes.", "too_large")
        if refused is not None:
            refused.headers["connection"] = "close"
            await refused(scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)

    def _stranger(self, headers: dict[str, str]) -> JSONResponse | None:
        host = headers.get("host", "")
        if self.local and _name(host) not in LOCAL:
            return _refusal(403, "This server is for its own machine.", "host_not_allowed")
        origin = headers.get("origin")
        own = origin is not None and origin.split("://")[-1] == host
        if origin is None or own or origin in self.origins:
            return None
        return _refusal(403, "This web site may not call the server.", "origin_not_allowed")

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes:
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.size:
            raise ValueError
        body = b""
        while True:
            message: Any = await receive()
            body += bytes(message.get("body", b""))
            if len(body) > self.size:
                raise ValueError
            if message["type"] != "http.request" or not message.get("more_body"):
                return body


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _refusal(status: int, message: str, code: str) -> JSONResponse:
    kind = code if status == 429 else "invalid_request_error"
    return JSONResponse(error(message, kind, code=code), status)
