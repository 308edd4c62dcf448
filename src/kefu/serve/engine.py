"""The bots in a child process: waiting questions are answered together; a dead child is replaced.

Several runs share one base: a batch is of one run, and the runs take turns. While one is loaded the
others answer. Knows nothing of HTTP. Streams of `free` and `sample` go on side by side, a token of
each in turn; what is asked as a whole is generated in one batch. With a GGUF file llama.cpp
computes what the bot weighs, so that its threshold holds as in the run.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import KefuError, RunError
from ..records import Mode, Turn
from ..workspace import RunFolder, check_one_base
from .child import Asked, Held, Later, Loaded, Told, context, work
from .turns import Full, Turns

BATCH = 32
"""Questions that are answered at one time: as many as the bot takes on a CPU."""
MOST = 256
"""Tokens of an answer at most, as the bot itself has it."""
HUNG = 120.0
"""Seconds after which a child that says nothing is ended and replaced."""
OPENING = 900.0
"""The same for a run that it is loading, whose states it makes anew."""


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
    def asked(self) -> Asked:
        return self.question, self.history, self.most, self.temperature, bool(self.on_piece)


@dataclass(frozen=True, slots=True)
class _Parked:
    batch: list[Waiting]
    until: float
    """On the monotonic clock: when the child that still has not loaded the run is replaced."""


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
        self._parked: dict[str, _Parked] = {}
        """What waits for its run to be loaded."""
        self._due: deque[tuple[str, list[Waiting]]] = deque()
        """What waited so, and comes next."""
        self._states = TemporaryDirectory(prefix="kefu-states-")
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
        parked = [*self._parked.values()]
        return len(self._turns) + sum(len(one.batch) for one in parked)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._states.cleanup()

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
        processes = context()
        while not self._closing.is_set():
            mine, other = processes.Pipe()
            self._child = processes.Process(
                target=work,
                args=(other, self.runs, self.mode, self.gguf, self.bound, Path(self._states.name)),
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
            for name in tuple(self._parked):
                _fail(self._parked.pop(name).batch)
            while self._due:
                _fail(self._due.popleft()[1])
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
            if any(time.monotonic() > one.until for one in self._parked.values()):
                return
            name, batch = self._due.popleft() if self._due else self._next()
            if not batch:
                while pipe.poll(0):  # nothing was asked: what is loaded can be told, or an end
                    self._loaded(pipe.recv())
                continue
            try:
                said = self._exchange(pipe, name, batch)
            except (EOFError, OSError):
                said = None
            if isinstance(said, Later):
                self._parked[name] = _Parked(batch, time.monotonic() + OPENING)
                continue
            if not isinstance(said, list):
                _fail(batch)
                if said is None:
                    return
                logging.getLogger("kefu").error("%s: %s", name, said)
                continue
            for waiting, told in zip(batch, said, strict=True):
                waiting.told.set_result(told)

    def _exchange(self, pipe: Connection, name: str, batch: list[Waiting]) -> Any:
        """What the child says in the end to a batch: a list of replies, a fault, `Later`; None if
        nothing.

        Before that it tells what it holds, and pieces of streams.
        """
        pipe.send((name, [w.asked for w in batch]))
        while pipe.poll(HUNG):
            said = pipe.recv()
            if isinstance(said, Held):
                self.held = said
            elif isinstance(said, Loaded):
                self._loaded(said)
            elif isinstance(said, tuple):
                at, piece = said
                if (on_piece := batch[at].on_piece) is not None:
                    on_piece(piece)
            else:
                return said
        return None

    def _loaded(self, said: Loaded) -> None:
        """What waited for this run comes next, before another run that is loaded drops it."""
        parked = self._parked.pop(said.name, None)
        if said.fault:
            logging.getLogger("kefu").error("%s: %s", said.name, said.fault)
        if parked is not None and said.fault:
            _fail(parked.batch)
        elif parked is not None:
            self._due.append((said.name, parked.batch))

    def _give_up(self, fault: str) -> None:
        """A run that cannot be opened cannot be opened the next time either."""
        self.fault = fault
        logging.getLogger("kefu").error(fault)
        self._closing.set()

    def _next(self) -> tuple[str, list[Waiting]]:
        """Whose turn it is, and what waits there, at most a batch; whoever has gone away meanwhile
        is left out."""
        name, found = self._turns.take(BATCH, 0.1, but=self._parked)
        return name, [w for w in found if w.told.set_running_or_notify_cancel()]

    def _drop(self) -> None:
        while batch := self._turns.take(BATCH)[1]:
            _fail([w for w in batch if w.told.set_running_or_notify_cancel()])


def _fail(batch: list[Waiting]) -> None:
    for waiting in batch:
        waiting.told.set_exception(Down())
