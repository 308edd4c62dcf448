"""Extracts the facts of a text: what a customer would act on, each in one canonical form.

`7天`, `七日` and `７ 天` are all `number:7:day`; a phone number is its digits in whatever grouping.
Facts are compared as sets, so extraction must never depend on how a thing is put. Each rule
claims its stretch of text and the later ones see only the rest: a link may hold digits that look
like a phone. Knows no FAQ and no marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache

from .contacts import CLAIMED, extensions, links, mails, phones, trimmed
from .folding import fold, pattern
from .names import COMMON, is_acronym, is_chinese, latin
from .numerals import ARABIC, ENGLISH, NUMBER, value, written
from .units import CLASSIFIERS, NOT_NUMBERS, OTHER_CURRENCIES, UNITS
from .whens import Found, dates, times, weekdays

_COUNTED = {unit for _, unit, _ in UNITS} - {"percent", "discount", "section", "lane", "alley"}
_COUNTED -= {"no", "floor"} | {unit for unit in _COUNTED if unit.startswith("money")}


@dataclass(frozen=True, slots=True)
class Fact:
    """A canonical fact `kind:value`, and where it stands in the text that was given."""

    name: str
    start: int
    end: int


def facts(text: str, names: Iterable[str] = ()) -> frozenset[str]:
    """All facts of a text. `names`: those of products, cards and the like, see `names_of`."""
    return frozenset(fact.name for fact in spans(text, frozenset(names)))


def spans(text: str, names: frozenset[str] = frozenset()) -> tuple[Fact, ...]:
    """All facts of a text in order, with their places. `names` are folded, see `names_of`."""
    return _remembered(text, names) if len(text) < 4000 else _found(text, names)


@lru_cache(maxsize=4096)
def _remembered(text: str, names: frozenset[str]) -> tuple[Fact, ...]:
    return _found(text, names)


def _found(text: str, names: frozenset[str]) -> tuple[Fact, ...]:
    folded = fold(text)
    left = folded.text
    found: list[Fact] = []
    for rule in _RULES:
        hits = list(rule(left))
        for start, end, stated in hits:
            if end > start:
                a, b = folded.span(start, end)
                found += [Fact(_canonical(fact, text[a:b]), a, b) for fact in stated]
        left = _claim(left, hits)
    chinese = is_chinese(folded.text)
    for start, end, word in latin(left):
        a, b = folded.span(start, end)
        if word in names or (word not in COMMON and (chinese or is_acronym(text[a:b]))):
            found.append(Fact(f"name:{word}", a, b))
    for name in names:
        if not name.isascii():
            at = folded.text.find(name)
            while at >= 0:
                found.append(Fact(f"name:{name}", *folded.span(at, at + len(name))))
                at = folded.text.find(name, at + len(name))
    return tuple(sorted(found, key=lambda fact: (fact.start, fact.end, fact.name)))


def _claim(text: str, hits: list[Found]) -> str:
    letters = list(text)
    for start, end, _ in hits:
        letters[start:end] = CLAIMED * (end - start)
    return "".join(letters)


def _canonical(fact: str, said: str) -> str:
    """`day:7` as `number:7:day`, `money:1200` as `money:TWD:1200`. A link's path stays in its
    own case: there a capital is another page."""
    kind, _, rest = fact.partition(":")
    if kind in _COUNTED:
        return f"number:{rest}:{kind}"
    if kind == "money":
        currency, _, amount = rest.rpartition(":")
        return f"money:{currency.upper() or 'TWD'}:{amount}"
    if kind == "url":
        address = re.sub(r"^https?://", "", said.translate(_NARROW), flags=re.I)
        host, slash, path = trimmed(address).partition("/")
        return f"url:{host.lower()}{slash}{path}".rstrip("/")
    return fact


_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}


def _roads(text: str) -> Iterator[Found]:
    """The last two characters of a road's name: where the name begins cannot be seen."""
    rule = rf"(?P<road>[\u4e00-\u9fff]{{2}}(?:路|街|大道))(?=\s?{NUMBER}\s?(?:段|巷|弄|號))"
    for hit in pattern(rule).finditer(text):
        yield hit.start(), hit.end(), ("road:" + hit["road"],)


def _floors(text: str) -> Iterator[Found]:
    for hit in pattern(
        rf"(?:地下\s?(?P<a>{NUMBER})\s?[樓層]|(?<![a-z0-9])b(?P<b>[1-9])(?:樓|f)?(?![a-z0-9]))"
    ).finditer(text):
        number = value(hit["a"] or hit["b"])
        if number is not None:
            yield hit.start(), hit.end(), (f"floor:-{written(number)}",)


def _percents(text: str) -> Iterator[Found]:
    for hit in pattern(rf"百分之\s?(?P<n>百|{NUMBER})").finditer(text):
        number = Decimal(100) if hit["n"] == "百" else value(hit["n"])
        if number is not None:
            yield hit.start(), hit.end(), (f"percent:{written(number)}",)
    for hit in pattern(rf"(?P<d>{NUMBER})分之(?P<n>{NUMBER})").finditer(text):
        below, above = value(hit["d"]), value(hit["n"])
        if below is not None and above is not None:
            yield hit.start(), hit.end(), (f"fraction:{written(above)}/{written(below)}",)
    for hit in re.finditer(r"(?<![\d/.])([1-9])/([2-9]|10)(?![\d/])", text):
        yield hit.start(), hit.end(), (f"fraction:{hit[1]}/{hit[2]}",)
    for hit in pattern(r"半價|half[- ]price").finditer(text):
        yield hit.start(), hit.end(), ("discount:50",)


def _every(text: str) -> Iterator[Found]:
    """How often, or for how much of it: `每小時 30 元` and `30 元/時`."""
    rule = (
        r"(?:每|/|(?<![a-z])per |(?<![a-z])every |(?<![a-z])each |(?<=[0-9d] )an? "
        r"|(?<=[\ue000] )an? )\s?"
        r"(?:(?P<minute60>小時|鐘頭|時(?![間段])|hours?|hr)|(?P<day>[天日]|day)|(?P<week>個?星期(?![一二三四五六日])"
        r"|週(?![一二三四五六日年])|week)|(?P<month>個?月(?!\s?\d)|month)|(?P<year>年|year))(?![a-z])"
    )
    for hit in pattern(rule).finditer(text):
        unit = next(k for k, v in hit.groupdict().items() if v)
        yield hit.start(), hit.end(), ("every:" + unit.replace("minute60", "hour"),)


_TO = r"(?:-|~|至|到|to|或|or|、|and|及)"


@cache
def _unit_rules() -> tuple[tuple[re.Pattern[str], str, Decimal], ...]:
    return tuple((pattern(source), unit, factor) for source, unit, factor in UNITS)


@cache
def _quantity_rule() -> re.Pattern[str]:
    units = "|".join(f"(?:{source})" for source, _, _ in UNITS)
    money = "|".join(f"(?:{source})" for source, _ in OTHER_CURRENCIES)
    words = "|".join(sorted(ENGLISH, key=len, reverse=True))
    one = rf"(?:{NUMBER}|(?<![a-z])(?:{words})(?![a-z]))"
    return pattern(
        rf"(?P<nth>第\s?)?(?P<money>(?<![a-z])(?:{money})\s?)?(?<![\d.a-z@_])(?P<a>{one})"
        rf"(?:\s?(?P<u1>{units}|[個次]?)\s?{_TO}\s?(?P<money2>(?:{money})\s?)?(?P<b>{one})(?:(?=\s?"
        rf"(?:{units}|{CLASSIFIERS}))|(?<=[万亿千])))?"
        rf"\s?-?(?:(?P<mid>個半\s?(?:小時|鐘頭|月|年|星期)|[年天]半|小時半)|(?P<unit>(?:{units})(?![a-z]))"
        rf"|(?P<count>{CLASSIFIERS}))?"
    )


def _quantities(text: str) -> Iterator[Found]:
    for hit in pattern(r"半(?:個)?\s?(?P<u>年|天|日|小時|鐘頭|月)").finditer(text):
        ahead = text[hit.start() - 1] if hit.start() else ""
        if ahead and (ahead in "一两二三四五六七八九十年天时" or ahead.isdigit() or ahead == "个"):
            continue
        unit, factor = _unit_of("个月" if hit["u"] == "月" else hit["u"])
        yield hit.start(), hit.end(), (f"{unit}:{written(factor / 2)}",)
    for hit in _quantity_rule().finditer(text):
        said = [part for part in (hit["a"], hit["b"]) if part]
        numbers = [_number(part) for part in said]
        if None in numbers or hit.end() == hit.start():
            continue
        plain = [n for n in numbers if n is not None]
        yield from _stated(hit, _shared(said, plain))


def _stated(hit: re.Match[str], numbers: list[Decimal]) -> Iterator[Found]:
    start, end = hit.start(), hit.end()
    spelled = not any(c.isdigit() for c in hit["a"])
    if hit["nth"]:
        if spelled and numbers[0] == 1 and not (hit["unit"] or hit["count"]):
            return  # 第一: best, not first
        yield start, end, tuple(f"ordinal:{written(n)}" for n in numbers)
    elif hit["mid"]:
        unit, factor = _unit_of(hit["mid"].replace("半", "").replace(" ", "") or "")
        yield start, end, (f"{unit}:{written((numbers[0] + Decimal('0.5')) * factor)}",)
    elif hit["unit"] or hit["money"]:
        unit, factor = _unit_of(hit["unit"]) if hit["unit"] else ("money", Decimal(1))
        if hit["money"] and unit == "money":
            unit = next(u for s, u in OTHER_CURRENCIES if pattern(s).match(hit["money"].strip()))
        elif hit["money"]:
            return
        yield start, end, tuple(f"{unit}:{_scaled(n, unit, factor)}" for n in numbers)
    elif hit["count"]:
        # 一個, 1 份: an article more often than a number
        facts = tuple(f"number:{written(n)}" for n in numbers if n != 1 or len(numbers) > 1)
        yield start, end, facts
    elif spelled and (
        len(hit["a"]) < 2 or hit["a"] in ENGLISH or not re.search("[十百千万亿]", hit["a"])
    ):
        return
    else:
        yield start, end, tuple(_bare(hit["a"], n) for n in numbers[:1])


def _bare(said: str, number: Decimal) -> str:
    # 007 is a code, not 7
    return f"number:{said}" if re.fullmatch(r"0\d+", said) else f"number:{written(number)}"


def _number(text: str) -> Decimal | None:
    return Decimal(str(ENGLISH[text])) if text in ENGLISH else value(text)


def _shared(said: list[str], numbers: list[Decimal]) -> list[Decimal]:
    """`600-700萬`: the first takes the second's 萬."""
    if len(said) == 2 and (tail := re.search(r"[万亿千]+$", said[1])) and said[0][-1:].isdigit():
        head = value(said[1][: tail.start()])
        factor = value("1" + tail.group())
        if head is not None and factor is not None and numbers[0] < head:
            return [numbers[0] * factor, numbers[1]]
    return numbers


def _unit_of(said: str) -> tuple[str, Decimal]:
    text = said.strip()
    for rule, unit, factor in _unit_rules():
        if rule.fullmatch(text) or (rule.match(text) and rule.match(text + " ")):
            return unit, factor
    return "number", Decimal(1)


def _scaled(number: Decimal, unit: str, factor: Decimal) -> str:
    if unit == "discount":
        number = number * 10 if number < 10 else number  # 8 折 is 80, 85 折 is 85
    return written(number * factor)


def _lists(text: str) -> Iterator[Found]:
    """Numbers that only count off a list: no facts."""
    rule = (
        r"(?:^|(?<=[\n。;,!?])|(?<=[^\d]:))\s*(?:\(?\d{1,2}\)|\d{1,2}(?:[.](?!\d)|、)"
        r"|\([一二三四五六七八九十]{1,3}\)|[一二三四五六七八九十]{1,3}、)"
        r"|(?<=[\u4e00-\u9fff)\"])\s?\d{1,2}\.(?=[\u4e00-\u9fff\"])|(?<![\d\u4e00-\u9fff])\(\d\)"
    )
    for hit in pattern(rule).finditer(text):
        yield hit.start(), hit.end(), ()


def _no_numbers(text: str) -> Iterator[Found]:
    for hit in pattern(NOT_NUMBERS).finditer(text):
        yield hit.start(), hit.end(), ()


def _codes(text: str) -> Iterator[Found]:
    """Order numbers, models, rooms: letters and digits in one word."""
    unit = "|".join(f"(?:{source})" for source, _, _ in UNITS)
    quantity = pattern(rf"(?:{ARABIC}-?(?:{unit}))")
    word = (
        r"(?<![a-z0-9])(?=[a-z0-9_-]*[a-z])(?=[a-z0-9_-]*\d)[a-z0-9]+(?:[-_][a-z0-9]+)*(?![a-z0-9])"
    )
    for hit in pattern(word).finditer(text):
        if not quantity.fullmatch(hit.group()) and not re.fullmatch(
            r"(?:nt|us|hk)\d+", hit.group()
        ):
            yield hit.start(), hit.end(), ("code:" + hit.group(),)


def _runs(text: str) -> Iterator[Found]:
    """More digits in a row than anything has that can be counted, dialled or looked up. Taken out
    first: several rules below would read them over and over."""
    for hit in re.finditer(r"\d{25,}|(?:\d[-,./: ]){25,}\d*", text):
        yield hit.start(), hit.end(), ("code:" + hit.group()[:40],)


_RULES = (
    _runs,
    links,
    mails,
    phones,
    extensions,
    _lists,
    dates,
    weekdays,
    times,
    _every,
    _no_numbers,
    _roads,
    _floors,
    _percents,
    _codes,
    _quantities,
)
