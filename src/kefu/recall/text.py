"""Brings text that means the same to the same letters, and cuts it into terms.

Knows scripts, not languages: no dictionary of words, no stop words, no stemming.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

_SPACE = re.compile(r"\s+")
_RUN = re.compile(r"[a-z0-9]+|[^\W_a-z0-9]+")
"""A run of Latin letters and digits, or a run of other letters (Chinese, kana, Thai ...)."""


class _Simplified(dict[int, str]):
    """Code point -> Simplified character, looked up once for each character that occurs.

    Character by character, without OpenCC's phrases: those choose among several Simplified
    forms for the reader's eye, which comparing does not need, and cost twenty times as long.
    """

    def __missing__(self, code: int) -> str:
        self[code] = str(_converter().convert(chr(code)))
        return self[code]


@cache
def _converter() -> Any:
    from opencc import OpenCC  # reads its dictionaries: 0.1 s that `--help` need not pay

    return OpenCC("t2s")


_SIMPLIFIED = _Simplified()


@lru_cache(maxsize=65536)
def normalise(text: str) -> str:
    """The text in one width (NFKC), one Chinese script, lower case and single spaces.

    To Simplified, not to Traditional: several Traditional characters share one Simplified
    one (臺台, 裡裏里), so that way both spellings of a word always meet, and nothing has to
    be guessed. For comparing only, never for showing.
    """
    text = unicodedata.normalize("NFKC", text).lower().translate(_SIMPLIFIED)
    return _SPACE.sub(" ", text).strip()


_FUNCTION = (
    "麻烦 请问 请 可不可以 可以 能不能 什么时候 时候 什么 怎么 怎样 如何 是否 有没有 是不是 你们 "
    "我们 我的 我 你 您 的话 的 了 吗 呢 吧 啊 哪里 哪些 哪 多久 多少 几 这个 那个 一下 要 想 是 "
    "有 会 在 就 都 也 还 很 不 没 跟 和 与 及 或 以 用 到 来 去 过 给 把 被 让 好 知道 东西 需要 "
    "应该 为何 为什么 之后"
)
"""Words that a question in Chinese holds whatever it is about (Simplified, as `normalise`)."""
_FRAME = re.compile("|".join(sorted(map(re.escape, _FUNCTION.split()), key=len, reverse=True)))
CONTENT = 3
"""A term of what a question is about counts this often, one of how it is put once."""


def terms(text: str) -> Iterator[str]:
    """The terms of a text: single characters, neighbouring two, whole Latin words and numbers.

    Terms that remain when the function words are cut out come several times (`CONTENT`):
    two questions are alike by what they are about, not by 可以 and 怎麼. Latin words are also
    cut into 3-letter pieces, so that a typing error does not lose all.
    """
    text = normalise(text)
    yield from _cut(text)
    content = list(_cut(_FRAME.sub(" ", text)))
    for _ in range(CONTENT - 1):
        yield from content


def _cut(text: str) -> Iterator[str]:
    for run in _RUN.findall(text):
        if run[0].isascii():
            yield run
            if len(run) > 3:
                padded = f"<{run}>"
                yield from (padded[i : i + 3] for i in range(len(padded) - 2))
        else:
            yield from run
            yield from (run[i : i + 2] for i in range(len(run) - 1))
