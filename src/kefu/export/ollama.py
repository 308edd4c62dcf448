"""A folder that `ollama create` takes: the GGUF file and a Modelfile.

Ollama does not read the chat template of a GGUF file but wants one in Go's template language. It
is found by rendering conversations with marked messages and cutting out what stands between
them; then it is checked on other conversations, and a template that does more than put text
around messages is refused. Does not know Ollama's own joining of two messages of one role.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import takewhile

from ..errors import BaseError
from .source import Source

_MARKS = ("\u4e00甲\u4e00", "\u4e00乙\u4e00", "\u4e00丙\u4e00")
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Pieces:
    """The text around messages. `system` None: the template has no place of its own for one."""

    start: str
    user: tuple[str, str]
    assistant: tuple[str, str]
    answer: str
    """What stands at the end, before the answer."""
    system: tuple[str, str] | None

    def render(self, messages: list[Message]) -> str:
        """What the Go template writes."""
        text = ""
        for i, message in enumerate(messages):
            if message["role"] == "system":
                before, after = self.system or ("", "")
            else:
                text += self.start if i == 0 else ""
                before, after = self.user if message["role"] == "user" else self.assistant
            text += before + message["content"] + after
        return text + self.answer

    def go(self) -> str:
        """The same in Go's template language.

        Every literal is quoted and every action begins with `{{-`, which swallows the line break
        before it: nothing is said that is not meant.
        """
        parts = ["{{- range $i, $m := .Messages }}"]
        if self.system is not None:
            before, after = self.system
            parts += [
                '{{- if eq $m.Role "system" }}',
                _put(before) + "{{- $m.Content }}" + _put(after),
                "{{- else }}",
            ]
        parts += [
            "{{- if eq $i 0 }}" + _put(self.start) + "{{- end }}",
            '{{- if eq $m.Role "user" }}',
            _put(self.user[0]) + "{{- $m.Content }}" + _put(self.user[1]),
            '{{- else if eq $m.Role "assistant" }}',
            _put(self.assistant[0]) + "{{- $m.Content }}" + _put(self.assistant[1]),
            "{{- end }}",
        ]
        if self.system is not None:
            parts.append("{{- end }}")
        return "\n".join([*parts, "{{- end }}" + _put(self.answer)])


def _put(text: str) -> str:
    if not text:
        return ""
    quoted = json.dumps(text, ensure_ascii=False)
    return "{{- " + quoted.replace('\\"', "\\u0022") + " }}"  # no """ may arise in a Modelfile


def pieces(source: Source) -> Pieces:
    """Of the run's own template. Raises BaseError when it does more than surround messages."""
    one, two, three = _MARKS
    first, inner, again, last = _cut(
        source, [_said("user", one), _said("assistant", two), _said("user", three)], _MARKS
    )
    before_user = _shared(first[::-1], again[::-1])[::-1]
    after_user = _shared(inner, last)
    found = Pieces(
        start=first.removesuffix(before_user),
        user=(before_user, after_user),
        assistant=(inner.removeprefix(after_user), again.removesuffix(before_user)),
        answer=last.removeprefix(after_user),
        system=_system(source, before_user),
    )
    for messages in _conversations(found.system is not None):
        if found.render(messages) != _render(source, messages):
            raise BaseError(
                "The base's chat template does more than put text around messages, so it has no "
                "equal in Ollama.",
                "Export the run as `gguf`; llama.cpp runs the template as it is.",
            )
    return found


def _shared(one: str, two: str) -> str:
    """The beginning that both have."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False))
    return "".join(a for a, _ in pairs)


def _system(source: Source, before_user: str) -> tuple[str, str] | None:
    one, two, _ = _MARKS
    try:
        before, after, _ = _cut(source, [_said("system", one), _said("user", two)], (one, two))
    except BaseError:
        return None
    if not after.endswith(before_user):
        return None
    return before, after.removesuffix(before_user)


def _said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _conversations(system: bool) -> list[list[Message]]:
    asked, told = _said("user", "Where? 在哪？"), _said("assistant", "Here, 這裡。")
    turns = [[asked], [asked, told, asked], [asked, told, asked, told, asked]]
    if system:
        turns += [[_said("system", "Be kind."), *turn] for turn in turns]
    return turns


def _render(source: Source, messages: list[Message]) -> str:
    text: str = source.prompt.tokenizer.apply_chat_template(
        messages,
        tokenize=False,
        add_generation_prompt=True,
        chat_template=source.chat_template,
    )
    return text


def _cut(source: Source, messages: list[Message], marks: tuple[str, ...]) -> list[str]:
    """The text between the marks. Raises BaseError when a mark does not come out just once."""
    try:
        text = _render(source, messages)
    except Exception as error:  # a template may refuse a role in any way it likes
        raise BaseError(f"The chat template refuses: {error}.", "Export as `gguf`.") from None
    found = []
    for mark in marks:
        before, hit, text = text.partition(mark)
        if not hit or mark in text:
            raise BaseError(
                "The base's chat template changes what is said, so it has no equal in Ollama.",
                "Export the run as `gguf`; llama.cpp runs the template as it is.",
            )
        found.append(before)
    return [*found, text]


def modelfile(source: Source, name: str) -> str:
    """The Modelfile for the GGUF file `name` beside it."""
    prompt = source.prompt
    stop = prompt.tokenizer.convert_ids_to_tokens(prompt.terminator)
    room = max(2048, source.plan.max_length.value * 2)
    licence = f"{source.base.licence} {source.base.licence_link}\n{source.base.notice}".strip()
    quoted = licence.replace('"""', "'''")
    return f'''# {source.name}, fine-tuned by kefu. In this folder: ollama create NAME -f Modelfile
FROM ./{name}
TEMPLATE """{pieces(source).go()}"""
PARAMETER stop {json.dumps(stop, ensure_ascii=False)}
PARAMETER temperature 0
# Ollama's own penalty would change words that an answer must repeat, such as numbers.
PARAMETER repeat_penalty 1
PARAMETER num_ctx {room}
LICENSE """{quoted}"""
'''
