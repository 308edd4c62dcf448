"""llama.cpp with a run's GGUF export where it writes freely (`free`, `sample`), for many at once.

The server's own process asks it: no torch, no model in memory twice. What is asked becomes token
ids by llama.cpp itself, through the same `Prompt` as everywhere, so that a customer's control
tokens are struck out and a conversation that is too long loses its oldest turns. `verbatim` and
`locked` over a GGUF file are the bot's own, see engine.py.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

from ..errors import KefuError, RunError
from ..export import Llama, check_name, opened
from ..prompt import Prompt
from ..records import Plan, Reply, Turn
from ..score import FactFilter, Marker, pieces
from ..workspace import RunFolder
from .child import Held, Told
from .engine import MOST, Busy, Down, Waiting

SLOTS, ROOM = 8, 2048
"""Sequences that llama.cpp generates side by side, and tokens that each may have."""
AHEAD = 4
"""Questions beyond these that lie ready in llama.cpp's own queue: a sequence that ends is followed
by the next one at once, not after kefu has heard of it and asked for tokens."""


class LlamaEngine:
    """Answers questions by a GGUF file. `start` it once; `close` ends llama.cpp.

    Raises RunError for a run of an open book: llama.cpp alone looks nothing up.
    """

    def __init__(self, run: Path, gguf: Path, *, sample: bool = False, waiting: int = 64) -> None:
        self.run, self.gguf, self.sample = run, gguf, sample
        self.ready, self.restarts, self.fault = False, 0, ""
        self.names, self.held = (run.name,), Held((run.name,))
        self._plan: Plan = RunFolder(run).plan()
        if self._plan.book.value == "open":
            raise RunError(
                f"The run {run.name} looks its answers up in the FAQ (open book), which llama.cpp "
                "alone cannot.",
                "Serve it with --mode verbatim or locked, or without --gguf.",
            )
        self._filter: FactFilter | None = None
        self._queue: queue.Queue[Waiting] = queue.Queue(waiting)
        self._closing, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="kefu-llama", daemon=True)

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def ask(
        self,
        question: str,
        history: tuple[Turn, ...] = (),
        *,
        most: int = MOST,
        temperature: float | None = None,
        on_piece: Callable[[str], None] | None = None,
        model: str = "",
    ) -> Future[Told]:
        """As `Engine.ask`; there is one model."""
        if self._closing.is_set():
            raise Down
        told: Future[Told] = Future()
        asked = Waiting(question, history, min(most, MOST), temperature, on_piece, told)
        try:
            self._queue.put_nowait(asked)
        except queue.Full:
            raise Busy from None
        return told

    # --- the threads -----------------------------------------------------------------

    def _keep(self) -> None:
        added: dict[int, _Token] | None = None
        while not self._closing.is_set():
            try:
                if added is None:  # once: it takes seconds, in which nobody is answered
                    check_name(self.gguf, self.run.resolve().name)
                    added = _added(RunFolder(self.run).adapter / "tokenizer.json")
                    if not self.sample:
                        faq = RunFolder(self.run).faq()
                        self._filter = FactFilter(Marker(faq), self._plan.hand_over.value)
                with opened(self.gguf, slots=SLOTS, context=SLOTS * ROOM) as llama:
                    self._serve(llama, added)
            except KefuError as error:  # llama.cpp refuses the file, and would the next time too
                self.fault = str(error)
                logging.getLogger("kefu").error(self.fault)
                self._closing.set()
            except OSError:  # it ended while it was opened
                self._closing.wait(1)
            if not self._closing.is_set():
                self.restarts += 1
        while not self._queue.empty():
            waiting = self._queue.get_nowait()
            if waiting.told.set_running_or_notify_cancel():
                waiting.told.set_exception(Down())

    def _serve(self, llama: Llama, added: dict[int, _Token]) -> None:
        """Until llama.cpp ends or the server does; whoever waits meanwhile is kept waiting."""
        prompt = Prompt.of_plan(_Words(llama, added), self._plan)
        room = llama.context() - MOST
        prompt.ids("…")
        self._ended.clear()
        workers = [
            threading.Thread(target=self._work, args=(llama, prompt, room), daemon=True)
            for _ in range(SLOTS + AHEAD)
        ]
        for worker in workers:
            worker.start()
        self.ready = True
        while not (self._closing.is_set() or self._ended.wait(0.1) or llama.ended(0)):
            pass
        self.ready = False
        self._ended.set()
        for worker in workers:
            worker.join(timeout=30)

    def _work(self, llama: Llama, prompt: Prompt, room: int) -> None:
        # llama.cpp ends connections that wait; the next question must not meet such an end.
        alone = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=llama.address, timeout=120, limits=alone) as web:
            while not (self._closing.is_set() or self._ended.is_set()):
                try:
                    waiting = self._queue.get(timeout=0.1)
                except queue.Empty:
                    continue
                if not waiting.told.set_running_or_notify_cancel():
                    continue
                try:
                    waiting.told.set_result(self._answer(web, prompt, room, waiting))
                except (httpx.HTTPError, OSError, ValueError, KeyError) as error:
                    logging.getLogger("kefu").warning("llama.cpp: %r", error)
                    waiting.told.set_exception(Down())
                    if llama.ended(0.5):  # whoever waits is to be asked of the next one
                        self._ended.set()

    def _answer(self, web: httpx.Client, prompt: Prompt, room: int, asked: Waiting) -> Told:
        ids, _ = prompt.fit(asked.question, asked.history, room)
        if len(ids) > room:
            ids = prompt.shortened(asked.question, room)
        body: dict[str, Any] = {
            "prompt": ids,
            "n_predict": asked.most,
            "stream": asked.on_piece is not None,
            "cache_prompt": True,
            "temperature": 0,
        }
        if self.sample:  # as the bot itself draws, see bot/generate.py
            heat = 0.7 if asked.temperature is None else asked.temperature
            body |= {"temperature": heat, "top_p": 0.9, "top_k": 0, "min_p": 0}
        if asked.on_piece is None:  # a token at a time would only take the processor from others
            last = web.post("/completion", json=body).raise_for_status().json()
            text = last["content"]
            text = self._filter.whole(text) if self._filter else text
        else:
            text, last = _streamed(web, body, self._filter, asked.on_piece)
        stopped = last.get("stop_type") != "limit"
        text = text.strip()
        reply = Reply(text, handed_over=text.endswith(prompt.hand_over), stopped=stopped)
        return Told(reply, len(ids), int(last["tokens_predicted"]))


def _streamed(
    web: httpx.Client,
    body: dict[str, Any],
    through: FactFilter | None,
    on_piece: Callable[[str], None],
) -> tuple[str, dict[str, Any]]:
    """What was shown of the text, told in pieces on the way, and llama.cpp's last words."""
    shown, last = "", {}

    def grown(lines: Iterator[str]) -> Iterator[str]:
        nonlocal last
        text = ""
        for line in lines:
            if line.startswith("data: {"):
                last = json.loads(line[6:])
                text = (text + last["content"]).lstrip()
                yield text

    with web.stream("POST", "/completion", json=body) as streamed:
        streamed.raise_for_status()
        for piece in pieces(grown(streamed.iter_lines()), through):
            shown += piece
            if piece:
                on_piece(piece)
    return shown, last


class _Words:
    """llama.cpp's tokenizer and template, as `Prompt` asks for them.

    The file holds the template with the persona baked in, so what `Prompt` would set is not used.
    """

    def __init__(self, llama: Llama, added: dict[int, _Token]) -> None:
        self._llama, self.added_tokens_decoder = llama, added
        self.chat_template = "in the GGUF file"

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return self._llama.rendered(messages)

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": self._llama.tokens(text)}


class _Token(SimpleNamespace):
    """A token that was added to the vocabulary."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(content=str(told["content"]), special=bool(told["special"]))

    def __str__(self) -> str:
        return str(self.content)


def _added(file: Path) -> dict[int, _Token]:
    """The tokens that a tokenizer's file adds to its vocabulary, by id."""
    added = json.loads(file.read_text(encoding="utf-8"))["added_tokens"]
    return {one["id"]: _Token(one) for one in added}
