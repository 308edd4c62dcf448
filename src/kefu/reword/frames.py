"""Says the same question in another sentence: 可以X嗎 as 想X，可以嗎, 如何X as X要怎麼做.

Takes a sentence apart by its question words alone (`data/frames_zh.toml`); the words
between them are carried over unread.
"""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from .registry import Draft, Generator, Rule, make, on_side

SHORT = 14
"""Letters of a question's own words up to which a template marked ~ still reads well."""
_SENTENCE = re.compile(r"[^？?！!。；;\n]+")


@dataclass(frozen=True, slots=True)
class Frame:
    """A shape of question and the other shapes for it."""

    name: str
    match: re.Pattern[str]
    unless: re.Pattern[str] | None
    say: tuple[Rule[str], ...]


@cache
def table(language: str) -> tuple[Frame, ...]:
    """The shipped frames of a language, with the macros of the file put in."""
    raw = files(__package__).joinpath("data", f"frames_{language}.toml").read_text("utf-8")
    data = tomllib.loads(raw)
    made = []
    for item in data["frame"]:
        for name, value in data["macros"].items():
            item["match"] = item["match"].replace(f"<{name}>", value)
            item["unless"] = item.get("unless", "").replace(f"<{name}>", value)
        made.append(
            Frame(
                item["name"],
                re.compile(item["match"], re.I),
                re.compile(item["unless"], re.I) if item["unless"] else None,
                tuple(make("frame", f"{item['name']}:{say}", say, say) for say in item["say"]),
            )
        )
    return tuple(made)


@lru_cache(maxsize=4096)
def frames(text: str, side: Generator, language: str = "zh") -> tuple[tuple[Rule[str], str], ...]:
    """Every rule that fits one of the text's sentences, with the text that it gives."""
    found: list[tuple[Rule[str], str]] = []
    sentences = list(_SENTENCE.finditer(text))
    for sentence in sentences:
        whole = sentence.group().strip()
        for frame in table(language):
            hit = frame.match.fullmatch(whole)
            if hit is None or (frame.unless and frame.unless.search(whole)):
                continue
            if frame.name == "title" and len(sentences) > 1:
                continue  # 時間？對象？內容？: one announcement for all of them
            parts = {name: (part or "").strip() for name, part in hit.groupdict().items()}
            length = sum(map(len, parts.values())) if language == "zh" else 0
            for rule in on_side(frame.say, side):
                template = rule.payload
                if template.startswith("~") and length > SHORT:
                    continue
                said = template.lstrip("~").format(**parts)
                if said != whole:
                    start, end = sentence.span()
                    found.append((rule, _joined(text[:start], said, text[end:])))
            break  # frames stand from the special to the general: the first that fits
    return tuple(found)


def _joined(before: str, said: str, after: str) -> str:
    after = after if after.strip("？?！!。；; \n") else ""
    return f"{before.rstrip()}{said}{after}".strip()


_KEPT = "有效|有限|所有|擁有|私有|國有|現在|在職|和平|或者|是非|目的|了解|終了|我們|你們|與會"
_FUNCTION = re.compile(
    rf"(?P<kept>{_KEPT})|"
    r"請問|可不可以|可以|能不能|能否|可否|是否|有沒有|有無|是不是|什麼時候|何時|什麼|甚麼|怎麼樣|怎麼辦|怎麼|"
    r"怎樣|如何|哪裡|哪些|那些|為什麼|為何|幾[天個點]|多少|多久|要不要|需要|應該|的話|之後|以後|"
    r"[我你您嗎呢啊了的有是在和跟與及或]|^[要想]|[，,、。？?！!：:；;（）()]"
)
_EMPTY = frozenset(("我們", "你們"))
_ASPECT = (
    (re.compile(r"多少錢|費用|收費|怎麼算|多少"), ("費用", "多少")),
    (re.compile(r"何時|什麼時候"), ("時間", "日期")),
    (re.compile(r"多久|幾天"), ("多久", "要幾天")),
    (re.compile(r"在哪|哪裡|(?<!如)何處"), ("地點", "哪裡")),
    (
        re.compile(r"^[要該應我]{0,2}(?:如何|怎麼|怎樣)(?!前往|抵達|到|去|至)"),
        ("方法", "流程", "怎麼弄"),
    ),
    (re.compile(r"可以|能不能|可否|能否|可不可以"), ("可以嗎", "可否")),
    (re.compile(r"有沒有|是否有|有.*嗎"), ("有嗎", "有沒有")),
    (re.compile(r"為什麼|為何"), ("原因",)),
)


@cache
def _aspects() -> tuple[tuple[re.Pattern[str], tuple[Rule[str], ...]], ...]:
    return tuple(
        (pattern, tuple(make("keyword", word, word) for word in words))
        for pattern, words in _ASPECT
    )


def keywords(draft: Draft, rng: random.Random, side: Generator) -> Draft | None:
    """The content words alone with spaces, as typed into a search box; None for long questions."""
    content = _FUNCTION.sub(lambda hit: hit["kept"] or " ", draft.text)
    pieces = [piece for piece in content.split() if piece not in _EMPTY]
    if not 1 <= len(pieces) <= 4 or sum(map(len, pieces)) > 16 or max(map(len, pieces)) > 9:
        return None
    if any(len(p) == 1 and not p.isascii() for p in pieces) or draft.text.count("，"):
        return None
    for pattern, rules in _aspects():
        if pattern.search(draft.text):
            mine = on_side(rules, side)
            if not mine or any(rule.payload in pieces for rule in mine):
                return None
            rule = rng.choice(mine)
            return draft.after(" ".join((*pieces, rule.payload)), rule.name)
    return None


def rules() -> list[Rule[str]]:
    """Every rule of this file, of both sides."""
    made = [rule for language in ("zh", "en") for frame in table(language) for rule in frame.say]
    return made + [rule for _, rules in _aspects() for rule in rules]
