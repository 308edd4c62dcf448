"""Bots over a model that is loaded already: one in training, or one base with many adapters."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch

from ..plan import probe
from ..prompt import Prompt
from ..records import Mode
from ..weights import WEIGHTS, Adapter, Adapters, tokenizer_of
from ..workspace import RunFolder, check_one_base
from .bot import Bot
from .engine import Engine

SHARE = 0.5
"""Of the memory that is free once the base is loaded, for what the runs need beside it."""
RECORDS = 40
"""So many times the bytes of its text a run's FAQ takes as index, trie and records, about."""
SLICE = 16
"""Sequences for which a run that is being loaded has the model at one time: about one pass on a
processor, after which the others may answer."""


def over(folder: RunFolder, model: Any, prompt: Prompt, device: str) -> Bot:
    """A bot over the PEFT model of a run that is still being trained. Puts it into eval mode."""
    return Bot(folder, folder.plan(), folder.faq().pairs, Engine(model, device), prompt)


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


class _Sliced(Engine):
    """The model for a run that is loaded while others answer: it has it for a slice at a time."""

    def __init__(self, engine: Engine, use: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(engine.model, engine.device)
        self._use = use

    def hidden(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        found = []
        for start in range(0, len(sequences), SLICE):
            with self._use():
                found.append(super().hidden(sequences[start : start + SLICE]))
        return torch.cat(found)

    def logits(self, hidden: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        with self._use():
            return super().logits(hidden, tokens)


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
    `using`; the first run brings the base, and is to be loaded before.
    """

    def __init__(
        self,
        folders: Mapping[str, RunFolder],
        *,
        mode: Mode | None = None,
        bound: int | None = None,
    ) -> None:
        if len(folders) > 1:
            check_one_base(folders.values())
        self.folders, self.mode, self.bound = dict(folders), mode, bound
        self.loads = 0
        """How often a run was loaded."""
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._tokenizers: dict[str, Any] = {}
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
            bot.answer("…")  # the first question pays for what is made once
        elif self._adapters is None:
            bot, adapter = self._first(folder)
            bot.answer("…")
            _weigh_once(bot)
        else:
            bot, adapter = self._next(folder, self._adapters)
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

    def keep(self, name: str, bot: Bot) -> None:
        """A bot whose model is not torch's, and which is never dropped: of one run only."""
        bot.answer("…")
        self._held[name] = _Held(bot, None, 0)

    def _first(self, folder: RunFolder) -> tuple[Bot, Adapter]:
        """The first run brings the base."""
        bot = Bot.open(folder, mode=self.mode)
        self._engine = bot._torch
        self._adapters = Adapters(self._engine.model, folder.adapter)
        self._tokenizers[_words(folder)] = bot.prompt.tokenizer
        if self.bound is None:
            self.bound = int(probe().memory * SHARE)
        return bot, self._adapters.first

    def _next(self, folder: RunFolder, adapters: Adapters) -> tuple[Bot, Adapter]:
        """A run on the base that is there. It has the model for moments only."""
        folder.check_finished()
        plan, pairs = folder.plan(), folder.faq().pairs
        words = _words(folder)
        if words not in self._tokenizers:
            self._tokenizers[words] = tokenizer_of(
                plan.base.value, folder.adapter, trust_remote_code=plan.trust_remote_code
            )
        prompt = Prompt(
            self._tokenizers[words],
            plan.template.value,
            persona=plan.persona.value,
            hand_over=plan.hand_over.value,
        )
        with self._turn:
            with suppress(OSError):  # told when it is read
                self._make_room((folder.adapter / WEIGHTS).stat().st_size)
            adapter = adapters.read(folder.adapter)

        @contextmanager
        def use() -> Iterator[None]:
            with self._turn:
                adapters.put_on(adapter)
                yield

        bot = Bot(folder, plan, pairs, _Sliced(self._engine, use), prompt)
        bot.mode = self.mode or bot.mode
        _weigh_once(bot)
        bot.engine = self._engine
        if bot._weigher is not None:
            bot._weigher.engine = self._engine
        return bot, adapter

    def _make_room(self, needed: int, keep: int = 0) -> None:
        """Drops what was not taken for the longest time."""
        assert self.bound is not None
        while len(self._held) > keep and self.bytes + needed > self.bound:
            self._held.popitem(last=False)


def _weigh_once(bot: Bot) -> None:
    """Makes the states and the trie now, so that they are counted."""
    if not bot.streams:
        bot._weigh(["…"], [bot.prompt.ids("…")])


def _bytes(bot: Bot) -> int:
    """What a bot holds beside its adapter: states exactly, all else by the length of its text."""
    texts = (t for pair in bot.pairs for t in (*pair.phrasings, pair.answer))
    records = RECORDS * sum(len(text.encode()) for text in texts)
    return records + (int(bot._weigher.memory.states.nbytes) if bot._weigher else 0)


def _words(folder: RunFolder) -> str:
    """What tells tokenizers apart: a large one takes seconds to load, and hundreds of MB."""
    told = hashlib.sha256(folder.plan().template.value.encode())
    for path in sorted(folder.adapter.iterdir()):
        if not path.name.startswith(("adapter_", "README")):
            told.update(path.name.encode() + path.read_bytes())
    return told.hexdigest()
