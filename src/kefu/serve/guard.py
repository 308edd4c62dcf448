"""What stands before every request: its size, its time, where it comes from.

Plain ASGI, so that nothing is read which is not wanted. Headers that trickle in are bounded by
the number of connections only: put a proxy in front where strangers can connect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .protocol import error

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        refused = self._stranger(headers)
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
    return JSONResponse(error(message, "invalid_request_error", code=code), status)
