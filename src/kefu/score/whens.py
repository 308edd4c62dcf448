"""Finds dates, times of day and weekdays in folded text, and names each in one way.

Dates of the Republic (民國) become western ones; what a range leaves unsaid (`8月19日至30日`,
`下午2-5點`) is taken from its other end. Knows no other kinds of facts (see `facts`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .folding import pattern
from .numerals import value

Found = tuple[int, int, tuple[str, ...]]
"""Start, end, and the facts `kind:value` stated there."""

_N = r"(?:\d{1,2}|[一二三四五六七八九十廿卅]{1,4})"
_Y = r"(?:\d{2,4}|[〇零一二三四五六七八九十百]{2,5})"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DATE = (
    rf"(?:民國|西元|公元)?\s?(?P<y1>(?<![\d.]){_Y})\s?年\s?(?:\(\d{{2,4}}年?\)\s?)?(?P<m1>{_N})\s?月份?"
    rf"(?:\s?(?P<d1>{_N})\s?[日號](?!內))?"
    r"|(?<![\d./-])(?P<y2>(?:民國)?\d{2,4})(?P<s2>[/.-])(?P<m2>\d{1,2})(?P=s2)(?P<d2>\d{1,2})"
    r"(?![\d/]|\.\d)"
    rf"|(?<![\d個一二三四五六七八九十]){_N}(?<=[\d一二三四五六七八九十])\s?月(?P<d3>\s?{_N}\s?[日號])"
    rf"|(?P<which>每個?|次|當|本|下個?|隔)月\s?(?P<d6>{_N})\s?[日號]"
    r"|(?<![\d./:])(?P<m4>\d{1,2})/(?P<d4>\d{1,2})(?![\d/,:]|\.\d|\s?(?:個|小時))"
    r"|(?<!\d)(?P<y5>(?:19|20)\d\d)(?P<m5>0[1-9]|1[0-2])(?P<d5>[0-2]\d|3[01])(?!\d)"
    rf"|(?<![\d個一二三四五六七八九十]){_N}(?<=[\d一二三四五六七八九十])\s?月(?P<m7>份)?(?![卡票租費薪結])"
    r"|民國\s?(?P<y8>\d{1,3}|[一二三四五六七八九十百〇零]{1,5})\s?年"
    r"|(?<!\d)(?P<y9>(?:19|20)\d\d|1[0-2]\d|[6-9]\d)\s?年度?(?!以|內|之內|期|歷史|的歷史|後)"
    r"|(?P<y10>[一二][九〇零][〇零一二三四五六七八九]{2}|一[〇零一][〇零一二三四五六七八九])\s?年度?(?!以|內|之內)"
    rf"|(?P<mm11>{_MONTH})\.? (?P<d11>\d{{1,2}})(?:st|nd|rd|th)?(?!\d|:| ?(?:days?"
    rf"|%))(?:,? (?P<y11>(?:19|20)\d\d))?"
    rf"|(?<!\d)(?P<d12>\d{{1,2}})(?:st|nd|rd"
    rf"|th)?(?: of)? (?P<mm12>{_MONTH})(?![a-z])(?:,? (?P<y12>(?:19|20)\d\d))?"
)
_JOIN = (
    r"\s?(?:\([一二三四五六日]\)|星期[一二三四五六日])?\s?(?:起|開始)?\s?"
    r"(?:至|到|~|-|迄|及|、|和)\s?"
)


def dates(text: str) -> Iterator[Found]:
    """`date:2017-08-19`, `date:--08-19` (no year), `date:---15` (of each month), `year:2017`."""
    last: tuple[int | None, int | None, int] | None = None
    at = 0
    rule, join = pattern(_DATE), pattern(_JOIN)
    while hit := rule.search(text, at):
        at = hit.end()
        y, m, d = _parts(hit)
        if (m is not None and not 1 <= m <= 12) or (d is not None and not 1 <= d <= 31):
            at = hit.start() + 1
            continue
        if last and join.fullmatch(text, last[2], hit.start()) and y is None and d is not None:
            y = last[0]
        which = "" if not hit["which"] or hit["which"][0] == "每" else "this"
        if which and hit["which"][0] in "次下隔":
            which = "next"
        yield hit.start(), at, (f"date:{which}-{d:02}" if which else _date(y, m, d),)
        tail = pattern(_JOIN + rf"(?P<d>{_N})\s?[日號](?![間內])").match(text, at)
        if not tail and "/" in hit.group():
            tail = pattern(r"\s?[-~]\s?(?P<d>\d{1,2})(?![\d/:月點時.年個])").match(text, at)
        if tail and m and d and (end := _int(tail.group("d"))) and end <= 31:
            at = tail.end()
            yield tail.start("d"), at, (_date(y, m, end),)
        last = (y, m, at)


def _parts(hit: re.Match[str]) -> tuple[int | None, int | None, int | None]:
    g = {k: v for k, v in hit.groupdict().items() if v is not None}
    year = next((v for k, v in g.items() if k[0] == "y"), None)
    y = _year(year) if year else None
    if "mm11" in g or "mm12" in g:
        name = g.get("mm11") or g["mm12"]
        return y, _MONTHS.index(name[:3]) + 1, int(g.get("d11") or g["d12"])
    if "d6" in g:
        return None, None, _int(g["d6"])
    month = next((v for k, v in g.items() if k[0] == "m" and k != "m7"), None)
    day = next((v for k, v in g.items() if k[0] == "d"), None)
    if month is None and y is None:  # 8月19日 and 8月: the month's numeral has no group
        month = hit.group().split(pattern("月").pattern)[0]
    return y, _int(month) if month else None, _int(day.strip(" 日號号")) if day else None


def _int(text: str) -> int | None:
    number = value(text.strip())
    return int(number) if number is not None else None


def _year(text: str) -> int | None:
    number = _int(re.sub(r"\D*国", "", text))
    return number + 1911 if number is not None and number < 200 else number


def _date(y: int | None, m: int | None, d: int | None) -> str:
    if m is None and d is None:
        return f"year:{y}"
    if m is None:
        return f"date:---{d:02}"
    head = f"{y}-" if y is not None else "--"
    return f"date:{head}{m:02}" + (f"-{d:02}" if d is not None else "")


_HALF = (
    r"(?P<p>凌晨|清晨|早上|早晨|清早|上午|中午|正午|下午|傍晚|晚上|晚間|夜間|午夜|午後|早|晚|am|pm)?"
    r"\s?\(?"
)
_TIME = (
    rf"{_HALF}(?<![\d:])(?P<h1>\d{{1,2}}):(?P<n1>\d\d)(?::\d\d)?(?![\d:])\s?[分點時]?\s?(?P<q1>"
    rf"(?:[ap]m|[ap]\.m\.)(?![a-z]))?"
    rf"|{_HALF.replace('?P<p>', '?P<p2>')}(?<![\d:.一二兩三四五六七八九十])(?P<h2>\d{{1,2}}"
    rf"|[零一二兩三四五六七八九十]{{1,3}})\s?(?P<u2>點|時(?![間段候數期事常尚有或程]))(?P<w2>鐘|整)?"
    r"(?:\s?(?:(?P<n2>\d{1,2}|[一二三四五六七八九十]{1,3})\s?分(?![之機])|(?P<half>半)|(?P<quarter>[一三])刻))?"
    r"|(?<![\d:])(?P<h3>\d{1,2})\s?(?P<q3>[ap]m|[ap]\.m\.)(?![a-z])"
    rf"|{_HALF.replace('?P<p>', '?P<p4>')}(?<![\d:.])(?P<h4>\d{{1,2}})\s?"
    r"(?=(?:-|~|至|到|to)\s?(?:上午"
    rf"|下午|晚上|晚間|中午|凌晨)?\s?\d{{1,2}}\s?(?:點|時(?![間段數期])|[ap]\.?m))"
)
_MORNING = "凌晨清晨早上早晨清早上午早am"
_EVENING = "下午傍晚晚上晚间夜间午后晚pm"


def times(text: str) -> Iterator[Found]:
    """`time:09:00` in 24 hours; midnight is 00:00."""
    join = pattern(r"\s?(?:至|到|~|-|to|until|翌日|隔日)\s?")
    last_hour, last_end = None, -1
    for hit in pattern(_TIME).finditer(text):
        g = {k: v for k, v in hit.groupdict().items() if v}
        hour = _int(next(v for k, v in g.items() if k in ("h1", "h2", "h3", "h4")))
        minute = _int(g.get("n1") or g.get("n2") or "0")
        minute = 30 if "half" in g else {"一": 15, "三": 45}.get(g.get("quarter", ""), minute)
        part = (g.get("p") or g.get("p2") or g.get("p4") or "").strip()
        part = part or (g.get("q1") or g.get("q3") or "").replace(".", "")
        if hour is None or minute is None or hour > 24 or minute > 59:
            continue
        clear = part or {"half", "quarter", "w2", "n2", "h1", "h3", "h4"} & g.keys()
        if not clear and hour == 1 and not hit.group().strip()[0].isdigit():
            continue  # 一點: a little
        follows = last_hour is not None and join.fullmatch(text, last_end, hit.start())
        if part and part in _EVENING and hour <= 12:
            hour = hour + 12 if hour < 12 else (24 if part[0] in "晚夜" else 12)
        elif part in ("凌晨", "午夜", "am") and hour == 12:
            hour = 0
        elif (part in ("中午", "正午") and hour <= 3) or (
            not part and follows and last_hour is not None and hour < last_hour <= hour + 12 <= 24
        ):
            hour += 12
        last_hour, last_end = hour, hit.end()
        yield hit.start(), hit.end(), (f"time:{hour % 24:02}:{minute:02}",)


_DAYS = {c: i % 7 + 1 for i, c in enumerate("一二三四五六日")} | {"天": 7, "末": 6}
_DAYS |= {str(i): i for i in range(1, 8)}
_ENGLISH = {"mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6, "sun": 7}
_W = r"(?:週|星期|禮拜)"
_WEEK = (
    rf"(?<![一兩二三四五六七八九十\d個]){_W}\s?(?P<a>[一二三四五六日天]|[1-7](?![\d天日]))(?![次個堂回年]|小時|(?<=每[週周].)天)"
    rf"(?P<rest>(?:\s?(?:至|到|~|-)\s?{_W}?\s?[一二三四五六日天](?![次個])|\s?[、,及和與跟/或]\s?{_W}\s?[一二三四五六日天]"
    r"|\s?[、/]?\s?[一二三四五六日](?=[^\u4e00-\u9fff]|[至到及和與公休上下早晚中每的為、]|$))*)"
    rf"|(?P<end>{_W}末|weekends?)"
    r"|(?<![a-z])(?P<e1>mon|tue|wed|thu|fri|sat|sun)(?:s|rs|sday|day|nesday|rsday"
    r"|urday)?s?(?![a-z])"
    r"(?:\s?(?:-|~|to|through|thru|until)\s?(?P<e2>mon|tue|wed|thu|fri|sat|sun)(?:s|rs|sday|day"
    r"|nesday|rsday|urday)?s?(?![a-z]))?"
    r"|(?<=[\d日號\ue000])\s?\((?P<bracket>[一二三四五六日])\)"
)


def weekdays(text: str) -> Iterator[Found]:
    """`weekday:1` (Monday) to `weekday:7`; a range is all its days."""
    for hit in pattern(_WEEK).finditer(text):
        if hit["end"]:
            days = {6, 7}
        elif hit["bracket"]:
            days = {_DAYS[hit["bracket"]]}
        elif hit["e1"]:
            first, end = _ENGLISH[hit["e1"]], _ENGLISH[hit["e2"] or hit["e1"]]
            days = _through(first, end)
        else:
            days = _listed(hit["a"], hit["rest"])
        yield hit.start(), hit.end(), tuple(f"weekday:{day}" for day in sorted(days))


def _through(first: int, end: int) -> set[int]:
    return {(first - 1 + i) % 7 + 1 for i in range((end - first) % 7 + 1)}


def _listed(first: str, rest: str) -> set[int]:
    last = _DAYS[first]
    days = {last}
    for mark, name in re.findall(
        r"(至|到|~|-)?[^一二三四五六日天至到~-]*([一二三四五六日天])", rest
    ):
        day = _DAYS[name]
        days |= _through(last, day) if mark else {day}
        last = day
    return days
