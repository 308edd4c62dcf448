"""Reads and writes exam.jsonl: one question a line, made by kefu or by hand.

Knows the form of an exam and whether it fits an FAQ; not whether a hand-over is deserved.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from ..errors import ExamError
from ..recall import normalise
from ..records import KINDS, Example, ExamQuestion, Faq, Kind, Turn
from .likeness import key

HAND_OVER: tuple[Kind, ...] = ("near-miss", "out-of-scope")
"""Kinds whose answer is always a person's."""
_FIELDS = {
    "question",
    "kind",
    "answer",
    "source",
    "history",
    "must_not",
    "must_pass",
    "note",
    "by",
}
_SHOWN = 20


def write(path: Path, questions: Iterable[ExamQuestion]) -> None:
    """Writes an exam; the same questions give the same bytes. Empty fields are left out.

    Raises ExamError when the file cannot be written.
    """
    lines = []
    for q in questions:
        row: dict[str, Any] = {"question": q.question, "kind": q.kind, "answer": q.answer}
        if q.source is not None:
            row["source"] = q.source
        if q.history:
            row["history"] = [list(turn) for turn in q.history]
        if q.must_not is not None:
            row["must_not"] = q.must_not
        if q.must_pass:
            row["must_pass"] = True
        if q.note:
            row["note"] = q.note
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")
        temporary.replace(path)
    except OSError as error:
        raise ExamError(f"{path} cannot be written: {error}.", "Check the folder.") from None


def read(path: Path, faq: Faq, trained: Iterable[Example | str] = ()) -> tuple[ExamQuestion, ...]:
    """An exam from its file, checked against the FAQ and against what was trained.

    `trained`: the training rows (or their questions). A `known` question may be among them;
    any other that is, word for word but for script, width and punctuation, is refused. Of two
    rows with the same question and history the one that a person wrote (`"by": "hand"`) wins,
    else the later one: append your own rows to a made exam.

    Raises ExamError that names every row at fault and why.
    """
    learned = {
        key(t if isinstance(t, str) else t.question): (t if isinstance(t, str) else t.question)
        for t in trained
        if isinstance(t, str) or not t.history
    }
    checker = _Checker(faq, learned)
    rows: dict[tuple[str, tuple[Turn, ...]], tuple[bool, ExamQuestion]] = {}
    complaints: list[str] = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            detail = error.msg if isinstance(error, json.JSONDecodeError) else "too deep"
            complaints.append(f"line {number} is not valid JSON ({detail})")
            continue
        question, wrong = checker.check(row)
        complaints.extend(f"line {number} {fault}" for fault in wrong)
        if question is None or wrong:
            continue
        place = (key(question.question), question.history)
        by_hand = row.get("by") == "hand"
        if place in rows and rows[place][0] and not by_hand:
            continue
        rows[place] = (by_hand, question)
    if not rows and not complaints:
        raise ExamError(f"{path} holds no question.", "Run `kefu exam` to make an exam.")
    if complaints:
        raise ExamError(f"{path}: {_gather(complaints)}.", "Mend or delete these lines.")
    return tuple(question for _, question in rows.values())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise ExamError(f"{path} does not exist.", "Run `kefu exam` to make one.") from None
    except UnicodeDecodeError as error:
        raise ExamError(f"{path} is not UTF-8 (byte {error.start}).", "Save it as UTF-8.") from None
    except OSError as error:
        raise ExamError(f"{path} cannot be read: {error}.", "Check the file.") from None


def _gather(complaints: list[str]) -> str:
    rest = len(complaints) - _SHOWN
    more = f"; and {rest} more" if rest > 0 else ""
    return "; ".join(complaints[:_SHOWN]) + more


class _Checker:
    def __init__(self, faq: Faq, learned: dict[str, str]) -> None:
        self._answers = {_plain(p.answer): p.answer for p in faq.pairs}
        self._sources: dict[str, set[str]] = {}
        for p in faq.pairs:
            self._sources.setdefault(_plain(p.question), set()).add(_plain(p.answer))
        self._learned = learned

    def check(self, row: object) -> tuple[ExamQuestion | None, list[str]]:
        """The row as a question, or None, and what is wrong with it."""
        if not isinstance(row, dict):
            return None, ["is not an object with `question`, `kind` and `answer`"]
        wrong: list[str] = []
        question, kind, answer = row.get("question"), row.get("kind"), row.get("answer")
        if not isinstance(question, str) or not question.strip():
            return None, ["has no `question`"]
        if kind not in KINDS:
            known = ", ".join(KINDS)
            wrong.append(f"has the unknown kind {kind!r} (there are {known})")
        if "answer" not in row:
            wrong.append("has no `answer` (null means: hand over to a person)")
        for name in ("source", "must_not", "note"):
            if not isinstance(row.get(name, ""), str | None):
                wrong.append(f"has a `{name}` that is not text")
        if not isinstance(row.get("must_pass", False), bool):
            wrong.append("has a `must_pass` that is neither true nor false")
        unknown = sorted(set(row) - _FIELDS)
        if unknown:
            wrong.append(f"has the unknown field {', '.join(map(repr, unknown))}")
        history, fault = _history(row.get("history"))
        wrong.extend(fault)
        if not wrong:
            wrong.extend(self._fits(question, cast(Kind, kind), answer, row.get("source"), history))
        if wrong:
            return None, wrong
        return (
            ExamQuestion(
                question,
                cast(Kind, kind),
                self._answers[_plain(answer)] if answer is not None else None,
                row.get("source"),
                history,
                row.get("must_not"),
                row.get("must_pass", False),
                row.get("note") or "",
            ),
            [],
        )

    def _fits(
        self, question: str, kind: Kind, answer: object, source: str | None, history: object
    ) -> list[str]:
        wrong = []
        if answer is None:
            if kind in ("known", "reworded"):
                wrong.append(f"is {kind} but has no answer (null means: hand over)")
        elif not isinstance(answer, str):
            wrong.append("has an `answer` that is not text")
        elif kind in HAND_OVER:
            wrong.append(f"is {kind} but has an answer; it must be null")
        elif _plain(answer) not in self._answers:
            wrong.append(f"has an answer that the FAQ does not have ({_short(answer)})")
        elif source and _plain(answer) not in self._sources.get(_plain(source), {_plain(answer)}):
            wrong.append(f"has an answer that is not the FAQ's for {_short(source)}")
        if kind != "known" and not history and key(question) in self._learned:
            wrong.append(f"was trained on ({_short(self._learned[key(question)])})")
        return wrong


def _plain(text: str) -> str:
    return normalise(text).replace(" ", "")


def _short(text: str) -> str:
    return repr(text if len(text) <= 30 else text[:29] + "…")


def _history(value: object) -> tuple[tuple[Turn, ...], list[str]]:
    """Past turns as [question, answer] pairs, or as messages with `role` and `content`."""
    fault = ["has a `history` that is neither [question, answer] pairs nor messages"]
    if value is None:
        return (), []
    if not isinstance(value, list):
        return (), fault
    if all(
        isinstance(t, list) and len(t) == 2 and all(isinstance(x, str) for x in t) for t in value
    ):
        return tuple((t[0], t[1]) for t in value), []
    if not all(isinstance(m, dict) and isinstance(m.get("content"), str) for m in value):
        return (), fault
    said = [(m.get("role"), m["content"]) for m in value if m.get("role") != "system"]
    roles = [role for role, _ in said]
    if roles != ["user", "assistant"] * (len(said) // 2):
        return (), ["has a `history` whose messages do not go user, assistant, user, assistant"]
    return tuple((said[i][1], said[i + 1][1]) for i in range(0, len(said), 2)), []
