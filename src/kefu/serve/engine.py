"""The bot in a child process: waiting questions are answered together; a dead child is replaced.

Only the child imports torch. Knows nothing of HTTP. Streams of `free` and `sample` go on side by
side, a token of each in turn; what is asked as a whole is generated in one batch. With a GGUF file
llama.cpp computes what the bot weighs, so that its threshold holds as in the run.
"""

from __future__ import annotations

import logging
import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import KefuError
from ..records import Mode, Reply, Turn
from ..workspace import RunFolder

if TYPE_CHECKING:
    from ..bot import Bot

BATCH = 32
"""Questions that are answered at one time: as many as the bot takes on a CPU."""
MOST = 256
"""Tokens of an answer at most, as the bot itself has it."""
HUNG = 120.0
"""Seconds after which a child that says nothing is ended and replaced."""


PRELOADED = [
    "kefu.bot",
    "peft",
    "transformers.models.auto.modeling_auto",
    "transformers.modeling_utils",
    "sklearn.feature_extraction.text",
]
"""What every child imports, slowly."""


@dataclass(frozen=True, slots=True)
class Told:
    """A reply and what it cost, in tokens of the run's own tokenizer."""

    reply: Reply
    prompt_tokens: int
    completion_tokens: int


class Busy(Exception):
    """As many questions wait as may wait."""


class Down(Exception):
    """The child ended, or failed, while it had the question."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A question, and the promise of its reply."""

    question: str
    history: tuple[Turn, ...]
    most: int
    temperature: float | None
    on_piece: Callable[[str], None] | None
    told: Future[Told]

    @property
    def asked(self) -> _Asked:
        return self.question, self.history, self.most, self.temperature, bool(self.on_piece)


_Asked = tuple[str, tuple[Turn, ...], int, float | None, bool]
"""What the child is sent: question, history, tokens at most, temperature, whether in pieces."""


class Engine:
    """Answers questions of one run. `start` it once; `close` ends the child."""

    def __init__(
        self, run: Path, *, mode: Mode | None = None, gguf: Path | None = None, waiting: int = 64
    ) -> None:
        self.run, self.mode, self.gguf = run, mode, gguf
        self.ready = False
        self.restarts = 0
        self.fault = ""
        """Why the run cannot be opened, when it cannot."""
        self._queue: queue.Queue[Waiting] = queue.Queue(waiting)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="kefu-engine", daemon=True)
        self._child: multiprocessing.process.BaseProcess | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

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
    ) -> Future[Told]:
        """The reply, later. Raises Busy at once when the queue is full, Down when all is over.

        `most` tokens, and pieces as they come (from another thread), in `free` and `sample` only:
        an answer of the other modes is neither cut nor shown before it is checked. `temperature`
        counts in `sample`.
        """
        if self._closing.is_set():
            raise Down
        told: Future[Told] = Future()
        asked = Waiting(question, history, min(most, MOST), temperature, on_piece, told)
        try:
            self._queue.put_nowait(asked)
        except queue.Full:
            raise Busy from None
        return told

    # --- the thread that keeps a child alive ---------------------------------------

    def _keep(self) -> None:
        folder = RunFolder(self.run)
        try:
            for part in (folder.plan, folder.faq, folder.examples):
                part()  # a damaged run is told before minutes are spent on loading its base
        except KefuError as error:
            self._give_up(str(error))
        context = _context()
        while not self._closing.is_set():
            mine, other = context.Pipe()
            self._child = context.Process(
                target=_work, args=(other, self.run, self.mode, self.gguf), daemon=True
            )
            self._child.start()
            other.close()
            with suppress(EOFError, OSError):
                self._serve(mine)
            self.ready = False
            mine.close()
            self._child.kill()
            self._child.join()
            if not self._closing.is_set():
                self.restarts += 1
                self._closing.wait(min(0.2 * self.restarts, 5.0))
        self._drop()

    def _serve(self, pipe: Connection) -> None:
        while not pipe.poll(0.2):
            if self._closing.is_set():
                return
        fault = pipe.recv()
        if fault:
            self._give_up(fault)
            return
        self.ready = True
        while not self._closing.is_set():
            batch = self._next()
            if not batch:
                if pipe.poll(0):  # nothing was asked: only an end can be told
                    return
                continue
            try:
                pipe.send([w.asked for w in batch])
                while isinstance(said := pipe.recv() if pipe.poll(HUNG) else None, tuple):
                    at, piece = said
                    if (on_piece := batch[at].on_piece) is not None:
                        on_piece(piece)
            except (EOFError, OSError):
                said = None
            if not isinstance(said, list):
                _fail(batch)
                if said is None:
                    return
                continue
            for waiting, told in zip(batch, said, strict=True):
                waiting.told.set_result(told)

    def _give_up(self, fault: str) -> None:
        """A run that cannot be opened cannot be opened the next time either."""
        self.fault = fault
        logging.getLogger("kefu").error(fault)
        self._closing.set()

    def _next(self) -> list[Waiting]:
        """What waits, at most a batch; whoever has gone away meanwhile is left out."""
        found: list[Waiting] = []
        with suppress(queue.Empty):
            found.append(self._queue.get(timeout=0.1))
            while len(found) < BATCH:
                found.append(self._queue.get_nowait())
        return [w for w in found if w.told.set_running_or_notify_cancel()]

    def _drop(self) -> None:
        with suppress(queue.Empty):
            while True:
                waiting = self._queue.get_nowait()
                if waiting.told.set_running_or_notify_cancel():
                    _fail([waiting])


def _context() -> Any:
    """How children are made: never by a fork of the server, whose locks and sockets they would
    share. Where the system can, from a process that has imported torch and the like once: a new
    child then needs a second, not ten."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _fail(batch: list[Waiting]) -> None:
    for waiting in batch:
        waiting.told.set_exception(Down())


def _work(pipe: Connection, run: Path, mode: Mode | None, gguf: Path | None) -> None:
    """The child: tells "" when it is ready, or the fault; then a list of replies per batch."""
    for name in (signal.SIGINT, signal.SIGTERM):  # the server drains, then closes the pipe
        signal.signal(name, signal.SIG_IGN)
    with ExitStack() as stack:
        try:
            bot = _bot(RunFolder(run), mode, gguf, stack)
            bot.answer("…")  # the first question pays for what is made once
        except KefuError as error:
            with suppress(OSError):
                pipe.send(str(error))
            return
        with suppress(EOFError, OSError):  # the server's end, or llama.cpp's: a new child is due
            pipe.send("")
            while True:
                asked = pipe.recv()
                try:
                    told: list[Told] | str = _answers(bot, asked, pipe)
                except OSError:
                    raise
                except Exception as error:  # one bad batch must not end the engine
                    told = f"{type(error).__name__}: {error}"
                pipe.send(told)


def _bot(folder: RunFolder, mode: Mode | None, gguf: Path | None, stack: ExitStack) -> Bot:
    from ..bot import Bot

    if gguf is None:
        return Bot.open(folder, mode=mode)
    from ..export import answering

    model = stack.enter_context(answering(folder, gguf))
    bot = Bot(folder, folder.plan(), folder.faq().pairs, model, model.prompt)
    bot.mode = mode or bot.mode
    return bot


def _answers(bot: Bot, asked: list[_Asked], pipe: Connection) -> list[Told]:
    """Replies in the order of the questions; pieces of streams are sent on the way."""
    open_ = bot.mode in ("free", "sample")
    done: dict[int, Reply] = {}
    whole: dict[tuple[int | None, float | None], list[int]] = {}
    for i, (_, _, most, heat, pieces) in enumerate(asked):
        if not (pieces and open_):
            alike = (most if open_ else None, heat if bot.mode == "sample" else None)
            whole.setdefault(alike, []).append(i)
    for (limit, heat), places in whole.items():
        replies = bot.answer_all([asked[i][:2] for i in places], most=limit, temperature=heat)
        done.update(zip(places, replies, strict=True))
    left = [i for i in range(len(asked)) if i not in done]
    streams = {i: bot.stream(*asked[i][:2], temperature=asked[i][3]) for i in left}
    texts = dict.fromkeys(streams, "")
    while streams:
        for i in tuple(streams):
            piece = next(streams[i], None)
            if piece is not None:
                texts[i] += piece
                pipe.send((i, piece))
                if len(bot.prompt.encode(texts[i])) < asked[i][2]:
                    continue
            del streams[i]
            away = texts[i] == bot.prompt.hand_over
            cost = len(bot.prompt.encode(texts[i]))
            done[i] = Reply(texts[i], handed_over=away, stopped=piece is None, tokens=cost)
    return [
        Told(
            done[i],
            len(bot.prompt.ids(q, h)),
            done[i].tokens if open_ else len(bot.prompt.encode(done[i].text)),
        )
        for i, (q, h, *_) in enumerate(asked)
    ]
