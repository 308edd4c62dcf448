"""The child process that has the model: answers batches, and loads runs meanwhile.

Only here torch is imported. What it says to the server is told by the type: see `work`.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import KefuError
from ..records import Mode, Reply, Turn
from ..workspace import RunFolder

if TYPE_CHECKING:
    from ..bot import Bot, Shelf

UNUSED = 5.0
"""Seconds that a run which was loaded waits for its first questions before the next is loaded,
which might drop it again."""

PRELOADED = [
    "kefu.bot",
    "peft",
    "transformers.models.auto.modeling_auto",
    "transformers.modeling_utils",
    "scipy.sparse",
]
"""What every child imports, slowly."""


@dataclass(frozen=True, slots=True)
class Told:
    """A reply and what it cost, in tokens of the run's own tokenizer."""

    reply: Reply
    prompt_tokens: int
    completion_tokens: int


Asked = tuple[str, tuple[Turn, ...], int, float | None, bool]
"""What the child is sent: question, history, tokens at most, temperature, whether in pieces."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the child has loaded."""

    names: tuple[str, ...]
    bytes: int = 0
    """Beside the base, about."""
    loads: int = 0
    """How often it has loaded a run."""


@dataclass(frozen=True, slots=True)
class Later:
    """The batch was for a run that is not loaded. It is being loaded; ask again when it is."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A run is loaded, or why it cannot be."""

    name: str
    fault: str = ""


def context() -> Any:
    """How children are made: never by a fork of the server, whose locks and sockets they would
    share. Where the system can, from a process that has imported torch and the like once: a new
    child then needs a second, not ten."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOADED)
    return found


class _Voice:
    """The pipe's end of the child, from which two threads speak."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock = pipe, threading.Lock()

    def say(self, what: Any) -> None:
        with self._lock:
            self._pipe.send(what)


class _Loader:
    """Loads runs in a thread, one after the other, while the others answer."""

    def __init__(self, bots: Shelf, voice: _Voice) -> None:
        self._bots, self._voice = bots, voice
        self._due: queue.Queue[str] = queue.Queue()
        self._used = threading.Event()
        self._newest = ""
        threading.Thread(target=self._work, name="kefu-loader", daemon=True).start()

    def load(self, name: str) -> None:
        self._due.put(name)

    def used(self, name: str) -> None:
        """The run has answered."""
        if name == self._newest:
            self._used.set()

    def _work(self) -> None:
        with suppress(OSError):  # the server's end
            while True:
                name = self._due.get()
                self._used.clear()
                self._newest, fault = name, ""
                try:
                    self._bots.load(name)
                except KefuError as error:
                    fault = str(error)
                except Exception as error:  # one bad run must not end the engine
                    fault = f"{type(error).__name__}: {error}"
                self._voice.say(Loaded(name, fault))
                if not fault:
                    self._used.wait(UNUSED)


def work(
    pipe: Connection,
    runs: dict[str, Path],
    mode: Mode | None,
    gguf: Path | None,
    bound: int | None,
    states: Path,
) -> None:
    """The child: tells "" when it is ready, or the fault. Then, for each batch that it is sent
    (name of the run, questions), `Later`; or `Held`, pieces of streams (place, text), and in the
    end a list of replies or the fault. At any time it tells what is `Loaded`. What it keeps in the
    folder `states` is there for the next child."""
    for name in (signal.SIGINT, signal.SIGTERM):  # the server drains, then closes the pipe
        signal.signal(name, signal.SIG_IGN)
    with ExitStack() as stack:
        try:
            bots = _bots(runs, mode, gguf, bound, states, stack)
            bots.take(next(iter(runs)))
        except KefuError as error:
            with suppress(OSError):
                pipe.send(str(error))
            return
        voice = _Voice(pipe)
        loader = _Loader(bots, voice)
        with suppress(EOFError, OSError):  # the server's end, or llama.cpp's: a new child is due
            voice.say("")
            while True:
                name, asked = pipe.recv()
                try:
                    with bots.using(name) as bot:
                        voice.say(Held(bots.held, bots.bytes, bots.loads))
                        told = _told(bot, asked, voice)
                except KeyError:
                    voice.say(Later())  # before it can be told that it is loaded
                    loader.load(name)
                    continue
                voice.say(told)
                loader.used(name)


def _told(bot: Bot, asked: list[Asked], voice: _Voice) -> list[Told] | str:
    """Replies, or the fault. Raises OSError where the server or llama.cpp has ended."""
    try:
        return _answers(bot, asked, voice)
    except OSError:
        raise
    except KefuError as error:
        return str(error)
    except Exception as error:  # one bad batch must not end the engine
        return f"{type(error).__name__}: {error}"


def _bots(
    runs: dict[str, Path],
    mode: Mode | None,
    gguf: Path | None,
    bound: int | None,
    states: Path,
    stack: ExitStack,
) -> Shelf:
    from ..bot import Shelf, foreign

    folders = {name: RunFolder(path) for name, path in runs.items()}
    bots = Shelf(folders, mode=mode, bound=bound, states=states)
    if gguf is not None:
        from ..export import answering

        ((name, folder),) = bots.folders.items()
        model = stack.enter_context(answering(folder, gguf))
        bot = foreign(folder, model, model.prompt)
        bot.mode = mode or bot.mode
        bots.keep(name, bot, gguf)
    return bots


def _answers(bot: Bot, asked: list[Asked], voice: _Voice) -> list[Told]:
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
                voice.say((i, piece))
                if len(bot.prompt.encode(texts[i])) < asked[i][2]:
                    continue
            del streams[i]
            away = texts[i].endswith(bot.prompt.hand_over)
            cost = len(bot.prompt.encode(texts[i]))
            done[i] = Reply(texts[i], handed_over=away, stopped=piece is None, tokens=cost)
    return [
        Told(
            done[i],
            done[i].read or len(bot.prompt.ids(q, h)),
            done[i].tokens if open_ else len(bot.prompt.encode(done[i].text)),
        )
        for i, (q, h, *_) in enumerate(asked)
    ]
