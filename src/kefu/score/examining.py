"""Puts an exam to a bot and marks what comes back, on disk as it comes.

A killed exam goes on where it was: each verdict is one line, and a torn last line is dropped.
Stored replies are marked anew, so that a better marker or a mended FAQ needs no new answers.
Knows no bot: it is handed a callable.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from ..errors import RunError
from ..records import ExamQuestion, Faq, Reply, Verdict, digest
from ..workspace import cannot_write, dump, parse
from .marking import Marker

Answer = Callable[[Sequence[ExamQuestion]], Iterable[Reply]]
"""Answers questions in their order, yielding each reply as soon as it is there."""


def key(asked: ExamQuestion) -> str:
    """What identifies a question within an exam: its words and what was said before."""
    return digest([asked.question, [list(turn) for turn in asked.history]])


def examine(
    answer: Answer,
    exam: Sequence[ExamQuestion],
    faq: Faq,
    *,
    run: str = "",
    to: Path | None = None,
    on_verdict: Callable[[Verdict, int, int], None] | None = None,
    marker: Marker | None = None,
) -> tuple[Verdict, ...]:
    """All questions with their replies and marks, in the exam's order.

    With `to`, a JSONL file, every verdict is on disk before the next is asked for, and those that
    lie there already are not asked for again. `on_verdict(verdict, done, of)` is called for each
    new one. Raises RunError when `to` holds another run's replies, cannot be read or written, or
    when `answer` gives fewer or more replies than there are questions.
    """
    marker = marker or Marker(faq)
    replies = _stored(to, run) if to else {}
    keys = [key(asked) for asked in exam]
    first = dict(zip(reversed(keys), reversed(exam), strict=True))  # asked twice: answered once
    open_ones = [(k, first[k]) for k in dict.fromkeys(keys) if k not in replies]
    done = len(first) - len(open_ones)
    file = _opened(to) if to else None
    fresh: dict[str, Verdict] = {}
    try:
        for (k, asked), reply in _paired(answer, open_ones):
            replies[k] = reply
            fresh[k] = verdict = Verdict(asked, reply, marker.mark(asked, reply))
            done += 1
            if file and to:
                _write(file, to, {"key": k, "run": run, "verdict": dump(verdict)})
            if on_verdict:
                on_verdict(verdict, done, len(first))
    finally:
        if file:
            file.close()
    return tuple(
        fresh[k]
        if k in fresh and fresh[k].asked == asked
        else Verdict(asked, replies[k], marker.mark(asked, replies[k]))
        for k, asked in zip(keys, exam, strict=True)
    )


def _paired(
    answer: Answer, open_ones: Sequence[tuple[str, ExamQuestion]]
) -> Iterator[tuple[tuple[str, ExamQuestion], Reply]]:
    if not open_ones:
        return
    stream = iter(answer([asked for _, asked in open_ones]))
    for done, one in enumerate(open_ones):
        try:
            reply = next(stream)
        except StopIteration:
            raise RunError(
                f"The bot answered {done} of {len(open_ones)} questions and then stopped.",
                "Run the exam again: it goes on where it was.",
            ) from None
        yield one, reply
    if next(stream, None) is not None:
        raise RunError(
            f"The bot gave more replies than the {len(open_ones)} questions that it was asked.",
            "Report this: its replies cannot be told apart.",
        )


def _stored(path: Path, run: str) -> dict[str, Reply]:
    """The replies that lie on disk. Cuts a torn last line off the file."""
    found: dict[str, Reply] = {}
    good = at = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                at += len(line)
                if not line.endswith(b"\n"):
                    break  # torn when the machine stopped
                good = at
                try:
                    data = json.loads(line)
                    stored, reply = str(data["key"]), parse(Reply, data["verdict"]["reply"])
                except (ValueError, KeyError, TypeError, ValidationError):
                    continue  # damaged: asked again
                if data.get("run") != run:
                    raise RunError(
                        f"{path} line {number} holds a reply of the run {data.get('run')!r}, "
                        f"not of {run!r}.",
                        "Name another file, or delete this one.",
                    )
                found[stored] = reply
        if good < at:
            with path.open("r+b") as file:
                file.truncate(good)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.", "Check the file.") from None
    return found


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8", newline="\n")
    except OSError as error:
        raise cannot_write(path, error) from None


def _write(file: TextIO, path: Path, line: dict[str, Any]) -> None:
    try:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
    except OSError as error:
        raise cannot_write(path, error) from None
