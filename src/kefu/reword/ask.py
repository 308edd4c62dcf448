"""Asks a language model for wordings, over any endpoint that speaks OpenAI's chat protocol.

Knows nothing of the FAQ beyond the one row that it asks about, and trusts no answer: what
comes back is checked like every other wording (see `checks`).
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from ..errors import KefuError
from ..records import Pair

TIMEOUT = 60.0
"""Seconds that one request may take."""
TRIES = 4
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)
_LEAD = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.)、:：])\s*")
_LONGEST = 120
"""Characters. A longer line is an explanation, not a question."""


def prompt(pair: Pair, count: int) -> str:
    """What is asked of the model for one row. The answer is given so that the model knows what
    the question means, and is told not to use it."""
    have = "\n".join(f"- {text}" for text in pair.phrasings)
    return (
        f"下面是客服常見問題的一題。請寫出 {count} 種真實顧客會用的問法，問的必須是同一件事。\n"
        "要求：口語自然、彼此差異大（有的直接問、有的描述自己的情況、有的只打關鍵字）；"
        "保留問題裡的數字、日期、地名、品名；不要加進新的事實，不要洩漏答案；"
        "語言與原題相同（Use the language of the question）。\n"
        f"已有的問法：\n{have}\n\n答案（只供理解，不可寫進問法）：\n{pair.answer}\n\n"
        '只輸出一個 JSON 字串陣列，例如 ["…", "…"]，不要其他文字。'
    )


def asked(ask: Callable[[str], str], pair: Pair, count: int) -> list[str]:
    """The wordings that a model offers for one row, unchecked, without repetition."""
    return parse(ask(prompt(pair, count)))


def parse(reply: str) -> list[str]:
    """Wordings from a JSON list anywhere in the reply, else from its lines."""
    text = re.sub(r"<think>.*?</think>", "", reply, flags=re.S)
    start, end = text.find("["), text.rfind("]")
    items: list[Any] | None = None
    if 0 <= start < end:
        try:
            items = json.loads(text[start : end + 1])
        except ValueError:
            items = None
    if items is None:
        items = [
            _LEAD.sub("", line).strip().strip("\"',，“”")
            for line in text.splitlines()
            if line.strip() and not line.strip().startswith(("```", "[", "]", "{"))
        ]
    found = [
        " ".join(item.split()) for item in items if isinstance(item, str) and len(item) <= _LONGEST
    ]
    return list(dict.fromkeys(item for item in found if item and not item.endswith((":", "："))))


def endpoint(
    url: str,
    model: str,
    key_env: str = "",
    *,
    timeout: float = TIMEOUT,
    wait: float = 1.0,
) -> Callable[[str], str]:
    """A callable that sends a prompt to an OpenAI-compatible chat endpoint.

    `url` is the base (`http://localhost:8000/v1`) or the full address of
    `/chat/completions`. The key is read from the environment variable `key_env` (none sent
    where that is empty) and stands in no message. Busy or failing servers (429, 5xx) are
    asked again, up to four times in all, after `wait`, 2 × `wait`, 4 × `wait` seconds or what
    the server's Retry-After says (60 s at most).

    Raises KefuError, at once for a missing key or a bad address, when asked for the rest.
    """
    if not url.startswith(("http://", "https://")):
        raise KefuError(
            f"The address {url!r} of the model is not a web address.",
            "Write it with http:// or https://, for example http://localhost:8000/v1.",
        )
    secret = os.environ.get(key_env, "") if key_env else ""
    if key_env and not secret:
        raise KefuError(
            f"The environment variable {key_env} that should hold the key is not set.",
            f"Set {key_env}, or name no variable for an endpoint that needs no key.",
        )
    base = url.rstrip("/")
    address = base if base.endswith("/chat/completions") else f"{base}/chat/completions"

    def ask(question: str) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": question}]}
        headers = {"Content-Type": "application/json"}
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        request = urllib.request.Request(
            address, json.dumps({**body, "temperature": 0.9}).encode(), headers
        )
        return _content(_send(request, address, model, timeout, wait), address)

    return ask


def _send(
    request: urllib.request.Request, address: str, model: str, timeout: float, wait: float
) -> bytes:
    trouble = ""
    for turn in range(TRIES):
        pause = wait * 2**turn
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            trouble = f"answered {error.code} {error.reason}"
            if error.code in (401, 403):
                raise KefuError(
                    f"The endpoint {address} {trouble}.", "Check the key and what it may use."
                ) from None
            if error.code not in _AGAIN:
                raise KefuError(
                    f"The endpoint {address} {trouble}.",
                    f"Check the address and whether it serves a model called {model!r}.",
                ) from None
            after = error.headers.get("Retry-After", "") if error.headers else ""
            pause = min(60.0, float(after)) if after.isdigit() else pause
        except (OSError, ValueError) as error:  # URLError and timeouts are OSErrors
            reason = getattr(error, "reason", error)
            trouble = f"cannot be reached ({reason})"
        if turn < TRIES - 1:
            time.sleep(pause)
    raise KefuError(
        f"The endpoint {address} {trouble}, {TRIES} times in a row.",
        "Start the server or check the address; without an endpoint the rules alone work.",
    )


def _content(raw: bytes, address: str) -> str:
    try:
        content = json.loads(raw)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        content = None
    if not isinstance(content, str):
        raise KefuError(
            f"The endpoint {address} answered with something that is no chat completion.",
            "Give the address of an OpenAI-compatible /v1 endpoint.",
        )
    return content
