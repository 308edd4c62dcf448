"""JSON and JSONL of the shapes that fine-tuning and FAQ tools write, as FAQ rows.

Flat records (question/answer, instruction/input/output, prompt/completion), chat records
(messages, ShareGPT; each turn is a pair), and any nesting of lists and groups of these.
Does not know how the text was stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import FaqError
from . import columns
from .parsed import Parsed, Row

DEPTH = 40
_ASKS = ("user", "human", "question", "customer", "client", "prompter", "顧客", "使用者", "用户")
_REPLIES = ("assistant", "gpt", "bot", "chatgpt", "model", "answer", "agent", "客服")
_ROLE_KEYS = ("role", "from", "speaker", "author")
_TEXT_KEYS = ("content", "value", "text", "message", "answer", "body")


def parse(text: str, where: str, lines: bool, question: str | None, answer: str | None) -> Parsed:
    """Rows of a JSON text. `lines`: one record a line is tried first, else one document."""
    remarks: list[str] = []
    records = _load(text, where, lines)
    walker = _Walker(question, answer)
    for number, record in records:
        walker.at = number
        walker.walk(record, None, 0, counted=number is not None)
    if not walker.rows or not walker.answer_key or not walker.question_key:
        raise _complain(where, [record for _, record in records], question, answer)
    if walker.turns > walker.conversations > 0:
        remarks.append(
            f"{walker.conversations} conversations were split into {walker.turns} turns, "
            "each turn a pair"
        )
    if walker.strange:
        remarks.append(
            f"{walker.strange} items were passed over, as they hold no question or answer"
        )
    shape = "jsonl" if lines else "json"
    kind = " of conversations" if walker.conversations else ""
    return Parsed(walker.rows, shape + kind, "", walker.question_key, walker.answer_key, remarks)


def _load(text: str, where: str, lines: bool) -> list[tuple[int | None, Any]]:
    """The records with their numbers: line numbers for JSONL, None for one whole document."""
    if not lines:
        try:
            return [(None, _decode(text))]
        except json.JSONDecodeError as error:
            if error.msg != "Extra data":
                raise _broken(where, error.lineno, error.colno, error.msg) from None
        except (RecursionError, ValueError) as error:
            raise _too_odd(where, error) from None
    records: list[tuple[int | None, Any]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append((number, _decode(line.strip())))
        except json.JSONDecodeError as error:
            if lines and not records:  # perhaps one document over many lines, misnamed
                try:
                    return [(None, _decode(text))]
                except (json.JSONDecodeError, RecursionError, ValueError):
                    pass
            raise _broken(where, number, error.colno, error.msg) from None
        except (RecursionError, ValueError) as error:
            raise _too_odd(where, error) from None
    return records


def _decode(text: str) -> Any:
    return json.loads(text, strict=False)  # raw line breaks inside strings do no harm


def _broken(where: str, line: int, column: int, why: str) -> FaqError:
    return FaqError(
        f"{where} is broken JSON at line {line}, column {column}: {why}.",
        "Mend that place; often a comma or a quotation mark is missing just before it.",
    )


def _too_odd(where: str, error: Exception) -> FaqError:
    why = (
        "is nested too deeply" if isinstance(error, RecursionError) else f"cannot be read: {error}"
    )
    return FaqError(f"{where} {why}.", "Save it as a list of objects with `question` and `answer`.")


def _complain(where: str, data: list[Any], question: str | None, answer: str | None) -> FaqError:
    keys: dict[str, None] = {}
    todo = data[:50]
    while todo and len(keys) < 20:
        node = todo.pop(0)
        if isinstance(node, dict):
            keys.update(dict.fromkeys(str(key)[:30] for key in node))
            todo.extend(list(node.values())[:5])
        elif isinstance(node, list):
            todo.extend(node[:5])
    there = (
        f" The fields found are: {', '.join(list(keys)[:20])}." if keys else " It has no fields."
    )
    named = [repr(name) for name in (question, answer) if name]
    if named:
        what = f"{where} has no field {' or '.join(named)}, or nothing beside it.{there}"
    else:
        what = f"{where} has no question field with an answer field that kefu knows by name.{there}"
    return FaqError(what, "Name them as they stand in the file: --question COLUMN --answer COLUMN.")


@dataclass(slots=True)
class _Walker:
    """Walks any nesting and gathers rows. `at` is the number of the item at hand."""

    question: str | None
    answer: str | None
    at: int | None = None
    rows: list[Row] = field(default_factory=list)
    question_key: str = ""
    answer_key: str = ""
    conversations: int = 0
    turns: int = 0
    strange: int = 0
    _count: int = 0

    def walk(self, node: Any, topic: str | None, depth: int, counted: bool = False) -> None:
        """`counted`: the item's number is known already (a line of JSONL)."""
        if depth > DEPTH:
            return
        if isinstance(node, list):
            self._walk_list(node, topic, depth)
        elif isinstance(node, dict) and not self._item(node, topic, counted):
            self._walk_group(node, topic, depth)

    def _walk_list(self, node: list[Any], topic: str | None, depth: int) -> None:
        if _is_conversation(node):
            self._next(counted=self.at is not None)
            self._conversation(node, {}, topic)
        elif node and all(_is_couple(item) for item in node) and not self.question:
            for item in node:
                self._next(counted=False)
                self._add(item[0], item[1], topic)
            self._named("item 1 of each list", "item 2 of each list")
        else:
            numbered = self.at is not None and depth == 0
            for item in node:
                if isinstance(item, (str, int, float)) and not isinstance(item, bool):
                    self.strange += depth == 0
                    self._next(counted=numbered)
                else:
                    self.walk(item, topic, depth + 1, counted=numbered)

    def _walk_group(self, node: dict[str, Any], topic: str | None, depth: int) -> None:
        texts = {k: v for k, v in node.items() if isinstance(v, str)}
        if (
            not self.question
            and len(texts) == len(node) > 0
            and all(columns.asks(key) for key in list(texts)[:20])
        ):
            for key, value in texts.items():
                self._next(counted=False)
                self._add(key, value, topic)
            self._named("key", "value")
            return
        own = self._value(node, "topic")
        nested = [(k, v) for k, v in node.items() if isinstance(v, (list, dict))]
        for key, inner in nested:
            # A group's name is a topic only where it is not the file's own word for its list.
            group = key if not key.isascii() and not columns.role(key) and len(nested) > 1 else None
            self.walk(inner, own or group or topic, depth + 1)

    def _item(self, node: dict[str, Any], topic: str | None, counted: bool) -> bool:
        """Takes an object that is itself a row or a conversation."""
        for value in node.values():
            if isinstance(value, list) and _is_conversation(value) and not self.question:
                self._next(counted)
                self._conversation(value, node, self._value(node, "topic") or topic)
                return True
        ask, reply = self._key(node, "question"), self._key(node, "answer")
        context = self._key(node, "input")
        if node.get("@type") == "Question" and ask is None and "name" in node:  # schema.org FAQPage
            ask = "name"
        if ask is None and self.question is None:
            ask, context = context, None
        if (ask is None or not _has_text(node[ask])) and (
            reply is None or not _has_text(node[reply]) or ask is not None
        ):
            return False
        if ask is None and not self.question_key and len(node) > 1 and self.question is None:
            return False  # an `output` without any question is some other record
        self._next(counted)
        asked = list(_texts(node[ask])) if ask else []
        answers = "\n".join(_texts(node[reply])) if reply else ""
        more = [
            w for key in self._keys(node, "wordings") for t in _texts(node[key]) for w in _cut(t)
        ]
        self._add(
            asked[0] if asked else "",
            answers,
            self._value(node, "topic") or topic,
            input="\n".join(_texts(node[context])) if context else "",
            wordings=(*asked[1:], *more),
            must_pass=columns.true(self._value(node, "must_pass") or ""),
        )
        self._named(ask or "", reply or "")
        return True

    def _conversation(self, turns: list[Any], holder: dict[str, Any], topic: str | None) -> None:
        """Each question with the answer that follows it; system and tool turns are passed over."""
        self.conversations += 1
        pairs: list[tuple[list[str], list[str]]] = []
        for turn in turns:
            key = next(k for k in _ROLE_KEYS if k in turn)
            who = str(turn[key]).strip()
            body = "\n".join(t for k in _TEXT_KEYS if k in turn for t in _texts(turn[k]))
            list_name = next((k for k, v in holder.items() if v is turns), "messages")
            label = f"{list_name}[{who}]" if key == "role" else who
            if who.lower() in _ASKS:
                if not pairs or pairs[-1][1]:
                    pairs.append(([], []))
                pairs[-1][0].append(body)
                self._named(label, "")
            elif who.lower() in _REPLIES and pairs:
                pairs[-1][1].append(body)
                self._named("", label)
        more = [
            w
            for name in self._keys(holder, "wordings")
            for t in _texts(holder[name])
            for w in _cut(t)
        ]
        for place, (asked, replied) in enumerate(pairs):
            self.turns += 1
            self._add(
                "\n".join(asked),
                "\n".join(replied),
                topic,
                wordings=tuple(more) if place == 0 else (),
                must_pass=columns.true(self._value(holder, "must_pass") or ""),
            )

    def _next(self, counted: bool) -> None:
        self._count += 1
        if not counted:
            self.at = self._count

    def _named(self, question: str, answer: str) -> None:
        self.question_key = self.question_key or question
        self.answer_key = self.answer_key or answer

    def _add(self, question: Any, answer: Any, topic: str | None, **rest: Any) -> None:
        row = Row(str(question), str(answer), self.at or self._count, topic=topic, **rest)
        if row.question.strip() or row.answer.strip() or row.input.strip():
            self.rows.append(row)

    def _key(self, node: dict[str, Any], role: columns.Role) -> str | None:
        by_hand = {"question": self.question, "answer": self.answer}.get(role)
        if by_hand is not None:
            return by_hand if by_hand in node else None
        return next(iter(self._keys(node, role)), None)

    def _keys(self, node: dict[str, Any], role: columns.Role) -> list[str]:
        names = [str(key) for key in node]
        taken = {self.question, self.answer}
        places = columns.find(names).get(role, [])
        return [names[i] for i in places if names[i] not in taken]

    def _value(self, node: dict[str, Any], role: columns.Role) -> str | None:
        for key in self._keys(node, role):
            return ", ".join(_texts(node[key])) or None
        return None


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """The texts of a value: itself, of a list, or of objects such as {"text": …}."""
    if isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, (str, int, float)):
        if str(value).strip():
            yield str(value)
    elif isinstance(value, list) and depth < 4:
        for item in value:
            yield from _texts(item, depth + 1)
    elif isinstance(value, dict) and depth < 4:
        for key in _TEXT_KEYS:
            if key in value:
                yield from _texts(value[key], depth + 1)
                return


def _has_text(value: Any) -> bool:
    """Whether a value is text (perhaps empty) rather than a list of further records."""
    if value is None or isinstance(value, (str, int, float)):
        return True
    if isinstance(value, list):
        return not value or (next(_texts(value), None) is not None and not _holds_rows(value))
    return isinstance(value, dict) and next(_texts(value), None) is not None


def _holds_rows(value: list[Any]) -> bool:
    first = value[0]
    return isinstance(first, dict) and "question" in columns.find([str(key) for key in first])


def _cut(text: str) -> tuple[str, ...]:
    return columns.split_wordings(text)


def _is_couple(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and all(isinstance(part, str) for part in item)


def _is_conversation(value: list[Any]) -> bool:
    known = (*_ASKS, *_REPLIES, "system", "tool", "function", "developer", "observation")
    return bool(value) and all(
        isinstance(turn, dict)
        and any(str(turn.get(key, "")).strip().lower() in known for key in _ROLE_KEYS)
        for turn in value
    )
