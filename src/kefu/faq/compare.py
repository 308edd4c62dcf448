"""What two texts must share to be the same, near, or about the same thing.

Canonical forms of questions and answers, and the facts (numbers with a meaning) that an answer
states. Does not know rows or findings.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

_OPENING = re.compile(
    r"^(?:(?:您好|你好|哈囉|嗨|hi|hello|不好意思|抱歉|麻煩|我?想要?|可以|能否)*"
    r"(?:請問|请问|請教|请教|詢問|询问|問一下|问一下|知道|了解|瞭解)(?:一下|您|你們|你们)*)+"
)
_CLOSING = re.compile(r"(呢|嗎|吗|啊|呀|耶|哦|喔|謝謝|谢谢|感謝|thanks?|thankyou)+$")
_CHINESE_DIGITS = {char: str(value) for value, char in enumerate("零一二三四五六七八九")}
_CHINESE_DIGITS |= {"兩": "2", "两": "2", "〇": "0"}

# Every repetition is bounded: a cell of 200,000 digits must not cost the square of that.
_NUMBER = r"\d[\d,]{0,14}(?:\.\d{1,9})?"
_COUNT = rf"(?:{_NUMBER}|[一二兩两三四五六七八九十半]{{1,5}})"
# Where patterns overlap, the earlier wins: a link may hold digits that look like a phone.
_FACTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        ("link", r"(?:https?://\s?|www\.)[A-Za-z0-9_.~:/?#@!$&*+,;=%-]+"),
        ("e-mail", r"[A-Za-z0-9_.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+"),
        (
            "phone",
            r"(?<![\d.])(?:\+?886[-\s]?\d|\(0\d{1,3}\)|0\d{1,3})[-\s)]{0,2}"
            r"\d{3,4}[-\s]?\d{3,4}(?:[-\s]?\d{1,3})?(?!\d)"
            r"|(?<!\d)1[3-9]\d[-\s]?\d{4}[-\s]?\d{4}(?!\d)"
            r"|(?<!\d)400[-\s]?\d{3}[-\s]?\d{4}(?!\d)",
        ),
        ("date", r"(?<!\d)(?:\d{2,4}[年/.-])?\d{1,2}[月/]\d{1,2}日?(?![\d/])"),
        (
            "time",
            r"(?<!\d)\d{1,2}[:：]\d{2}(?!\d)"
            r"|(?:上午|下午|早上|晚上|中午)?\d{1,2}[點点時时](?:\d{1,2}分|半)?",
        ),
        (
            "money",
            rf"(?:NT\$?|US\$?|\$|＄|新[臺台]幣)\s?{_NUMBER}[萬千百億]?元?"
            rf"|{_NUMBER}[萬千百億]{{0,3}}\s?(?:元|塊錢?|块钱?)",
        ),
        ("share", rf"{_NUMBER}\s?[%％]|{_COUNT}折"),
        (
            "span",
            rf"{_COUNT}\s?(?:個|个)?"
            r"(?:工作[天日]|年|月|週|周|天|日|小時|小时|分鐘|分钟|星期)(?!\d)",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Fact:
    """A value that a customer would act on, in canonical form, and where it stands in its text."""

    kind: str
    value: str
    start: int
    end: int


@lru_cache(maxsize=65536)
def wide(text: str) -> str:
    """Case and width folded."""
    return unicodedata.normalize("NFKC", text).casefold()


@lru_cache(maxsize=65536)
def bare(text: str) -> str:
    """Letters, digits and characters only; a point between digits stays, as 1.5 is not 15."""
    return re.sub(r"(?!(?<=\d)\.(?=\d))[\W_]", "", wide(text))


@lru_cache(maxsize=65536)
def question_key(text: str) -> str:
    """A question without punctuation, politeness and final particles."""
    key = bare(text)
    core = _OPENING.sub("", key)
    return core[:-24] + _CLOSING.sub("", core[-24:]) or key


@lru_cache(maxsize=65536)
def digits(text: str) -> tuple[str, ...]:
    """The numbers of a text, Chinese ones of one digit too: what tells two like questions apart."""
    found = re.findall(
        r"\d+(?:\.\d+)?|[零〇一二兩两三四五六七八九](?![般定樣样起些切直])", wide(text)
    )
    return tuple(sorted(_CHINESE_DIGITS.get(n, n) for n in found))


@lru_cache(maxsize=65536)
def facts(text: str) -> tuple[Fact, ...]:
    """All facts of a text in order; where patterns overlap, the more telling kind wins."""
    taken: list[Fact] = []
    for kind, pattern in _FACTS:
        for hit in pattern.finditer(text):
            if any(hit.start() < f.end and f.start < hit.end() for f in taken):
                continue
            taken.append(Fact(kind, _value(kind, hit.group()), hit.start(), hit.end()))
    return tuple(sorted(taken, key=lambda f: f.start))


def masked(text: str) -> str:
    """A text with each fact replaced by its kind, without punctuation."""
    parts: list[str] = []
    at = 0
    for fact in facts(text):
        parts += [text[at : fact.start], f"〔{fact.kind}〕"]
        at = fact.end
    return bare("".join([*parts, text[at:]]))


def values(text: str, kind: str) -> frozenset[str]:
    """The values of one kind in a text."""
    return frozenset(f.value for f in facts(text) if f.kind == kind)


def _value(kind: str, text: str) -> str:
    text = re.sub(r"\s", "", wide(text))
    if kind == "phone":
        number = re.sub(r"\D", "", text)
        return "0" + number[3:] if number.startswith("886") else number
    if kind in ("link", "e-mail"):
        return text.rstrip("/.,;:")
    text = text.replace(",", "").replace("新臺幣", "").replace("新台幣", "").replace("兩", "二")
    if kind == "money":
        return re.sub(r"^(nt|us)?\$|元|塊錢?|块钱?", "", text)
    if kind == "span":
        text = text.replace("個", "").replace("个", "").replace("日", "天").replace("周", "週")
    return "".join(_CHINESE_DIGITS.get(c, c) for c in text) if "十" not in text else text
