"""llama.cpp with a run's GGUF export, behind the same calls as the engine of the run itself.

`free` streams. `verbatim` is llama.cpp's grammar, which allows the FAQ's answers and the hand-over
sentence and nothing else: the model cannot invent, but how sure it was is not known, so that the
calibrated threshold does not hold and no confidence is told. `locked` and `sample` are not here.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx

from ..errors import SettingsError
from ..export import opened
from ..records import Mode, Reply, Turn
from ..workspace import RunFolder
from .engine import MOST, Busy, Down, Told, Waiting

SLOTS = 8
"""Sequences that llama.cpp generates side by side."""


class LlamaEngine:
    """Answers questions by a GGUF file. `start` it once; `close` ends llama.cpp."""

    def __init__(
        self, run: Path, gguf: Path, *, mode: Mode | None = None, waiting: int = 64
    ) -> None:
        folder = RunFolder(run)
        plan = folder.plan()
        self.mode: Mode = mode or plan.mode.value
        if self.mode not in ("free", "verbatim"):
            raise SettingsError(
                f"llama.cpp cannot answer in the mode {self.mode}.",
                "Give --mode verbatim or --mode free, or leave --gguf out.",
            )
        self.run, self.gguf = run, gguf
        self.ready, self.restarts, self.fault = False, 0, ""
        self._persona, self._away = plan.persona.value, plan.hand_over.value
        pairs = folder.faq().pairs
        self._source = {p.answer: p.question for p in reversed(pairs)}
        self._grammar = grammar([*self._source, self._away])
        self._queue: queue.Queue[Waiting] = queue.Queue(waiting)
        self._closing = threading.Event()
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
        on_piece: Callable[[str], None] | None = None,
    ) -> Future[Told]:
        """As `Engine.ask`."""
        if self._closing.is_set():
            raise Down
        told: Future[Told] = Future()
        try:
            self._queue.put_nowait(Waiting(question, history, min(most, MOST), on_piece, told))
        except queue.Full:
            raise Busy from None
        return told

    def _keep(self) -> None:
        while not self._closing.is_set():
            try:
                with opened(self.gguf, slots=SLOTS, context=SLOTS * 1024) as llama:
                    self._ended = threading.Event()
                    workers = [
                        threading.Thread(target=self._work, args=(llama.address,), daemon=True)
                        for _ in range(SLOTS)
                    ]
                    for worker in workers:
                        worker.start()
                    self.ready = True
                    while not (self._closing.is_set() or self._ended.wait(0.1)):
                        pass
                    self.ready = False
                    self._ended.set()
                    for worker in workers:
                        worker.join(timeout=30)
            except Exception as error:
                self.fault = str(error)
                logging.getLogger("kefu").error(self.fault)
                self._closing.set()
            if not self._closing.is_set():
                self.restarts += 1
        while not self._queue.empty():
            waiting = self._queue.get_nowait()
            if waiting.told.set_running_or_notify_cancel():
                waiting.told.set_exception(Down())

    def _work(self, address: str) -> None:
        with httpx.Client(base_url=address, timeout=120) as web:
            while not (self._closing.is_set() or self._ended.is_set()):
                try:
                    waiting = self._queue.get(timeout=0.1)
                except queue.Empty:
                    continue
                if not waiting.told.set_running_or_notify_cancel():
                    continue
                try:
                    waiting.told.set_result(self._answer(web, waiting))
                except (httpx.HTTPError, ValueError, KeyError):
                    waiting.told.set_exception(Down())
                    self._check(web)

    def _check(self, web: httpx.Client) -> None:
        """Has llama.cpp replaced when it no longer answers."""
        try:
            web.get("/health").raise_for_status()
        except httpx.HTTPError:
            self._ended.set()

    def _answer(self, web: httpx.Client, asked: Waiting) -> Told:
        said = [{"role": "system", "content": self._persona}] if self._persona else []
        for question, answer in asked.history:
            said.append({"role": "user", "content": question})
            said.append({"role": "assistant", "content": answer})
        said.append({"role": "user", "content": asked.question})
        body: dict[str, Any] = {
            "messages": said,
            "temperature": 0,
            "max_tokens": asked.most,
            "stream": True,
            "stream_options": {"include_usage": True},
            "cache_prompt": True,
        }
        if self.mode == "verbatim":
            body |= {"grammar": self._grammar, "max_tokens": 2048}
        text, end = "", ""
        usage: dict[str, int] = {}
        with web.stream("POST", "/v1/chat/completions", json=body) as streamed:
            streamed.raise_for_status()
            for line in streamed.iter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                usage = event.get("usage") or usage
                for choice in event["choices"]:
                    end = choice.get("finish_reason") or end
                    piece = choice["delta"].get("content") or ""
                    text += piece
                    if piece and asked.on_piece and self.mode == "free":
                        asked.on_piece(piece)
        if self.mode == "free":
            reply = Reply(text, handed_over=text.strip() == self._away, stopped=end == "stop")
        else:
            text = text.strip()
            away = text not in self._source  # the hand-over sentence, or a text that was cut off
            shown = self._away if away else text
            reply = Reply(shown, handed_over=away, confidence=0.0, source=self._source.get(text))
        return Told(reply, usage["prompt_tokens"], usage["completion_tokens"])


def grammar(texts: list[str]) -> str:
    """These texts and nothing else, in llama.cpp's notation (GBNF)."""
    return "root ::= " + " | ".join(json.dumps(t.strip(), ensure_ascii=False) for t in texts)
