"""What keyboards and haste do to a question: typing errors, dropped marks, the other script.

Knows no words beyond its list of slips; never touches digits and Latin letters in Chinese.
"""

from __future__ import annotations

import random
import re
from functools import cache

from .registry import Draft, Generator, Rule, lines, make, on_side
from .script import convert
from .shells import kind_of

_END = re.compile(r"[\s？?。！!.]+$")
_INNER = re.compile(r"[，,、。？?！!；;：:]\s*")
_MARKS: dict[Generator, Rule[str]] = {
    "train": Rule("punctuation:end dropped", "end", "train"),
    "exam": Rule("punctuation:spaces for marks", "spaces", "exam"),
}
_SCRIPTS: dict[Generator, Rule[str]] = {
    "train": Rule("script:t2s", "t2s", "train"),
    "exam": Rule("script:tw2sp", "tw2sp", "exam"),
}


@cache
def slips() -> tuple[Rule[tuple[str, str]], ...]:
    """Pairs (right, as typed) of the shipped list; `right > typed | typed` a line."""
    made = []
    for line in lines("typing_zh.txt"):
        right, _, typed = (part.strip() for part in line.partition(">"))
        for wrong in typed.split("|"):
            made.append(make("typing", f"{right}>{wrong.strip()}", (right, wrong.strip())))
    return tuple(made)


def typing(draft: Draft, rng: random.Random, side: Generator) -> Draft:
    """One slip of a bopomofo or pinyin keyboard, where the text holds a word that invites it."""
    fit = [rule for rule in on_side(slips(), side) if rule.payload[0] in draft.text]
    if not fit:
        return draft
    rule = rng.choice(fit)
    right, wrong = rule.payload
    places = [m.start() for m in re.finditer(re.escape(right), draft.text)]
    at = rng.choice(places)
    return draft.after(draft.text[:at] + wrong + draft.text[at + len(right) :], rule.name)


def mark(text: str, rng: random.Random) -> str:
    """The text with the mark that its last sentence asks for; doubled ones and spaces mended."""
    end = _END.sub("", text)
    if text != end and text.endswith(("？？", "～", " ")):
        return text.strip()
    if kind_of(re.split(r"[？?。]", end)[-1]) == "say":
        return end
    return f"{end}？" if rng.random() < 0.8 else f"{end}?"


def punctuation(draft: Draft, side: Generator) -> Draft:
    """Without the closing mark (train), or with spaces for all marks (exam)."""
    rule = _MARKS[side]
    text = _END.sub("", draft.text)
    if rule.payload == "spaces":
        text = _INNER.sub(" ", text).strip()
    return draft if text == draft.text else draft.after(text, rule.name)


def script(draft: Draft, simplified: bool, side: Generator) -> Draft:
    """In the other script than the row's: Simplified, or Traditional for a Simplified FAQ."""
    if simplified:
        return draft  # the text is Traditional at this point
    rule = _SCRIPTS[side]
    text = convert(draft.text, rule.payload)
    return draft if text == draft.text else draft.after(text, rule.name)


def rules() -> list[Rule[str]]:
    """Every rule of this file, of both sides; payloads as text."""
    sides = [*_MARKS.values(), *_SCRIPTS.values()]
    return sides + [Rule(r.name, ">".join(r.payload), r.side) for r in slips()]
