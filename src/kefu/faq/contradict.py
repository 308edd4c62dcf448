"""Answers that contradict each other on a fact: two phone numbers for one thing.

Three signs, each of them strict, because different facts under different questions are the rule:
both questions ask for the same fact of the same thing; both answers are the same sentence but for
the fact; or the same name stands in front of two numbers. Does not know duplicates (see `alike`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from ..records import Finding, Pair
from .compare import Fact, bare, digits, facts, masked, question_key, values
from .words import finding, quote

_NAMED_KINDS = ("phone", "e-mail")


def contradictions(pairs: tuple[Pair, ...], seen: set[tuple[int, int]]) -> Iterator[Finding]:
    """Findings about row pairs that are not in `seen`, which grows by those spoken of."""
    for i, j, a, b, about in (
        *_one_question(pairs),
        *_one_sentence(pairs),
        *_one_label(pairs),
    ):
        if (i, j) not in seen:
            seen.add((i, j))
            yield disagreement(pairs[i], pairs[j], a, b, about)


def disagreement(one: Pair, other: Pair, a: str, b: str, about: str) -> Finding:
    """The finding that two rows say `a` and `b` `about` one thing."""
    return finding(
        "warn",
        "contradiction",
        f"Two answers disagree about {about}: {a.strip()} and {b.strip()}.",
        "Correct the wrong one; if both are right, say in each question and answer what it is for.",
        (one, other),
    )


_Clash = tuple[int, int, str, str, str]
# What a question asks for, matched on its bare text; the order decides where several match.
_ASKED: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (
            "phone",
            r"(客服|服務|服务|聯絡|聯繫|联系|免付費)?(電話|电话|專線|专线|熱線|热线|手機)(號碼|号码)?"
            r"(是)?(幾號|几号|多少|什麼|什么)?|(怎麼|怎样|怎麼樣|如何|怎么)(聯絡|聯繫|联络|联系)(客服)?(人員|人员)?"
            r"|phonenumber|hotline",
        ),
        (
            "e-mail",
            r"(客服|服務|服务|聯絡|聯繫|联系)?(電子郵件|电子邮件|電子信箱|信箱|邮箱|email)(地址)?"
            r"(是)?(多少|什麼|什么)?",
        ),
        (
            "money",
            r"多少(錢|钱|元)|多少$|幾(元|塊)"
            r"|(費用|价格|價格|價錢|費率|金額|收費|费用)(是|要)?(多少|為何|如何)?|howmuch",
        ),
        (
            "span",
            r"(需要?|要)?(多久|多長時間|多长时间|幾天|几天|幾年|几年|幾個月|多少天|多少時間)"
            r"|(期限|期間|期)?(有)?(多久|多長|為何|是什麼)|howlong",
        ),
        (
            "time",
            r"幾點|几点|(營業|營運|服務|上班|開放|营业|服务)時間(是)?(為何|什麼時候|何時)?"
            r"|whattime|(opening|business|office)hours|whendoyouopen",
        ),
        ("share", r"幾折|几折|多少(%|趴|百分比)|折扣(是)?多少"),
    )
)
_FILLER = re.compile(
    r"請問|请问|您好|你好|我想|想問|知道|了解|一下|你們|你们|您們|貴公司|贵公司|貴店|本公司|本店|店家|商品|產品|产品|東西"
    r"|如果|需要|可以|應該|可否|怎麼|怎么|如何|什麼|什么|多少|是否|為何|為了|為|有沒有|提供|大概|通常|一般|總共|說明|告訴"
    r"|介紹|what|is|are|the|your|do|does|for|of|a|an|our|time|期限|期間|期|時間|號碼|号码|是|的|有|要|會|会|在|嗎|吗|呢|幾"
    r"|號|請|我"
)


def _asked(question: str) -> tuple[str, str] | None:
    """(kind of fact asked for, what it is asked of), where a question asks for one fact."""
    text = bare(question)
    for kind, pattern in _ASKED:
        if pattern.search(text):
            return kind, _FILLER.sub("", pattern.sub("", text))
    return None


def _one_question(pairs: tuple[Pair, ...]) -> Iterator[_Clash]:
    """Two questions that ask for the same fact of the same thing, with disjoint values."""
    groups: dict[tuple[str, str], dict[int, frozenset[str]]] = defaultdict(dict)
    for i, pair in enumerate(pairs):
        for text in pair.phrasings:
            asked = _asked(text)
            if asked and (found := values(pair.answer, asked[0])) and len(found) <= 3:
                groups[asked].setdefault(i, found)
    for (kind, _), members in groups.items():
        rows = sorted(members)
        for k, i in enumerate(rows[:20]):
            for j in rows[k + 1 : 20]:
                if not members[i] & members[j]:
                    yield i, j, *_shown(pairs, i, j, kind), f"a {kind} that both questions ask for"


def _shown(pairs: tuple[Pair, ...], i: int, j: int, kind: str) -> tuple[str, str]:
    texts = []
    for place in (i, j):
        answer = pairs[place].answer
        texts.append(next(answer[f.start : f.end] for f in facts(answer) if f.kind == kind))
    return texts[0].strip(), texts[1].strip()


def _one_sentence(pairs: tuple[Pair, ...]) -> Iterator[_Clash]:
    """Answers that are the same word for word but for a fact, under questions that are alike."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, pair in enumerate(pairs):
        if facts(pair.answer):
            groups[masked(pair.answer)].append(i)
    for group in groups.values():
        for k, i in enumerate(group[:20]):
            for j in group[k + 1 : 20]:
                one, other = pairs[i], pairs[j]
                if bare(one.answer) == bare(other.answer) or digits(one.question) != digits(
                    other.question
                ):
                    continue
                if other_thing(one.question, other.question):
                    continue
                clash = first_difference(facts(one.answer), facts(other.answer))
                if clash:
                    a, b = clash
                    yield (
                        i,
                        j,
                        one.answer[a.start : a.end],
                        other.answer[b.start : b.end],
                        f"a {a.kind} in otherwise equal sentences",
                    )


def number_difference(one: str, other: str) -> tuple[str, str] | None:
    """The first number that differs between two texts with equally many numbers."""
    a, b = (re.findall(r"\d+(?:[.,]\d+)*", text) for text in (one, other))
    if len(a) != len(b):
        return None
    return next(((x, y) for x, y in zip(a, b, strict=True) if x != y), None)


def other_thing(one: str, other: str) -> bool:
    """Whether two questions ask about different things: little in common, or another name.

    A question with another name in it (`大安店電話`, `信義店電話`) differs in one place and by
    a word; a reworded one differs in several places, or by politeness and slips of one character.
    """
    from rapidfuzz import fuzz
    from rapidfuzz.distance import Indel

    a, b = question_key(one), question_key(other)
    if fuzz.ratio(a, b) < 50:
        return True
    a, b = _FILLER.sub("", a), _FILLER.sub("", b)
    changed = _changes(Indel.opcodes(a, b), a, b)
    if len(changed) != 1:
        return False
    left, right = map(len, changed[0])
    return left >= 2 or right >= 2 or left == right == 1


def _changes(codes: Any, a: str, b: str) -> list[tuple[str, str]]:
    """The places where two texts differ; a gap of one equal character joins its neighbours."""
    places: list[list[int]] = []
    for code in codes:
        if code.tag == "equal":
            continue
        span = [code.src_start, code.src_end, code.dest_start, code.dest_end]
        if places and span[0] - places[-1][1] <= 1 and span[2] - places[-1][3] <= 1:
            places[-1][1], places[-1][3] = span[1], span[3]
        else:
            places.append(span)
    return [(a[s:t], b[u:v]) for s, t, u, v in places]


def first_difference(one: tuple[Fact, ...], other: tuple[Fact, ...]) -> tuple[Fact, Fact] | None:
    for a, b in zip(one, other, strict=False):
        if a.kind == b.kind and a.value != b.value:
            return a, b
    return None


_LABEL_TAIL = re.compile(
    r"(請撥打?|請洽詢?|請電洽?|電洽|洽詢|洽|撥打|致電|來電|查詢|詢問|聯絡|聯繫|連絡|諮詢|或|為|是|於|至|到|寄|"
    r"電話|专线|專線|热线|熱線|號碼|tel|phone|分機|電子郵件|電子信箱|信箱|e-?mail|[\s:：（(/]|市話|免付費|手機)+$",
    re.IGNORECASE,
)
_CUT = re.compile(
    r"[，。；、！？,;!?\n\d（）()「」『』【】《》：:/~～]|請|或|及|與|和|可|向|由|於|的|至"
)


def _one_label(pairs: tuple[Pair, ...]) -> Iterator[_Clash]:
    """The same name in front of two different phone numbers or addresses."""
    groups: dict[tuple[str, str], dict[int, set[str]]] = defaultdict(dict)
    for i, pair in enumerate(pairs):
        for fact in facts(pair.answer):
            if fact.kind in _NAMED_KINDS and (label := _label(pair.answer, fact.start)):
                groups[fact.kind, label].setdefault(i, set()).add(fact.value)
    for (kind, label), members in groups.items():
        rows = sorted(members)
        if len({frozenset(v) for v in members.values()}) > 4:
            continue  # so many numbers under one name: the name is no name
        for k, i in enumerate(rows[:20]):
            for j in rows[k + 1 : 20]:
                if not members[i] & (members[j] | values(pairs[j].answer, kind)) and not (
                    members[j] & values(pairs[i].answer, kind)
                ):
                    a, b = sorted(members[i])[0], sorted(members[j])[0]
                    yield i, j, a, b, f"the {kind} of {quote(label)}"


def _label(text: str, start: int) -> str:
    """What stands in front of a number: the name of whose number it is, or nothing."""
    before = text[max(0, start - 40) : start]
    name = _LABEL_TAIL.sub("", before)
    if name == before and before[-1:].isdigit():
        return ""
    name = bare(_CUT.split(name)[-1])
    if len(name) >= 4:
        return name[-14:]
    generic = re.search(r"(客服|客戶服務|消費者服務|顧客服務)[^\d，。；]{0,8}$", before)
    return generic.group(1) if generic else ""
