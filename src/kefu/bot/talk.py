"""What people write to a shop besides one question: thanks, two questions, another script.

Knows no model and no FAQ: it looks at words and at punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Literal

from ..recall import normalise
from ..records import Reply

Kind = Literal["greeting", "thanks", "goodbye"]
Tongue = Literal["hant", "hans", "en", ""]

# In Simplified, without spaces and marks, as `pleasantry` compares.
_SAID: dict[Kind, str] = {
    "greeting": r"(哈[喽啰罗]|嗨+|你好|您好|妳好|安安|早安|午安|晚安|早上好|下午好|晚上好|早|"
    r"大家好|客服你好|你好客服|有人在吗|在吗|请问有人吗|hi+|hello+|hey+|yo|goodmorning|goodafternoon|"
    r"goodevening|hithere|hellothere|anyonethere)+",
    "thanks": r"(好的?|ok|okay|嗯+|了解|知道了|明白了?|收到|没问题|perfect|great|cool)*"
    r"(谢谢|多谢|感谢|感恩|谢啦|谢咯|3q|thx|thanks|thankyou|ty|cheers)"
    r"(你|您|妳|客服|你的?帮忙|您的?帮忙|啦|喔|哦|了|唷|somuch|verymuch|alot|谢谢|感恩)*",
    "goodbye": r"(好的?|ok|okay|嗯+|没事了|先这样)*(再见|掰掰|拜拜|88|bye|byebye|goodbye|seeyou)+",
}
_REPLIES: dict[Kind, dict[Tongue, str]] = {
    "greeting": {
        "hant": "您好！請問有什麼可以為您服務？",
        "en": "Hello! What can I do for you?",
    },
    "thanks": {
        "hant": "不客氣，還有問題歡迎再問。",
        "en": "You are welcome. Ask again whenever you like.",
    },
    "goodbye": {"hant": "再見，祝您順心！", "en": "Goodbye, and have a good day!"},
}
_HAND_OVER_EN = "I will pass this question to a colleague. One moment, please."
_PUNCTUATION = re.compile(r"[\W_]+")
_ASKING = re.compile(r"[^?？]+[?？]+")
LEAST = 4
"""Letters of a part that may be a question of its own; "真的嗎？" is one with what follows it."""


def pleasantry(message: str) -> Kind | None:
    """What kind of politeness the whole message is, or None when it says anything else."""
    plain = _PUNCTUATION.sub("", normalise(message))
    for kind, pattern in _SAID.items():
        if re.fullmatch(pattern, plain):
            return kind
    return None


def polite(kind: Kind, message: str, chinese: bool) -> Reply:
    """The answer to a politeness, in the customer's language; `chinese`: the FAQ's, if unsure."""
    tongue = tongue_of(message) or ("hant" if chinese else "en")
    text = _REPLIES[kind]["en" if tongue == "en" else "hant"]
    return Reply(in_tongue(text, tongue), note=kind)


def questions(message: str) -> tuple[str, ...]:
    """The questions of a message that asks several, each with its mark; else nothing."""
    found = _ASKING.findall(message)
    parts = [part.strip(" ，,、。；;\n") for part in found]
    rest = message[sum(map(len, found)) :]
    long = all(len(_PUNCTUATION.sub("", part)) >= LEAST for part in parts)
    return tuple(parts) if len(parts) > 1 and long and not _PUNCTUATION.sub("", rest) else ()


def together(whole: Reply, parts: Sequence[Reply], asked: Sequence[str], hand_over: str) -> Reply:
    """One reply to a message of several questions, from those to the whole and to each part.

    `whole` stands where the parts add nothing to it. A part that a person must answer makes the
    whole one for a person, but what is known is said.
    """
    known = [part for part in parts if not part.handed_over]
    sources = {part.source for part in known}
    if whole.confidence >= 1.0 and not whole.handed_over:  # asked in just these words in the FAQ
        return whole
    if not known or (sources == {whole.source} and not whole.handed_over):
        return whole
    away = [part for part in parts if part.handed_over]
    if len(sources) == 1 and not away:
        return known[0]
    lines = list(dict.fromkeys(part.text for part in known))
    if away:
        left = "、".join(q for q, part in zip(asked, parts, strict=True) if part.handed_over)
        lines.append(f"「{left}」{hand_over}" if any(map(_cjk, hand_over)) else hand_over)
    return replace(
        known[0],
        text="\n".join(lines),
        handed_over=bool(away),
        confidence=min(part.confidence for part in (away or known)),
        source=known[0].source if len(sources) == 1 else None,
        tokens=sum(part.tokens for part in parts),
        note=f"{len(parts)} questions",
        offered=away[0].offered if away else (),
    )


def tongue_of(message: str) -> Tongue:
    """In what a message is written: Traditional or Simplified characters, English, or unclear.

    Big5 and GB 2312 were each made for one of the scripts: a character that only one of them has
    tells which it is.
    """
    letters = [c for c in message if _cjk(c)]
    if not letters:
        return "en" if re.search(r"[A-Za-z]{2,}", message) else ""
    traditional = sum(_in(c, "big5") and not _in(c, "gb2312") for c in letters)
    simplified = sum(_in(c, "gb2312") and not _in(c, "big5") for c in letters)
    if simplified > traditional:
        return "hans"
    return "hant" if traditional else ""


def in_tongue(text: str, tongue: Tongue) -> str:
    """`text` in the customer's Chinese script; other languages are left as they are."""
    own = tongue_of(text)
    if tongue == "hans" and own == "hant":
        # Characters only: words that differ too (軟體, 软件) are the owner's own.
        return str(_converter("t2s").convert(text))
    if tongue == "hant" and own == "hans":
        return str(_converter("s2tw").convert(text))
    return text


def hand_over_in(sentence: str, message: str) -> str:
    """The hand-over sentence for one who wrote in English to a shop that speaks Chinese."""
    if tongue_of(message) == "en" and any(map(_cjk, sentence)):
        return f"{_HAND_OVER_EN} {sentence}"
    return sentence


def _cjk(char: str) -> bool:
    return "㐀" <= char <= "鿿"


def _in(char: str, encoding: str) -> bool:
    try:
        char.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


@cache
def _converter(way: str) -> Any:
    from opencc import OpenCC  # reads its dictionaries: 0.1 s

    return OpenCC(way)
