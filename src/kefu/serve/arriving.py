"""Arriving: uvicorn's HTTP, with a bound for the time in which a request's headers must be there.

The guard sees a request when its headers have come; who never ends them would hold a connection
for ever, and the server has so many and no more.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS = 10.0
"""For the first line and the headers, from the connection, or from their first byte on one that is
used again."""


class Arriving(H11Protocol):
    """A connection that is let go when a request does not come to the end of its headers."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unexpect()
        super().connection_lost(exc)

    def _expect(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._unexpect()
        elif self._late is None:
            self._late = self.loop.call_later(SECONDS, self.transport.close)

    def _unexpect(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
