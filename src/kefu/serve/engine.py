"""The bots in a child process: waiting questions are answered together; a dead child is replaced.

Only the child imports torch. Several runs share one base: a batch is of one run, and the runs take
turns. Knows nothing of HTTP. Streams of `free` and `sample` go on side by side, a token of each in
turn; what is asked as a whole is generated in one batch. With a GGUF file llama.cpp computes what
the bot weighs, so that its threshold holds as in the run.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import KefuError, RunError
from ..records import Mode, Reply, Turn
from ..workspace import RunFolder, check_one_base
from .turns import Full, Turns

if TYPE_CHECKING:
    from ..bot import Bot, Shelf

BATCH = 32
"""Questions that are answered at one time: as many as the bot takes on a CPU."""
MOST = 256
"""Tokens of an answer at most, as the bot itself has it."""
HUNG = 120.0
"""Seconds after which a child that says nothing is ended and replaced."""
OPENING = 900.0
"""The same while it may be loading another run, whose states it makes anew."""

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


@dataclass(frozen=True, slots=True)
class Held:
    """What the child has loaded."""

    names: tuple[str, ...]
    bytes: int = 0
    """Beside the base, about."""
    loads: int = 0
    """How often it has loaded a run."""


class Engine:
    """Answers questions of one run, or of several on one base. `start` it once; `close` ends the
    child.

    Of several runs those are held in memory that were asked last, in at most `bound` bytes beside
    the base: by default half of what is free when the base is loaded. Raises RunError when several
    runs are not on one base, or are called alike.
    """

    def __init__(
        self,
        *runs: Path,
        mode: Mode | None = None,
        gguf: Path | None = None,
        waiting: int = 64,
        bound: int | None = None,
    ) -> None:
        self.runs = {run.name: run for run in runs}
        if len(self.runs) < len(runs):
            raise RunError(
                "Two of the runs have the same name, by which they are asked.",
                "Rename one of their folders.",
            )
        if len(runs) > 1:
            check_one_base(map(RunFolder, runs))
        self.mode, self.gguf, self.bound = mode, gguf, bound
        self.ready = False
        self.restarts = 0
        self.fault = ""
        """Why the run cannot be opened, when it cannot."""
        self.held = Held(())
        self._turns: Turns[Waiting] = Turns(waiting)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="kefu-engine", daemon=True)
        self._child: multiprocessing.process.BaseProcess | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """By which the runs are asked; the first is asked where no name is said."""
        return tuple(self.runs)

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def waiting(self) -> int:
        return len(self._turns)

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
        """The reply, later: of the run `model`, else of the first. Raises Busy at once when the
        run's line is full, Down when all is over.

        `most` tokens, and pieces as they come (from another thread), in `free` and `sample` only:
        an answer of the other modes is neither cut nor shown before it is checked. `temperature`
        counts in `sample`.
        """
        if self._closing.is_set():
            raise Down
        told: Future[Told] = Future()
        asked = Waiting(question, history, min(most, MOST), temperature, on_piece, told)
        try:
            self._turns.put(model or self.names[0], asked)
        except Full:
            raise Busy from None
        return told

    # --- the thread that keeps a child alive ---------------------------------------

    def _keep(self) -> None:
        try:
            for folder in map(RunFolder, self.runs.values()):
                for part in (folder.plan, folder.faq, folder.examples):
                    part()  # a damaged run is told before minutes are spent on loading its base
        except KefuError as error:
            self._give_up(str(error))
        context = _context()
        while not self._closing.is_set():
            mine, other = context.Pipe()
            self._child = context.Process(
                target=_work,
                args=(other, self.runs, self.mode, self.gguf, self.bound),
                daemon=True,
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
            name, batch = self._next()
            if not batch:
                if pipe.poll(0):  # nothing was asked: only an end can be told
                    return
                continue
            try:
                said = self._exchange(pipe, name, batch)
            except (EOFError, OSError):
                said = None
            if not isinstance(said, list):
                _fail(batch)
                if said is None:
                    return
                logging.getLogger("kefu").error("%s: %s", name, said)
                continue
            for waiting, told in zip(batch, said, strict=True):
                waiting.told.set_result(told)

    def _exchange(self, pipe: Connection, name: str, batch: list[Waiting]) -> Any:
        """What the child says in the end to a batch: a list of replies, a fault; None if nothing.

        Before that it tells what it holds, and pieces of streams.
        """
        pipe.send((name, [w.asked for w in batch]))
        patience = OPENING if len(self.runs) > 1 else HUNG
        while pipe.poll(patience):
            said = pipe.recv()
            if isinstance(said, Held):
                self.held, patience = said, HUNG
            elif isinstance(said, tuple):
                at, piece = said
                if (on_piece := batch[at].on_piece) is not None:
                    on_piece(piece)
            else:
                return said
        return None

    def _give_up(self, fault: str) -> None:
        """A run that cannot be opened cannot be opened the next time either."""
        self.fault = fault
        logging.getLogger("kefu").error(fault)
        self._closing.set()

    def _next(self) -> tuple[str, list[Waiting]]:
        """Whose turn it is, and what waits there, at most a batch; whoever has gone away meanwhile
        is left out."""
        name, found = self._turns.take(BATCH, 0.1)
        return name, [w for w in found if w.told.set_running_or_notify_cancel()]

    def _drop(self) -> None:
        while batch := self._turns.take(BATCH)[1]:
            _fail([w for w in batch if w.told.set_running_or_notify_cancel()])


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


def _work(
    pipe: Connection,
    runs: dict[str, Path],
    mode: Mode | None,
    gguf: Path | None,
    bound: int | None,
) -> None:
    """The child: tells "" when it is ready, or the fault; then for each batch what it holds, and a
    list of replies or the fault."""
    for name in (signal.SIGINT, signal.SIGTERM):  # the server drains, then closes the pipe
        signal.signal(name, signal.SIG_IGN)
    with ExitStack() as stack:
        try:
            bots = _bots(runs, mode, gguf, bound, stack)
            bots.take(next(iter(runs)))
        except KefuError as error:
            with suppress(OSError):
                pipe.send(str(error))
            return
        with suppress(EOFError, OSError):  # the server's end, or llama.cpp's: a new child is due
            pipe.send("")
            while True:
                name, asked = pipe.recv()
                told: list[Told] | str
                try:
                    bot = bots.take(name)
                    pipe.send(Held(bots.held, bots.bytes, bots.loads))
                    told = _answers(bot, asked, pipe)
                except OSError:
                    raise
                except KefuError as error:
                    told = str(error)
                except Exception as error:  # one bad batch must not end the engine
                    told = f"{type(error).__name__}: {error}"
                pipe.send(told)


def _bots(
    runs: dict[str, Path],
    mode: Mode | None,
    gguf: Path | None,
    bound: int | None,
    stack: ExitStack,
) -> Shelf:
    from ..bot import Bot, Shelf

    bots = Shelf({name: RunFolder(path) for name, path in runs.items()}, mode=mode, bound=bound)
    if gguf is not None:
        from ..export import answering

        ((name, folder),) = bots.folders.items()
        model = stack.enter_context(answering(folder, gguf))
        bot = Bot(folder, folder.plan(), folder.faq().pairs, model, model.prompt)
        bot.mode = mode or bot.mode
        bots.keep(name, bot)
    return bots


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
