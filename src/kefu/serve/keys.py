"""API keys, of which only the digest is stored, and how often a client may ask.

A key is 256 random bits, so a plain SHA-256 keeps it: there is nothing to guess as in a password.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import deque
from pathlib import Path

from ..workspace import now, read_json, write_json


class Keys:
    """The keys of one workspace, in a JSON file of digests."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._digests = list(read_json(file, dict[str, str])) if file.is_file() else []

    def __bool__(self) -> bool:
        return bool(self._digests)

    def new(self) -> str:
        """A fresh key, shown this once. Raises RunError when the file cannot be written."""
        key = "kefu-" + secrets.token_urlsafe(32)
        found = read_json(self.file, dict[str, str]) if self.file.is_file() else {}
        write_json(self.file, {**found, _digest(key): now()})
        self._digests.append(_digest(key))
        return key

    def holds(self, key: str) -> bool:
        digest = _digest(key)
        return any(hmac.compare_digest(digest, known) for known in self._digests)


class Rate:
    """At most `most` requests a minute for each client."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._seen: dict[str, deque[float]] = {}

    def wait(self, client: str) -> float:
        """Seconds until `client` may ask again: 0 when it may now, and this one is counted."""
        at = time.monotonic()
        if len(self._seen) > 10_000:  # clients that have long gone
            self._seen = {c: d for c, d in self._seen.items() if d and d[-1] > at - 60}
        seen = self._seen.setdefault(client, deque())
        while seen and seen[0] <= at - 60:
            seen.popleft()
        if len(seen) >= self.most:
            return seen[0] + 60 - at
        seen.append(at)
        return 0.0


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
