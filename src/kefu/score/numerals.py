"""Reads numbers in Arabic digits, in Chinese ones, and in a mixture of both.

Works on folded text (see `folding`). Knows how numbers are written, not what they count.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")}
_DIGITS |= {"〇": 0, "两": 2, "壹": 1, "贰": 2, "叁": 3, "肆": 4, "伍": 5, "陆": 6}
_DIGITS |= {"柒": 7, "捌": 8, "玖": 9}
_SMALL = {"十": 10, "百": 100, "千": 1000, "拾": 10, "佰": 100, "仟": 1000, "k": 1000}
_TENS = {"廿": 20, "卅": 30}
_LARGE = {"万": 10**4, "亿": 10**8}

ARABIC = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?)"
_FIRST = "〇零一二两三四五六七八九十廿卅壹贰叁肆伍陆柒捌玖拾"
CHINESE = rf"[{_FIRST}][{_FIRST}百千万亿佰仟]{{0,14}}"
NUMBER = rf"(?:(?:{ARABIC} ?[十百千万亿]{{1,3}})+(?:{ARABIC})?|{ARABIC}|{CHINESE})"
ENGLISH = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ]
    )
} | {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "ninety": 90, "hundred": 100, "half": 0.5}
_PART = re.compile(rf"{ARABIC}|[^\s,]")


def value(text: str) -> Decimal | None:
    """The number that a numeral says, or None when it is none.

    `3萬5千` is 35000, `十二` 12, `一〇六` 106, `兩百五` 250, `八五` 85.
    """
    text = text.replace(",", "").replace(" ", "")
    try:
        if text[:1].isdigit() and text[-1:].isdigit() and text.isascii():
            return Decimal(text)
        if all(c in _DIGITS for c in text) and text:
            return Decimal("".join(str(_DIGITS[c]) for c in text))
    except InvalidOperation:
        return None
    return _composed(text)


def _composed(text: str) -> Decimal | None:
    total = section = Decimal(0)
    number: Decimal | None = None
    last = 1
    zero = False
    for part in _PART.findall(text):
        if part in _DIGITS or part[0].isdigit():
            if number and part in _DIGITS and part not in "零〇":
                return None  # 二三十: an estimate, not one number
            number = Decimal(_DIGITS.get(part, part))
            zero = zero or part in "零〇"
        elif part in _TENS:
            section += _TENS[part]
            number, last = None, 10
        elif part in _SMALL:
            section += (Decimal(1) if number is None else number) * _SMALL[part]
            number, last, zero = None, _SMALL[part], False
        elif part in _LARGE:
            section += number or 0
            total += (section or 1) * _LARGE[part]
            number, section, last, zero = None, Decimal(0), _LARGE[part], False
        else:
            return None
    if number is not None:
        # 三千五 is 3500, 三千零五 is 3005; 1萬2000 is 12000
        short = number < 10 and last >= 100 and not zero
        section += number * last / 10 if short else number
    return total + section


def written(number: Decimal) -> str:
    """One spelling for equal numbers: no trailing zeros, no exponent."""
    text = f"{number:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
