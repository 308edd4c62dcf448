"""Finds links, e-mail addresses, phone numbers and extensions in folded text.

A phone number is its digits, in whatever grouping and with or without the country code of
Taiwan. Knows no other kinds of facts (see `extraction`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .folding import pattern
from .numerals import value
from .whens import Found

CLAIMED = "\ue000"
"""Stands where a rule has taken a stretch; belongs to no pattern."""


def trimmed(address: str) -> str:
    """Without the punctuation of the sentence that the address ends."""
    return address.rstrip(".,;:!?'\"-")


def links(text: str) -> Iterator[Found]:
    """`url:example.com/path`, without the protocol."""
    rule = (
        r"(?:https?://|www\.)(?:(?![,;]?https?://)[^\s<>\"'()\[\]{}|\u0080-\uffff])+"
        r"|(?<![@\w.-])(?:[a-z0-9-]+\.)+(?:com|net|org|gov|edu|info|shop|app|io|me|tw|cn|hk|jp|co"
        r"|tv|cc|taipei|ai|dev|xyz|store)"
        r"(?:\.[a-z]{2})?(?![a-z0-9@])(?:[/?][^\s<>\"'()\[\]{}|\u0080-\uffff]*)?"
    )
    for hit in pattern(rule).finditer(text):
        address = trimmed(hit.group())
        yield hit.start(), hit.start() + len(address), ("url:" + address,)


def mails(text: str) -> Iterator[Found]:
    """`email:name@example.com`."""
    for hit in pattern(r"[a-z0-9][a-z0-9_.+%-]{0,63}@[a-z0-9-]+(?:\.[a-z0-9-]+)+").finditer(text):
        address = hit.group().rstrip(".-")
        yield hit.start(), hit.start() + len(address), ("email:" + address,)


_PHONE = (
    r"(?<![\d.,/-])(?P<tw>(?:\+?886[- ]{0,2}(?:\(0\))?[- ]?\d{1,2}|\(0\d{1,3}\)"
    r"|0\d{1,3})(?:[- ]{0,2}\d{2,8}){1,4})(?!\d)"
    r"|(?<![\d.,/-])(?P<cn>1[3-9]\d[- ]?\d{4}[- ]?\d{4}|[48]00[- ]?\d{3}[- ]?\d{3,4})(?![\d-])"
    r"|(?<![\d.,/-])(?P<us>(?:\+?1[- ])?(?:\(\d{3}\) ?|\d{3}-)\d{3}-\d{4})(?![\d-])"
    r"|(?<![\d.,/-])(?P<intl>\+\d{1,3}(?:[- ]\d{2,5}){2,4})(?!\d)"
    r"|(?<![\d.,/-])(?P<local>\d{3,4}-\d{4}|[2-8]\d{7})(?![\d/-])"
)


def phones(text: str) -> Iterator[Found]:
    """`phone:0227208889`."""
    digit = "[〇零一二三四五六七八九]"
    spoken = rf"(?<!{digit})[〇零]{digit}(?:[- ]?{digit}){{6,9}}"
    for hit in pattern(spoken).finditer(text):
        digits = "".join(str(value(c)) for c in hit.group() if c not in "- ")
        yield hit.start(), hit.end(), ("phone:" + digits,)
    rule, at = pattern(_PHONE), 0
    while found := rule.search(text, at):
        hit = found
        said, at = hit.group(), hit.end()
        digits = re.sub(r"\D", "", said)
        if hit["tw"] and not said.startswith(("+", "886")):
            # a number after the phone, as in `02-2720-8889 25`, is not part of it
            while len(digits) > 10 and re.search(r"[- ]\d+$", said) and digits[:2] != "00":
                said = re.sub(r"[- ]+\d+$", "", said)
                at = hit.start() + len(said)
                digits = re.sub(r"\D", "", said)
            if not 9 <= len(digits) <= 12:
                continue
        if hit["tw"] and digits.startswith("886"):
            digits = "0" + digits[3:].lstrip("0")
        if hit["local"] and _looks_like_years(said):
            continue
        yield hit.start(), at, ("phone:" + digits,)


def _looks_like_years(said: str) -> bool:
    parts = said.split("-")
    if len(parts) == 2:
        return all(len(p) == 4 and 1900 <= int(p) <= 2100 for p in parts)
    return said[:2] == "20" and "01" <= said[4:6] <= "12" and "01" <= said[6:] <= "31"


def extensions(text: str) -> Iterator[Found]:
    """`extension:25`; of a list, each."""
    rule = (
        rf"(?:分機(?:號碼)?|內線|(?<=[{CLAIMED}\d ,(])轉接?|#|(?<![a-z])ext(?:ension"
        rf"|\.)?(?![a-z]))\s?[:#]?\s?"
        r"(?P<list>\d{1,6}(?:\s?[、,/或及和~-]\s?#?\d{2,6}(?![\d:.]|\s?[元天日年月/個-]))*)"
    )
    for hit in pattern(rule).finditer(text):
        numbers = re.findall(r"\d+", hit["list"])
        yield hit.start(), hit.end(), tuple("extension:" + n for n in numbers)
