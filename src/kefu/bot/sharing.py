"""Bots over a model that is loaded already: one in training, or one base with many adapters."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..plan import probe
from ..prompt import Prompt
from ..records import Mode
from ..weights import WEIGHTS, Adapter, Adapters, Warm, tokenizer_of, warm
from ..workspace import RunFolder, check_one_base
from .begun import warm_of
from .beside import Together, beside
from .bot import Bot
from .engine import Engine, Model
from .loading import Loading

SHARE = 0.5
"""Of the memory that is free once the base is loaded, for what the runs need beside it."""
RECORDS = 40
"""So many times the bytes of its text a run's FAQ takes as index, trie and records, about."""


def over(folder: RunFolder, model: Any, prompt: Prompt, device: str) -> Bot:
    """A bot over the PEFT model of a run that is still being trained. Puts it into eval mode."""
    plan = folder.plan()
    return Bot(folder, plan, Engine(model, device, warm_of(folder), beside(plan, device)), prompt)


def foreign(folder: RunFolder, model: Model, prompt: Prompt) -> Bot:
    """A bot over an export of a run in another engine."""
    plan = folder.plan()
    reader = beside(plan, model.device)
    return Bot(folder, plan, Together(model, reader) if reader else model, prompt)


class _Turn:
    """A lock that is handed on to whoever has waited: no loop that takes it again and again keeps
    another thread out."""

    def __init__(self) -> None:
        self._next, self._taken = threading.Lock(), threading.Lock()

    def __enter__(self) -> None:
        with self._next:
            self._taken.acquire()

    def __exit__(self, *_: object) -> None:
        self._taken.release()


@dataclass(frozen=True, slots=True)
class _Held:
    bot: Bot
    adapter: Adapter | None
    bytes: int


class Shelf:
    """The bots of many runs on one base. One of them at a time has the model.

    A run's adapter, states, trie and FAQ are loaded when its bot is first taken, and those of the
    runs that were not taken for the longest time are dropped, so that together they hold at most
    `bound` bytes: by default half of what is free when the base is loaded. The bot that was taken
    last is always kept. Raises RunError for runs on different bases.

    One thread may `load` the next run while another one answers by those that are loaded, in
    `using`; the first run brings the base, and is to be loaded before. In the folder `states` is
    kept what is costly to make anew, for another Shelf too.
    """

    def __init__(
        self,
        folders: Mapping[str, RunFolder],
        *,
        mode: Mode | None = None,
        bound: int | None = None,
        states: Path | None = None,
    ) -> None:
        if len(folders) > 1:
            check_one_base(folders.values())
        self.folders, self.mode, self.bound = dict(folders), mode, bound
        self.states = states
        self.loads = 0
        """How often a run was loaded."""
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._tokenizers: dict[str, Any] = {}
        self._begun: dict[str, Warm] = {}
        self._adapters: Adapters | None = None
        self._turn = _Turn()

    @property
    def held(self) -> tuple[str, ...]:
        """The runs that are loaded, the one that was taken last at the end."""
        return tuple(self._held)

    @property
    def bytes(self) -> int:
        """What the loaded runs hold beside the base, about."""
        return sum(held.bytes for held in self._held.values())

    def take(self, name: str) -> Bot:
        """The bot of a run, ready to answer until the next one is taken. Raises as `load`."""
        self.load(name)
        return self._taken(name)

    @contextmanager
    def using(self, name: str) -> Iterator[Bot]:
        """The bot of a run that is loaded, and the model its own until the end. Raises KeyError
        when it is not, or no longer, loaded."""
        with self._turn:
            yield self._taken(name)

    def load(self, name: str) -> None:
        """Loads a run that is not there, without keeping others from answering for long.

        Raises RunError when the run is damaged or not finished, BaseError as `Bot.open`.
        """
        if name in self._held:
            return
        folder = self.folders[name]
        adapter: Adapter | None = None
        if len(self.folders) == 1:
            bot = Bot.open(folder, mode=self.mode)
        elif self._adapters is None:
            bot, adapter = self._first(folder)
        else:
            bot, adapter = self._next(folder, self._adapters)
        self._make_ready(bot, folder.adapter / WEIGHTS, adapter)
        size = adapter.bytes + _bytes(bot) if adapter is not None else 0
        with self._turn:
            self.loads += 1
            self._held[name] = _Held(bot, adapter, size)
            if adapter is not None:
                self._make_room(0, keep=1)

    def _taken(self, name: str) -> Bot:
        held = self._held[name]
        self._held.move_to_end(name)
        if self._adapters is not None and held.adapter is not None:
            self._adapters.put_on(held.adapter)
        return held.bot

    def keep(self, name: str, bot: Bot, of: Path) -> None:
        """A bot whose model is not torch's but of the file `of`, and which is never dropped: of one
        run only."""
        self._make_ready(bot, of, None)
        self._held[name] = _Held(bot, None, 0)

    def _first(self, folder: RunFolder) -> tuple[Bot, Adapter]:
        """The first run brings the base."""
        bot = Bot.open(folder, mode=self.mode)
        self._engine = bot._torch
        if self._engine.warm is not None:
            self._begun[self._engine.warm.name] = self._engine.warm
        self._adapters = Adapters(self._engine.model, folder.adapter)
        self._tokenizers[_words(folder)] = bot.prompt.tokenizer
        if self.bound is None:
            self.bound = int(probe().memory * SHARE)
        return bot, self._adapters.first

    def _next(self, folder: RunFolder, adapters: Adapters) -> tuple[Bot, Adapter]:
        """A run on the base that is there."""
        folder.check_finished()
        plan = folder.plan()
        words = _words(folder)
        if words not in self._tokenizers:
            self._tokenizers[words] = tokenizer_of(
                plan.base.value, folder.adapter, trust_remote_code=plan.trust_remote_code
            )
        prompt = Prompt.of_plan(self._tokenizers[words], plan)
        with self._turn:
            with suppress(OSError):  # told when it is read
                self._make_room((folder.adapter / WEIGHTS).stat().st_size)
            adapter = adapters.read(folder.adapter)

        begun = warm_of(folder)
        if begun is not None:  # its values lie once in memory, however many runs began from them
            begun = self._begun.setdefault(begun.name, begun)
        first = self._engine
        reader = beside(plan, first.device)
        engine = Engine(first.model, first.device, begun, reader, prefixes=first.prefixes)
        bot = Bot(folder, plan, engine, prompt)
        bot.mode = self.mode or bot.mode
        return bot, adapter

    def _make_ready(self, bot: Bot, of: Path, adapter: Adapter | None) -> None:
        """Makes now what is made once: the states, the trie, the index. A run on a base that is
        there already has the model for moments only; one that came alone then answers once."""

        @contextmanager
        def use() -> Iterator[None]:
            with self._turn:
                if self._adapters is not None and adapter is not None:
                    self._adapters.put_on(adapter)
                yield

        first = adapter is None or self._adapters is None or adapter is self._adapters.first
        if not bot.streams or bot.book:
            model = bot.engine
            finder = warm.finder_digest(bot.plan.reads_by)
            bot.engine = Loading(model, of, finder, self.states, use)
            bot._weigh([("…", ())], [bot.prompt.ids("…")])
            bot.engine = model
            if bot._weigher is not None:
                bot._weigher.engine = model
        if first:
            bot.answer("…")

    def _make_room(self, needed: int, keep: int = 0) -> None:
        """Drops what was not taken for the longest time."""
        assert self.bound is not None
        while len(self._held) > keep and self.bytes + needed > self.bound:
            self._held.popitem(last=False)


def _bytes(bot: Bot) -> int:
    """What a bot holds beside its adapter: states exactly, all else by the length of its text."""
    texts = (t for pair in bot.pairs for t in (*pair.phrasings, pair.answer))
    records = RECORDS * sum(len(text.encode()) for text in texts)
    return records + (bot._weigher.bytes if bot._weigher else 0)


def _words(folder: RunFolder) -> str:
    """What tells tokenizers apart: a large one takes seconds to load, and hundreds of MB."""
    told = hashlib.sha256(folder.plan().template.value.encode())
    for path in sorted(folder.adapter.iterdir()):
        if not path.name.startswith(("adapter_", "README")):
            told.update(path.name.encode() + path.read_bytes())
    return told.hexdigest()
