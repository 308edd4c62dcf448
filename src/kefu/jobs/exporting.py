"""Exports a run and puts the exam to the export itself, in its own engine, before it is let out.

The adapter answers in PEFT, a merged model in transformers, a GGUF file in llama.cpp. An archive
holds the run's own adapter, byte by byte, and is not examined. What is not seen: how an engine
answers that is not here (vLLM, SGLang, Ollama), and answers in other modes than the run's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import exam as exams
from ..errors import GateError
from ..export import Exported, Form, answering
from ..export import export as make
from ..records import ExamQuestion, Mode, Reply
from ..workspace import RunFolder, dump, write_json

if TYPE_CHECKING:
    from ..bot import Bot

LEAST = 0.98
"""The share of the questions that an export must answer as the run does."""
NEAR = 0.1
"""So far apart may run and export be in how sure they are, where they mean the same row but only
one of them is sure enough to answer: rounding moves a confidence a little over the threshold."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One question of the exam, put to the run and to the export."""

    question: str
    run: str
    export: str
    same: bool
    near: bool
    """The same row was meant, and one of the two was just not sure enough."""
    lost: tuple[str, ...]
    """Facts that the run's answer gives and the export's answer to the customer does not, and
    facts of the export's answer that the run's does not have."""
    confidence_run: float
    confidence_export: float


def export(
    folder: RunFolder,
    form: Form,
    to: Path,
    *,
    check: bool = True,
    exam: Path | None = None,
    say: Callable[[str], None] = lambda message: None,
    **options: Any,
) -> Exported:
    """`kefu.export.export`, with the gate: raises GateError when the export loses a fact or answers
    less than 98 % of the exam as the run does, and leaves nothing. What came of each question is
    written to the run's folder `parity`. Without an exam the FAQ's own questions are asked."""
    if not check or form == "zip":
        return make(folder, form, to, say=say, **options)
    parity = Parity(folder, exam, say)
    if folder.plan().precision.value == "nf4" and form in ("merged", "gguf", "ollama"):
        options.setdefault("judge", parity.judge)
    return make(
        folder, form, to, say=say, gate=lambda made: parity.examine(made, options), **options
    )


class Parity:
    """A run beside its exports, on one exam. `mode` is the run's own unless it is set."""

    def __init__(
        self,
        folder: RunFolder,
        exam: Path | None = None,
        say: Callable[[str], None] = lambda message: None,
        mode: Mode | None = None,
    ) -> None:
        from ..score import Marker

        self.folder, self.say = folder, say
        self.mode: Mode = mode or folder.plan().mode.value
        faq = folder.faq()
        file = exam or folder.file("exam.jsonl")
        self.questions: Sequence[ExamQuestion] = (
            exams.read(file, faq, folder.examples())
            if exam or file.is_file()
            else tuple(ExamQuestion(p.question, "known", p.answer, p.question) for p in faq.pairs)
        )
        self._marker = Marker(faq)

    @cached_property
    def own(self) -> tuple[Reply, ...]:
        """The run's replies."""
        from ..bot import Bot

        self.say(f"asking the run {len(self.questions)} questions ({self.mode})")
        return self._ask(Bot.open(self.folder, mode=self.mode))

    def judge(self, merged: Path) -> float:
        """How many questions a merged model answers as the run does."""
        from ..bot import Bot

        rows = self._compare(self._ask(Bot.open(self.folder, mode=self.mode, merged=merged)))
        return sum(r.same for r in rows) - sum(bool(r.lost) for r in rows)

    def examine(self, made: Path, options: dict[str, Any]) -> tuple[str, ...]:
        """Examines what was made in the folder `made`; returns what there is to say of it."""
        notes: list[str] = []
        if options.get("lora") and not options.get("base"):
            return ("Its answers were not examined: that takes a GGUF of the base (`--on`).",)
        for name, opened in self._bots(made, options):
            self.say(f"asking the export {name}")
            try:
                with opened as bot:
                    rows = self._compare(self._ask(bot))
            except OSError as error:  # llama.cpp's end, or its silence
                raise GateError(
                    f"The export {name} could not be examined: its engine ended, or did not answer "
                    f"in time ({error}).",
                    "Try again when the machine has less to do, or export with --no-check.",
                ) from None
            notes.append(self._told(name, rows))
        return tuple(notes)

    def compare(self, bot: Bot) -> tuple[Compared, ...]:
        """Any bot beside the run."""
        return self._compare(self._ask(bot))

    def _bots(self, made: Path, options: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        from ..bot import Bot

        if (made / "adapter_model.safetensors").is_file():
            yield "adapter", _kept(lambda: Bot.open(self.folder, adapter=made))
        for path in sorted(made.glob("*.gguf")):
            on = Path(options["base"]) if options.get("lora") else None
            yield path.name, over_llama(self.folder, on or path, path if on else None)
        if list(made.glob("model*.safetensors")):
            yield "merged", _kept(lambda: Bot.open(self.folder, merged=made))

    def _ask(self, bot: Bot) -> tuple[Reply, ...]:
        bot.mode = self.mode
        return tuple(bot.answer_all([(q.question, q.history) for q in self.questions]))

    def _compare(self, theirs: Sequence[Reply]) -> tuple[Compared, ...]:
        return tuple(
            self._one(asked, ours, other)
            for asked, ours, other in zip(self.questions, self.own, theirs, strict=True)
        )

    def _one(self, asked: ExamQuestion, ours: Reply, theirs: Reply) -> Compared:
        from ..score import facts

        same = ours.text == theirs.text and ours.handed_over == theirs.handed_over
        near = (
            ours.handed_over != theirs.handed_over
            and _meant(ours) == _meant(theirs) is not None
            and abs(ours.confidence - theirs.confidence) <= NEAR
        )
        lost: set[str] = set()
        if not same and not near:
            held = [facts(r.text, self._marker.names) for r in (ours, theirs)]
            # A person who is asked loses nobody's fact; an answer that lacks one, or has another's.
            lost = set() if theirs.handed_over else set(held[0] ^ held[1])
            if theirs.handed_over and self._marker.mark(asked, ours).right:
                lost = set(held[0])
        return Compared(
            asked.question,
            ours.text,
            theirs.text,
            same,
            near,
            tuple(sorted(lost)),
            round(ours.confidence, 4),
            round(theirs.confidence, 4),
        )

    def _told(self, name: str, rows: Sequence[Compared]) -> str:
        """One sentence; the rows go into the run's folder. Raises GateError."""
        same, near = sum(r.same for r in rows), sum(r.near for r in rows)
        lost = [r for r in rows if r.lost]
        place = self.folder.file(f"parity/{name}.{self.mode}.json")
        write_json(place, {"mode": self.mode, "questions": [dump(r) for r in rows]})
        told = f"{same} of {len(rows)} questions are answered by {name} as by the run"
        if lost or (same + near) / len(rows) < LEAST:
            first = (lost or [r for r in rows if not (r.same or r.near)])[0]
            raise GateError(
                f"The export answers otherwise than the run: {told}, and {len(lost)} lose a fact. "
                f"The first is {first.question!r}: {first.export[:60]!r}, not {first.run[:60]!r}.",
                f"Read {place}. Export in another form or in more bits, or with --no-check.",
            )
        at_edge = f"; {near} more differ only in being just sure enough" if near else ""
        return f"Exam ({self.mode}): {told}{at_edge}; no fact is lost.{_apart(rows)}"


@contextmanager
def over_llama(folder: RunFolder, file: Path, lora: Path | None = None) -> Iterator[Bot]:
    """A run's bot over its GGUF file in llama.cpp."""
    from ..bot import foreign

    with answering(folder, file, lora) as model:
        yield foreign(folder, model, model.prompt)


@contextmanager
def _kept(opened: Callable[[], Bot]) -> Iterator[Bot]:
    yield opened()


def _apart(rows: Sequence[Compared]) -> str:
    """How far rounding moved the confidences, where there are any: what the threshold's edge is."""
    moved = sorted(abs(r.confidence_run - r.confidence_export) for r in rows)
    if not moved or not any(r.confidence_run for r in rows):
        return ""
    most = moved[math.ceil(0.95 * len(moved)) - 1]
    return f" 95 of 100 are as sure as the run within {most:.3f}."


def _meant(reply: Reply) -> str | None:
    """The row that a reply gives, or would have given."""
    return reply.source or next(iter(reply.offered), None)
