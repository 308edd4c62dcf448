"""app(engine, log, limits, keys): the web application over one engine.

In `sample` a stream sends pieces as they come, in `free` checked clauses. In `verbatim` and
`locked` it sends an answer that was made and checked: nothing may be shown that can still be taken
back.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response, StreamingResponse

from ..asked import Log
from .child import Told
from .engine import MOST, Busy, Down, Engine
from .guard import Guard
from .keys import Keys, Rate
from .llama import LlamaEngine
from .pace import Pace
from .protocol import ChatRequest, Error, Vote, about, error, head_of, reason, usage_of

PAGES = {
    "": ("chat.html", "text/html"),
    "chat.css": ("chat.css", "text/css"),
    "chat.js": ("chat.js", "text/javascript"),
    "widget.js": ("widget.js", "text/javascript"),
}
HOLD = 1.0
"""Seconds after which one is refused for whom there is no time: who asks again at once must not
take the processor from those who are answered."""
_PIECE = re.compile(r"[\x20-\x7e]+\s*|.{1,4}", re.S)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may cost."""

    size: int = 64_000
    """Bytes of a request."""
    arrive: float = 10.0
    """Seconds in which a request must have arrived."""
    answer: float = 60.0
    """Seconds that an answer may take, the wait for its turn included. Its turn must come in the
    first half of them: what is left is for the answer itself, when the machine slows down too."""
    minute: int = 60
    """Questions a minute of one client."""
    origins: tuple[str, ...] = ()
    """Other web sites that may call, such as https://shop.example."""
    local: bool = True
    """Listens on this machine only."""


class _Counts:
    """What /metrics shows."""

    def __init__(self, engine: Engine | LlamaEngine) -> None:
        self.all = CollectorRegistry()
        self.asked = Counter(
            "kefu_questions", "Questions by what came of them", ["outcome"], registry=self.all
        )
        self.seconds = Histogram(
            "kefu_answer_seconds", "From question to answer", registry=self.all
        )
        for name, what, of in (
            ("kefu_waiting", "Questions in the queue", lambda: engine.waiting),
            ("kefu_ready", "1 when the engine answers", lambda: float(engine.ready)),
            ("kefu_engine_restarts", "Engines that were replaced", lambda: engine.restarts),
            ("kefu_models_held", "Models in memory", lambda: len(engine.held.names)),
            ("kefu_models_bytes", "What they hold beside the base", lambda: engine.held.bytes),
            ("kefu_model_loads", "How often a model was loaded", lambda: engine.held.loads),
        ):
            Gauge(name, what, registry=self.all).set_function(of)


def app(engine: Engine | LlamaEngine, log: Log, limits: Limits, keys: Keys) -> FastAPI:
    """The application. Starts `engine` with it, and closes engine and log at its end.

    A key is asked for when `keys` holds one.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        await run_in_threadpool(engine.close)
        log.close()

    refusals: dict[int | str, dict[str, Any]] = {
        code: {"model": Error} for code in (400, 401, 403, 404, 408, 413, 429, 500, 503, 504)
    }
    made = FastAPI(title="kefu", lifespan=life, responses=refusals, docs_url=None, redoc_url=None)
    counts, rate = _Counts(engine), Rate(limits.minute)
    pace = Pace(lambda: engine.ready)
    under_way: set[asyncio.Task[Told]] = set()  # which else nobody might hold on to

    def known(request: Request) -> None:
        key = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        client = request.client.host if request.client else ""
        if keys and not keys.holds(key):
            wait = wrong.wait(client)
            if wait:
                raise _later(wait, "Too many wrong keys.")
            raise HTTPException(401, "The API key is missing or wrong.")

    def paced(request: Request) -> None:
        wait = rate.wait(request.client.host if request.client else "")
        if wait:
            raise _later(wait, "Too many questions in a minute.")

    wrong = Rate(30)

    @made.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @made.get("/ready")
    async def ready() -> dict[str, str]:
        if not engine.ready:
            raise HTTPException(503, engine.fault or "The model is being loaded.")
        return {"status": "ready"}

    @made.get("/metrics", dependencies=[Depends(known)])
    async def metrics() -> Response:
        return Response(generate_latest(counts.all), media_type="text/plain; version=0.0.4")

    @made.get("/v1/models", dependencies=[Depends(known)])
    async def models() -> dict[str, Any]:
        about = {"object": "model", "created": 0, "owned_by": "kefu"}
        return {"object": "list", "data": [{"id": name, **about} for name in engine.names]}

    @made.post("/v1/chat/completions", dependencies=[Depends(known), Depends(paced)])
    async def chat(asked: ChatRequest, request: Request) -> Any:
        number = f"chatcmpl-{uuid.uuid4().hex}"
        name = _named(engine.names, asked.model)
        try:
            question, history = asked.asked()
        except ValueError as fault:
            raise HTTPException(400, str(fault)) from None
        begun = time.perf_counter()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def put(piece: str) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        most = asked.max_completion_tokens or asked.max_tokens or MOST
        over = pace.wait(name) - limits.answer / 2
        try:
            if over > 0:
                raise Busy
            future = engine.ask(
                question,
                history,
                most=most,
                temperature=asked.temperature,
                on_piece=put if asked.stream else None,
                model=name,
            )
        except Busy:
            counts.asked.labels("busy").inc()
            await asyncio.sleep(HOLD)
            raise _later(max(over, 1.0), "Too many questions wait already.") from None
        except Down:
            future = Future()
            future.set_exception(Down())
        pace.asked(name)

        async def finish() -> Told:
            """Waits for the reply and logs it, even when the one who asked has gone."""
            answered = False
            try:
                told = await _in_time(future, limits.answer, request.is_disconnected)
                answered = True
            except (Down, TimeoutError) as fault:
                unbegun = future.cancelled()  # there is more to do than can be done
                counts.asked.labels("busy" if unbegun else "failed").inc()
                await run_in_threadpool(log.add, number, question, "", model=name, failed=True)
                if unbegun:
                    raise _later(limits.answer / 2, "Too many questions wait already.") from None
                if isinstance(fault, TimeoutError):
                    raise HTTPException(504, "The answer took too long.") from None
                if engine.fault:  # nor would it be opened the next time
                    raise HTTPException(503, "The bot cannot be opened: see /ready.") from None
                why = "The engine ended; ask again."
                raise HTTPException(503, why, {"Retry-After": "3"}) from None
            finally:
                pieces.put_nowait(None)
                pace.ended(name, answered=answered)
            reply = told.reply
            counts.seconds.observe(time.perf_counter() - begun)
            counts.asked.labels("handed_over" if reply.handed_over else "answered").inc()
            await run_in_threadpool(
                log.add,
                number,
                question,
                reply.text,
                model=name,
                handed_over=reply.handed_over,
                confidence=reply.confidence,
                source=reply.source,
            )
            return told

        finished = asyncio.create_task(finish())
        under_way.add(finished)
        finished.add_done_callback(under_way.discard)
        finished.add_done_callback(asyncio.Task.exception)  # read, so that nobody complains
        if asked.stream:
            first = await pieces.get()
            if first is None:
                await asyncio.shield(finished)  # whole or refused: a refusal keeps its status
            usage = bool(asked.stream_options and asked.stream_options.include_usage)
            return StreamingResponse(
                _events(number, name, first, pieces, finished, usage),
                media_type="text/event-stream",
            )
        told = await asyncio.shield(finished)
        reply = told.reply
        message = {"role": "assistant", "content": reply.text}
        choice = {"index": 0, "message": message, "finish_reason": reason(told)}
        return {
            **head_of(number, name, "chat.completion"),
            "choices": [choice],
            "usage": usage_of(told),
            "kefu": about(told),
        }

    @made.post("/v1/feedback", dependencies=[Depends(known), Depends(paced)])
    async def feedback(vote: Vote) -> dict[str, str]:
        if not await run_in_threadpool(
            log.vote, vote.id.encode("utf-8", "replace").decode(), vote.vote
        ):
            raise HTTPException(404, "Nothing was answered under this id.")
        return {"status": "thanks"}

    for path, (file, kind) in PAGES.items():
        made.get(f"/{path}", include_in_schema=False)(_page(file, kind, limits))

    made.add_exception_handler(RequestValidationError, _malformed)
    made.add_exception_handler(AnyHTTPException, _refused)
    made.add_exception_handler(Exception, _broken)
    if limits.origins:
        made.add_middleware(
            CORSMiddleware,
            allow_origins=list(limits.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    made.add_middleware(
        Guard,
        size=limits.size,
        seconds=limits.arrive,
        origins=limits.origins,
        local=limits.local,
    )
    return made


async def _in_time(
    future: Future[Told], seconds: float, gone: Callable[[], Awaitable[bool]]
) -> Told:
    """The reply. Raises TimeoutError: the future is cancelled when it was not begun in half the
    time, or its asker has `gone` before, and goes on when it was begun and the time is over."""
    reply, turn = asyncio.wrap_future(future), time.monotonic() + seconds / 2
    while not (reply.done() or future.running()) and (left := turn - time.monotonic()) > 0:
        await asyncio.wait({reply}, timeout=min(left, 1.0))
        if not future.running() and await gone():
            break  # nobody is to wait for an answer that nobody reads
    if not reply.done() and future.cancel():
        raise TimeoutError
    return await asyncio.wait_for(reply, max(0.0, turn - time.monotonic()) + seconds / 2)


class _NoModel(HTTPException):
    """OpenAI's refusal of a model that it does not have."""


def _named(names: tuple[str, ...], asked: str) -> str:
    """The model that is meant. Where there is but one, it answers to every name: clients that were
    written for another server say that one's. Raises _NoModel."""
    if asked in names:
        return asked
    if asked and len(names) > 1:
        raise _NoModel(404, f"The model `{asked}` does not exist.")
    return names[0]


def _later(wait: float, why: str) -> HTTPException:
    return HTTPException(429, why, {"Retry-After": str(int(wait) + 1)})


async def _events(
    number: str,
    name: str,
    first: str | None,
    pieces: asyncio.Queue[str | None],
    finished: asyncio.Task[Told],
    usage: bool,
) -> AsyncIterator[str]:
    head = head_of(number, name, "chat.completion.chunk")

    def event(delta: dict[str, str], end: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": end}
        data = json.dumps({**head, "choices": [choice], **more}, ensure_ascii=False)
        return f"data: {data}\n\n"

    yield event({"role": "assistant", "content": ""})
    piece = first
    while piece is not None:
        yield event({"content": piece})
        piece = await pieces.get()
    try:
        told = await asyncio.shield(finished)
    except HTTPException as fault:
        yield f"data: {json.dumps(error(str(fault.detail), 'server_error'))}\n\n"
        return
    if first is None:
        for part in _PIECE.findall(told.reply.text):
            yield event({"content": part})
    yield event({}, reason(told), kefu=about(told))
    if usage:
        data = {**head, "choices": [], "usage": usage_of(told)}
        yield f"data: {json.dumps(data)}\n\n"
    yield "data: [DONE]\n\n"


def _page(file: str, kind: str, limits: Limits) -> Any:
    text = files("kefu.serve").joinpath("data", file).read_text(encoding="utf-8")
    frames = " ".join(("'self'", *limits.origins))
    headers = {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
        f"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {frames}",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }

    async def page() -> Response:
        return Response(text, media_type=kind, headers=headers)

    return page


async def _malformed(_: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, RequestValidationError)
    first = fault.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    message = f"{where or 'The request'}: {first['msg']}"
    body = error(_whole(message), "invalid_request_error", param=_whole(where) or None)
    return JSONResponse(body, 400)


async def _refused(_: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, AnyHTTPException)
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(
        fault.status_code,
        "server_error" if fault.status_code >= 500 else "invalid_request_error",
    )
    code, param = kind if fault.status_code in (401, 429) else None, None
    if isinstance(fault, _NoModel):
        code, param = "model_not_found", "model"
    body = error(_whole(str(fault.detail)), kind, param=param, code=code)
    return JSONResponse(body, fault.status_code, dict(fault.headers or {}))


def _whole(text: str) -> str:
    """What a client said, without halves of characters, which no answer can hold."""
    return text.encode("utf-8", "replace").decode()


async def _broken(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse(error("The server made a mistake.", "server_error"), 500)
