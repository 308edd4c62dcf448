"""What people say before and after the question itself: politeness, openings, particles.

Knows three sorts of sentence by their last and first letters: one that asks with 嗎, one that
asks with a question word, and one that asks nothing.
"""

from __future__ import annotations

import random
import re
from functools import cache

from .registry import Draft, Generator, Rule, lines, make, on_side

_BEFORE = re.compile(
    r"^(?:您好|你好|哈囉|不好意思|請問一下|請問|想請問|想請教|請教|想問一下|想問|我想問|我想請問|關於)+[，,：:\s]*"
)
_AFTER = re.compile(r"[\s？?。！!~～.]+$")
_ASKS = re.compile(r"[嗎ㄇ]$|行不行$|可以不$")
_OPEN = re.compile(
    r"怎麼|怎樣|什麼|甚麼|哪|多久|多少|幾|誰|如何|何時|何處|為何|何|是不是|會不會|能不能|可不可以|有沒有|要不要|"
    r"需不需要|是否|可否|能否|有無"
)
_POLITE = re.compile(
    r"請問|想問|請教|想知道|想了解|告訴我|不知道|不懂|找不到|不好意思|你好|您好|說明一下"
)


def bare(text: str) -> str:
    """The question without greeting, closing mark and thanks."""
    text = _AFTER.sub("", text.strip())
    text = re.sub(r"[，,。\s]*謝謝[您你]?$", "", text)
    short = _BEFORE.sub("", text)
    return _AFTER.sub("", short) if len(short) >= 3 else text


def kind_of(text: str) -> str:
    """`ask` (ends in 嗎), `open` (holds a question word), or `say` (a statement or a title)."""
    end = _AFTER.sub("", text)
    if _ASKS.search(end) or re.search(r"嗎[？?]", end):
        return "ask"
    return "open" if _OPEN.search(end) else "say"


@cache
def _rules(family: str) -> tuple[tuple[Rule[str], frozenset[str]], ...]:
    """Lines `kinds <tab> template` of the shipped file, {} standing for the question."""
    made = []
    for line in lines(f"{family}_zh.txt"):
        kinds, _, template = line.partition(" ")
        rule = make(family, template, template)
        made.append((rule, frozenset({"a": "ask", "o": "open", "s": "say"}[k] for k in kinds)))
    return tuple(made)


def _apply(family: str, draft: Draft, rng: random.Random, side: Generator) -> Draft:
    """A rule for that sort of sentence; a scene asks of itself, so nothing may embed it."""
    text = _AFTER.sub("", draft.text)
    kind = kind_of(text)
    embeds = family == "opening" and draft.scene and kind == "open"
    need = {kind, "ask"} if embeds else {kind}
    fit = on_side((rule for rule, kinds in _rules(family) if need <= kinds), side)
    if not fit:
        return draft
    rule = rng.choice(fit)
    return draft.after(rule.payload.replace("{}", text), rule.name)


def opening(draft: Draft, rng: random.Random, side: Generator) -> Draft:
    """A greeting or an announcement before the question, once."""
    if _POLITE.search(draft.text) or re.match(r"[我想]|如果|萬一", draft.text):
        return draft
    return _apply("opening", draft, rng, side)


def closing(draft: Draft, rng: random.Random, side: Generator) -> Draft:
    """Thanks or haste after the question."""
    return _apply("closing", draft, rng, side)


def particle(draft: Draft, rng: random.Random, side: Generator) -> Draft:
    """A particle at the end: 怎麼弄啊, 在哪呢; not in long or bookish sentences."""
    if len(draft.text) > 24 or re.search(r"是否|可否|能否|有無|為何|何|於|之", draft.text):
        return draft
    if re.search(r"[嗎呢啊喔耶欸ㄇ吧了謝]$", _AFTER.sub("", draft.text)):
        return draft
    return _apply("particle", draft, rng, side)


def rules() -> list[Rule[str]]:
    """Every rule of this file, of both sides."""
    return [rule for f in ("opening", "closing", "particle") for rule, _ in _rules(f)]
