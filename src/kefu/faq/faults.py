"""What can be wrong with single rows, and with the file as a whole.

Every finding gathers all rows with the same fault, so that a report stays short. Does not know
how rows relate to one another (see `alike`).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from ..records import Faq, Finding, Level, Origin, Pair
from . import garbled
from .compare import wide
from .words import quote

TOKENS = 1024
"""The length limit, question and answer together, where no other is given."""
FEW_PAIRS = 5
FEW_WORDINGS = 3
_PLACEHOLDERS = frozenset(
    wide(text)
    for text in (
        *("-", "--", "---", "—", "──", "…", "...", "/", "x", "xx", "xxx", "?", "？", "n/a", "na"),
        *("null", "none", "nan", "nil", "undefined", "tbd", "todo", "tba", "test", "測試", "测试"),
        *(
            "待補",
            "待补",
            "待補充",
            "待补充",
            "待確認",
            "待确认",
            "待填",
            "待定",
            "待回覆",
            "未定",
            "略",
        ),
        *(
            "同上",
            "同左",
            "如上",
            "同前",
            "〃",
            "見上",
            "ditto",
            "lorem ipsum",
            "(空白)",
            "（空白）",
        ),
    )
)
_SHEET_ERRORS = re.compile(r"#(REF!|N/A|NAME\?|VALUE!|DIV/0!|NULL!|NUM!|SPILL!|CALC!)|Err:\d{3}")


class Gathered:
    """Findings under way: one a kind of fault, with all its rows."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Level, str, str, str], list[tuple[Origin, str]]] = defaultdict(list)

    def add(
        self, level: Level, code: str, what: str, fix: str, pair: Pair, shown: str = ""
    ) -> None:
        """`what` is a sentence without its end; `shown` an example from the row."""
        self._rows[level, code, what, fix].append((pair.origin, shown))

    def findings(self) -> Iterator[Finding]:
        for (level, code, what, fix), rows in self._rows.items():
            origins = tuple(dict.fromkeys(origin for origin, _ in rows))
            shown = next((text for _, text in rows if text), "")
            count = f"{len(origins)} rows" if len(origins) > 1 else "1 row"
            example = f", for example {shown}" if shown else ""
            yield Finding(level, code, f"{what} ({count}{example}).", fix, origins)


def find(
    faq: Faq, count_tokens: Callable[[str], int] | None, max_tokens: int | None
) -> Iterator[Finding]:
    """Every finding about single rows and about the whole."""
    gathered = Gathered()
    for pair in faq.incomplete:
        _empty(pair, gathered)
    for pair in faq.pairs:
        _placeholder(pair, gathered)
        _personal(pair, faq, gathered)
        _invisible(pair, gathered)
        _garbled(pair, gathered)
    for pair in faq.incomplete:
        _invisible(pair, gathered)
        _garbled(pair, gathered)
    _long(faq, count_tokens, max_tokens, gathered)
    yield from gathered.findings()
    yield from _whole(faq)


def _parts(pair: Pair) -> Iterator[tuple[str, str]]:
    yield "question", pair.question
    yield "answer", pair.answer
    for wording in pair.wordings:
        yield "wording", wording


def _empty(pair: Pair, gathered: Gathered) -> None:
    has, lacks = ("question", "answer") if pair.question else ("answer", "question")
    gathered.add(
        "stop",
        "empty-cell",
        f"A row has a{'n' if has == 'answer' else ''} {has} but no {lacks}",
        "Fill the cell or delete the row.",
        pair,
        quote(pair.question or pair.answer),
    )


def _placeholder(pair: Pair, gathered: Gathered) -> None:
    for part, text in (("question", pair.question), ("answer", pair.answer)):
        if _SHEET_ERRORS.fullmatch(text.strip()):
            gathered.add(
                "stop",
                "spreadsheet-error",
                f"A{'n' if part == 'answer' else ''} {part} is an error of the spreadsheet",
                "Mend the formula, or type the text in.",
                pair,
                text.strip(),
            )
        elif wide(text.strip(" 。.")) in _PLACEHOLDERS or not re.search(r"\w", text):
            gathered.add(
                "stop",
                "empty-cell",
                f"A{'n' if part == 'answer' else ''} {part} is a placeholder without content",
                "Write the text out or delete the row.",
                pair,
                quote(text),
            )
    if len(pair.question) > 4 and wide(pair.question) == wide(pair.answer):
        gathered.add(
            "warn",
            "answer-is-question",
            "An answer only repeats its question",
            "Write the answer.",
            pair,
            quote(pair.question),
        )


# --- personal data ---------------------------------------------------------------

_EMAIL = re.compile(r"[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+", re.ASCII)
_FREE_MAIL = re.compile(
    r"@(gmail|googlemail|yahoo|ymail|hotmail|outlook|live|msn|icloud|me|aol|qq|163|126|foxmail|sina|sohu|"
    r"proton|protonmail|gmx|pchome|seed|kimo|naver|hanmail|yeah|139|189)\.|@(msa\.hinet|ms\d+\.(hinet|url))\.",
    re.IGNORECASE,
)
_MOBILE = re.compile(
    r"(?<![\d第字-])(?:(?:\+?886[-\s]?9|09)\d{2}[-\s.]?\d{3}[-\s.]?\d{3}|(?:\+?86[-\s]?)?1[3-9]\d[-\s]?\d{4}[-\s]?\d{4}"
    r"|\+852[-\s]?[569]\d{3}[-\s]?\d{4})(?!\d)"
)
_ID = re.compile(r"(?<![A-Za-z0-9])[A-Za-z][1289A-Da-d]\d{8}(?![A-Za-z0-9])", re.ASCII)
_CHINA_ID = re.compile(r"(?<!\d)\d{17}[\dXx](?![\dA-Za-z])")
_CARD = re.compile(r"(?<![\d-])(?:\d[ -]?){12,18}\d(?![\d-])")
_BIRTH = re.compile(
    r"(生日|出生|生於|生于)[^，。\n]{0,8}\d{2,4}\s*[年/.-]\s*\d{1,2}\s*[月/.-]\s*\d{1,2}"
)
_SERVICE = re.compile(
    r"(洽|詢問|询问|專線|专线|熱線|热线|客服|服務|服务|聯絡|連絡|联络|聯繫|联系|來電|来电|撥打|拨打|致電|电话|電話|手機|"
    r"市話|信箱|邮箱|郵箱|e-?mail|mail|來信|来信|寄|電子郵件|電郵|邮件|報名|通報|訂購|預約|預訂|官方|line|tel|fax|傳真|[/／、或])"
    r"[^，。；！？\n]{0,14}$",
    re.IGNORECASE,
)
_CUSTOMER = re.compile(
    r"(我的|他的|她的|我是|我叫|本人|客戶|客户|顧客|顾客|會員|会员|訂購人|收件人|收货人|买家|買家|姓名|身分證|身份证|生日|"
    r"先生|小姐|女士|太太|同學|同学|my\s|customer)[^。；！？\n]{0,20}$",
    re.IGNORECASE,
)
_ID_LETTERS = "ABCDEFGHJKLMNPQRSTUVXYWZIO"
_REMOVE = "Delete it from the FAQ: a trained model may tell it to anyone."


def _personal(pair: Pair, faq: Faq, gathered: Gathered) -> None:
    for part, text in _parts(pair):
        if not re.search(r"\d{3}|@|生", text):
            continue
        folded = unicodedata.normalize("NFKC", text)
        for what, start, value in _private(folded):
            sure = what not in ("mobile phone number", "personal e-mail address")
            own = not sure and part == "answer" and _own(folded[max(0, start - 60) : start])
            level: Level = "note" if own else "warn"
            says = (
                f"A {what} stands where a shop gives its own contacts"
                if own
                else f"A {part} holds what looks like a customer's {what}"
            ).replace("A answer", "An answer")
            fix = f"If it is a customer's: {_REMOVE[0].lower()}{_REMOVE[1:]}" if own else _REMOVE
            gathered.add(level, "personal-data", says, fix, pair, _hidden(value))


def _private(text: str) -> Iterator[tuple[str, int, str]]:
    """(what it is, where it begins, the text) of everything private-looking."""
    covered: list[tuple[int, int]] = []
    for what, pattern, holds in (
        ("identity card number", _ID, _taiwan_id),
        ("identity card number", _CHINA_ID, _china_id),
        ("credit card number", _CARD, _luhn),
        ("date of birth", _BIRTH, None),
        ("personal e-mail address", _EMAIL, lambda t: bool(_FREE_MAIL.search(t))),
        ("mobile phone number", _MOBILE, None),
    ):
        for hit in pattern.finditer(text):
            if any(hit.start() < end and start < hit.end() for start, end in covered):
                continue
            if holds is None or holds(hit.group()):
                covered.append(hit.span())
                yield what, hit.start(), hit.group()


def _own(before: str) -> bool:
    """Whether what stands before makes it the shop's own contact rather than a customer's."""
    return bool(_SERVICE.search(before)) and not _CUSTOMER.search(before)


def _hidden(value: str) -> str:
    """Enough to find it, not enough to use it."""
    return value[:4] + "…" + value[-2:]


def _taiwan_id(text: str) -> bool:
    """Checksum of the Taiwan identity card (and of resident permits, old form and new)."""
    text = text.upper()
    lead = _ID_LETTERS.index(text[0]) + 10
    second = str((_ID_LETTERS.index(text[1]) + 10) % 10) if text[1].isalpha() else text[1]
    numbers = [lead // 10, lead % 10, *map(int, second + text[2:])]
    weights = (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1)
    return sum(n * w for n, w in zip(numbers, weights, strict=True)) % 10 == 0


def _china_id(text: str) -> bool:
    """Checksum of the mainland identity card (GB 11643, ISO 7064 mod 11-2)."""
    weights = [pow(2, 17 - i, 11) for i in range(17)]
    rest = sum(int(n) * w for n, w in zip(text, weights, strict=False)) % 11
    return "10X98765432"[rest] == text[-1].upper()


def _luhn(text: str) -> bool:
    """Luhn's checksum, and a first digit that card schemes use."""
    numbers = [int(c) for c in text if c.isdigit()]
    if numbers[0] not in (2, 3, 4, 5, 6) or len(set(numbers)) < 3 or not 13 <= len(numbers) <= 19:
        return len(set(numbers)) == 2 and numbers[0] == 4 and len(numbers) == 16 and _check(numbers)
    return _check(numbers)


def _check(numbers: list[int]) -> bool:
    doubled = [n if i % 2 == 0 else sum(divmod(2 * n, 10)) for i, n in enumerate(numbers[::-1])]
    return sum(doubled) % 10 == 0


# --- what cannot be seen, and what cannot be read -----------------------------------

_BLANK = frozenset("\n\t")
_JOINERS = frozenset("\u200d\ufe0e\ufe0f")


def _invisible(pair: Pair, gathered: Gathered) -> None:
    found: set[str] = set()
    for _, text in _parts(pair):
        if text.isascii() and text.isprintable():
            continue
        for at, char in enumerate(text):
            if char in _BLANK or unicodedata.category(char) not in ("Cc", "Cf", "Zl", "Zp"):
                continue
            if char in _JOINERS and at and ord(text[at - 1]) > 0x2000:
                continue  # part of an emoji
            found.add(char)
    for char in sorted(found):
        name = unicodedata.name(char, "control character").lower()
        gathered.add(
            "warn",
            "control-character",
            f"A row holds an invisible character, U+{ord(char):04X} ({name})",
            "Type the text anew around it, or paste it through a plain text editor.",
            pair,
        )


def _garbled(pair: Pair, gathered: Gathered) -> None:
    for part, text in _parts(pair):
        broken = garbled.diagnose(text)
        if broken:
            what, perhaps = broken
            hint = f"; it may have read {quote(perhaps, 20)}" if perhaps.strip() else ""
            gathered.add(
                "stop",
                "mojibake",
                f"Text is garbled: {what}",
                "Save the file anew from its source in the right encoding (CSV UTF-8), or type "
                "the text in.",
                pair,
                f"the {part} {quote(text, 20)}{hint}",
            )
            return


# --- length, and the file as a whole -------------------------------------------------


def estimate(text: str) -> int:
    """Tokens without a tokenizer: one a Chinese character, two for seven others; rather high."""
    broad = sum(1 for c in text if c > "\u2e80")
    return broad + -(-(len(text) - broad) * 2 // 7)


def _long(
    faq: Faq,
    count_tokens: Callable[[str], int] | None,
    max_tokens: int | None,
    gathered: Gathered,
) -> None:
    limit = max_tokens or TOKENS
    count = count_tokens or estimate
    about = "" if count_tokens else "about "
    # Only a real count against a real limit is certain enough to stop.
    level: Level = "stop" if count_tokens and max_tokens else "warn"
    for pair in faq.pairs:
        if estimate(pair.question) + estimate(pair.answer) < limit / 4:
            continue
        tokens = max(count(text) for text in pair.phrasings) + count(pair.answer)
        if tokens > limit:
            gathered.add(
                level,
                "too-long",
                f"A question with its answer is longer than the limit of {limit} tokens",
                "Shorten the answer, or divide it among several questions.",
                pair,
                f"{about}{tokens} tokens at {quote(pair.question, 20)}",
            )


def _whole(faq: Faq) -> Iterator[Finding]:
    for source in faq.sources:
        if source.pairs == 0:
            yield Finding(
                "warn",
                "file-passed-over",
                f"{source.file} gave no pairs: {source.remark.rstrip('.')}.",
                "Mend it, give it by itself with its columns named, or take it out of the folder.",
                (Origin(source.file, 1),),
            )
        elif "\ufffd" in source.remark:
            yield Finding(
                "warn",
                "damaged-file",
                f"{source.file} is damaged: {source.remark}.",
                "Save it anew from its source.",
                (Origin(source.file, 1),),
            )
    if len(faq.pairs) < FEW_PAIRS:
        yield Finding(
            "warn",
            "too-few",
            f"There {'is' if len(faq.pairs) == 1 else 'are'} only {len(faq.pairs)} pairs.",
            f"Write at least {FEW_PAIRS}; a bot for fewer questions is better as a fixed text.",
        )
    wordings = Counter(min(len(pair.wordings), FEW_WORDINGS) for pair in faq.pairs)
    few = sum(count for n, count in wordings.items() if n < FEW_WORDINGS)
    if few:
        mean = sum(len(pair.wordings) for pair in faq.pairs) / len(faq.pairs)
        yield Finding(
            "warn" if few > len(faq.pairs) / 10 else "note",
            "too-few-wordings",
            f"{few} of {len(faq.pairs)} questions have fewer than {FEW_WORDINGS} other wordings "
            f"(mean {mean:.1f}). A bot trained on one wording fails on many others.",
            "Write other ways to ask into a column `wordings`, divided by |; `kefu reword` helps.",
        )
