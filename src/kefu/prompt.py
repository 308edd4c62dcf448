"""The one place that turns (persona, history, question) into what the model reads.

A template is a Jinja chat template that lives inside the tokenizer, so that training, the bot,
the server, every export and every foreign engine render the same text. Torch-free; knows
tokenizers only by the few methods that it calls.

What it does not know: where a foreign engine adds a default system prompt or a second
beginning-of-text token of its own. The export's parity gate compares token ids for that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .errors import BaseError, SettingsError
from .records import Example, Plan, Shown, Turn

IGNORED = -100
"""The label of a token that is not to be learned (torch's and transformers' convention)."""

# Both templates end a turn with the tokenizer's own end-of-text token: engines stop there without
# being told. `{{-` and `-}}` matter: one blank more in serving than in training is another prompt.
_PLAIN = (
    "{{- bos_token if bos_token else '' -}}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{- message['content'] + '\n' -}}"
    "{%- elif message['role'] == 'user' -%}{{- '問：' + message['content'] + '\n' -}}"
    "{%- else -%}{{- '答：' + message['content'] + eos_token + '\n' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '答：' -}}{%- endif -%}"
)
_INSTRUCTION = (
    "{{- bos_token if bos_token else '' -}}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{- message['content'] + '\n\n' -}}"
    "{%- elif message['role'] == 'user' -%}{{- '### 指令：\n' + message['content'] + '\n\n' -}}"
    "{%- else -%}{{- '### 回應：\n' + message['content'] + eos_token + '\n\n' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '### 回應：\n' -}}{%- endif -%}"
)
TEMPLATES = {"plain": _PLAIN, "instruction": _INSTRUCTION}
"""Templates of kefu's own, by name. `chat` means the one that the base brings."""

NEXT_TURN = {"plain": "\n問：", "instruction": "\n### 指令："}
"""How a template of kefu's own opens the customer's next turn. A base that was not trained knows
no terminator, but it goes on to this: there its answer is over, as in every hand-made RAG prompt.
A template that the base brings ends a turn with a token of the base's own."""
BRIEF = 6
"""Tokens of the answer that a brief row learns."""
_NUMBERED, _ASKED = "【{}】", "【問】"
_FORGED = re.compile(r"【(?:\d+|問)】")
"""What marks a row and the question in open book: a customer's own is struck out."""
_ANSWER = "一二三四五六七八九十"  # stands for an answer while the terminator is looked up


@dataclass(frozen=True, slots=True)
class Row:
    """One training row. `labels` equals `ids` where the answer (and its terminator) stands."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def labelled(self) -> int:
        """Tokens whose prediction is learned."""
        return sum(label != IGNORED for label in self.labels)


class Prompt:
    """A tokenizer with its template, the persona and the hand-over sentence.

    The template goes into the tokenizer, and is saved with it. Raises BaseError when the
    template asked for is `chat` and the base brings none.
    """

    def __init__(
        self, tokenizer: Any, template: str, *, persona: str = "", hand_over: str = ""
    ) -> None:
        if template in TEMPLATES:
            tokenizer.chat_template = TEMPLATES[template]
        elif template != "chat":
            names = ", ".join((*TEMPLATES, "chat"))
            raise SettingsError(f"There is no prompt template {template!r}.", f"Known: {names}.")
        elif not tokenizer.chat_template:
            raise BaseError(
                "This base brings no chat template.", "Use the template `plain`, or another base."
            )
        self.tokenizer = tokenizer
        self.template = template
        self.persona = persona
        self.hand_over = hand_over

    @classmethod
    def of_plan(cls, tokenizer: Any, plan: Plan) -> Prompt:
        """The prompt of a run: the same in training, in the bot, and in every export."""
        return cls(
            tokenizer,
            plan.template.value,
            persona=plan.persona.value,
            hand_over=plan.hand_over.value,
        )

    # --- what the model reads -------------------------------------------------

    def messages(
        self, question: str, history: Sequence[Turn] = (), rows: Sequence[Shown] = ()
    ) -> list[dict[str, str]]:
        """The conversation in the field's usual form, the persona first where there is one.

        In open book `rows` stand in the customer's last turn, before the question, so that no
        template and no engine needs to know of them.
        """
        said = [{"role": "system", "content": self.persona}] if self.persona else []
        for asked, answered in history:
            said.append({"role": "user", "content": self._disarmed(asked)})
            said.append({"role": "assistant", "content": answered})
        last = self._disarmed(question)
        if rows:
            numbered = (
                _NUMBERED.format(number) + "\n".join(self._disarmed(part) for part in row if part)
                for number, row in enumerate(rows, 1)
            )
            last = "\n".join([*numbered, _ASKED + _FORGED.sub(" ", last)])
        return [*said, {"role": "user", "content": last}]

    def _disarmed(self, text: str) -> str:
        """What a customer wrote, without the tokens that end a turn or begin another's."""
        if self._openings.isdisjoint(text):  # as nearly all; a base may have thousands of tokens
            return text
        for token in self._control:
            text = text.replace(token, " ")
        return text

    @cached_property
    def _openings(self) -> frozenset[str]:
        return frozenset(token[:1] for token in self._control)

    @cached_property
    def _control(self) -> tuple[str, ...]:
        added = getattr(self.tokenizer, "added_tokens_decoder", {}).values()
        return tuple(str(token) for token in added if token.special)

    def text(self, question: str, history: Sequence[Turn] = (), rows: Sequence[Shown] = ()) -> str:
        """The prompt up to where the answer begins."""
        return self.render(self.messages(question, history, rows))

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """Any conversation whose next turn is the assistant's, as text."""
        text: str = self.tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True, **self._silent
        )
        return text

    def ids(
        self, question: str, history: Sequence[Turn] = (), rows: Sequence[Shown] = ()
    ) -> list[int]:
        """The prompt as token ids. The template writes special tokens, the tokenizer none."""
        return self.encode(self.text(question, history, rows))

    def encode(self, text: str) -> list[int]:
        """Text as token ids, without any special token that the text does not hold."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids as text, special tokens left out."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def answer_ids(self, answer: str | None) -> list[int]:
        """An answer (None: the hand-over sentence) with its terminator.

        Tokenised apart from the prompt, as it will be generated.
        """
        text = self.hand_over if answer is None else answer
        return [*self.encode(text.strip()), self.terminator]

    def fit(
        self, question: str, history: Sequence[Turn], room: int, rows: Sequence[Shown] = ()
    ) -> tuple[list[int], tuple[Turn, ...]]:
        """The prompt in at most `room` tokens, and the turns that were kept, oldest dropped first,
        then the last of the `rows`.

        A question that is too long by itself is returned as it is: the caller decides.
        """
        kept, rows = tuple(history), tuple(rows)
        while True:
            ids = self.ids(question, kept, rows)
            if len(ids) <= room or not (kept or rows):
                return ids, kept
            kept, rows = (kept[1:], rows) if kept else (kept, rows[:-1])

    def shortened(self, question: str, room: int) -> list[int]:
        """The prompt of as much of a question's beginning as fits in `room` tokens."""
        ids = self.ids(question)
        while len(ids) > room and question:
            question = question[: min(len(question) - 1, len(question) * room // len(ids))]
            ids = self.ids(question)
        return ids

    # --- what the model learns ------------------------------------------------

    def row(self, example: Example, *, answer_only: bool = True) -> Row:
        """A training row; with `answer_only` the prompt is read but not learned.

        Of a `brief` example only the answer's beginning is there: what tells it from others. Its
        whole answer, terminator included, is learned from the other wordings of its question.
        """
        prompt = self.ids(example.question, example.history, example.shown)
        answer = self.answer_ids(example.answer)
        if example.brief:
            answer = answer[: min(BRIEF, len(answer) - 1)]
        hidden = [IGNORED] * len(prompt) if answer_only else prompt
        return Row((*prompt, *answer), (*hidden, *answer))

    # --- where an answer ends -------------------------------------------------

    @cached_property
    def terminator(self) -> int:
        """The id of the token that ends an answer: what the template writes after one."""
        if self.template != "chat":
            return self._eos()
        messages = self.messages("?")
        whole: str = self.tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": _ANSWER}], tokenize=False, **self._silent
        )
        _, _, after = whole.rpartition(_ANSWER)
        if not after.strip():
            return self._eos()
        first: int = self.encode(after.lstrip())[0]
        return first

    def ended(self, ids: Sequence[int]) -> bool:
        """Whether an answer is over: by its terminator, or since the next turn has begun."""
        if ids and ids[-1] == self.terminator:
            return True
        opening = NEXT_TURN.get(self.template)
        return opening is not None and opening in self.decode(ids)

    def said(self, ids: Sequence[int]) -> str:
        """The answer's text: without special tokens, the next turn, and blanks at its ends."""
        text = self.decode(ids)
        opening = NEXT_TURN.get(self.template)
        return (text.partition(opening)[0] if opening else text).strip()

    def unsettled(self, text: str) -> bool:
        """Whether more tokens may take back the end of `text`: half a character, half an opening.

        What streams waits for them.
        """
        opening = NEXT_TURN.get(self.template, "")
        return text.endswith("\ufffd") or any(
            text.endswith(opening[:size]) for size in range(2, len(opening))
        )

    def _eos(self) -> int:
        found = self.tokenizer.eos_token_id
        if found is None:
            raise BaseError(
                "The base's tokenizer has no end-of-text token, so answers would not stop.",
                "Choose another base.",
            )
        return int(found)

    @cached_property
    def _silent(self) -> dict[str, Any]:
        # Reasoning models write an empty thought when told to, the same in training and serving.
        template = self.tokenizer.chat_template
        return {"enable_thinking": False} if "enable_thinking" in str(template) else {}
