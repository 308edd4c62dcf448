"""Rows whose format differs from the rest: markup, full-width Latin, the other Chinese script.

A format that the whole file shares is no fault here, only a note where it is markup. Does not
know what a row says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from ..records import Finding, Pair
from .decode import encoded
from .words import quote

_HTML = re.compile(
    r"</?(p|br|div|span|a|b|i|u|em|strong|ul|ol|li|table|tr|td|th|h[1-6]|img|font|hr|center|iframe|script|style)"
    r"(\s[^<>]*)?/?>|&(nbsp|amp|lt|gt|quot|copy|mdash|ndash|hellip|ldquo|rdquo|#\d{2,5});",
    re.IGNORECASE,
)
_MARKDOWN = re.compile(
    r"\*\*[^*\n]+\*\*|!?\[[^\]\n]{0,200}\]\((https?:|/|#|mailto:|tel:)|^#{1,6}\s+\S|^```|^>\s+\S|`[^`\n]+`"
    r"|^\|.+\|$|~~[^~\n]+~~",
    re.MULTILINE,
)
_ESCAPED = re.compile(r"(?<![A-Za-z0-9:\\])\\[nrt]|\\[nr](?![A-Za-z])|\\\"|\\/")
_RTF = re.compile(
    r"\\(?:par|rtf1|fs\d+|b0?)\b|\{\\|\[(b|url|color|img)[^\]]{0,200}\].{0,500}?\[/\1\]", re.I
)
_FULL = re.compile(r"[０-９Ａ-Ｚａ-ｚ]")
_HALF = re.compile(r"[0-9A-Za-z]")
_TAGS: tuple[tuple[str, Callable[[str], bool], str], ...] = (
    ("HTML tags", lambda t: bool(_HTML.search(t)), "Delete the tags and keep the text."),
    ("Markdown marks", lambda t: bool(_MARKDOWN.search(t)), "Delete the marks and keep the text."),
    (
        "escaped characters such as \\n",
        lambda t: bool(_ESCAPED.search(t)),
        "Replace them by what they stand for, such as a line break.",
    ),
    ("word processor codes", lambda t: bool(_RTF.search(t)), "Delete the codes and keep the text."),
)


def mixed(pairs: tuple[Pair, ...]) -> Iterator[Finding]:
    """One finding for each format that some rows have and the others have not."""
    for name, test, fix in _TAGS:
        rows = [pair for pair in pairs if any(test(t) for t in (pair.answer, *pair.phrasings))]
        if rows:
            most = len(rows) > len(pairs) / 2
            yield Finding(
                "note" if most else "warn",
                "mixed-format",
                f"{len(rows)} of {len(pairs)} rows hold {name}, for example "
                f"{quote(_example(rows[0], test))}.",
                ("The bot will say them as they stand. " if most else "") + fix,
                tuple(pair.origin for pair in rows),
            )
    yield from _minority(
        pairs,
        _width,
        {"full": "full-width digits or letters", "half": "half-width digits and letters"},
        "Write digits and letters as in the other rows, so that the bot learns one form.",
    )
    yield from _minority(
        pairs,
        _script,
        {"hans": "Simplified Chinese", "hant": "Traditional Chinese"},
        "Convert these rows to the script of the others.",
    )


def _minority(
    pairs: tuple[Pair, ...],
    classify: Callable[[Pair], str | None],
    names: dict[str, str],
    fix: str,
) -> Iterator[Finding]:
    """Rows of the rarer of two classes; an even mixture is left to the owner as a note."""
    classes: dict[str, list[Pair]] = {name: [] for name in names}
    for pair in pairs:
        kind = classify(pair)
        if kind:
            classes[kind].append(pair)
    one, other = sorted(names, key=lambda name: len(classes[name]))
    few, many = classes[one], classes[other]
    if few:
        yield Finding(
            "warn" if len(few) * 3 <= len(many) else "note",
            "mixed-format",
            f"{len(few)} rows are written with {names[one]} and {len(many)} with {names[other]}, "
            f"for example {quote(few[0].question)}.",
            fix,
            tuple(pair.origin for pair in few),
        )


def _example(pair: Pair, test: Callable[[str], bool]) -> str:
    return next(t for t in (pair.answer, *pair.phrasings) if test(t))


def _width(pair: Pair) -> str | None:
    text = pair.question + pair.answer
    full, half = len(_FULL.findall(text)), len(_HALF.findall(text))
    if full >= 4 and full > half:
        return "full"
    return "half" if half >= 4 and not full else None


def _script(pair: Pair) -> str | None:
    """By characters that only one of the two old character sets holds."""
    kinds = [_kind(c) for c in pair.question + pair.answer if c > "\u3400"]
    hans, hant = kinds.count("hans"), kinds.count("hant")
    if hans >= 2 and hans > 2 * hant:
        return "hans"
    return "hant" if hant >= 2 and hant > 2 * hans else None


@lru_cache(maxsize=16384)
def _kind(char: str) -> str | None:
    gb, big5 = encoded(char, "gb2312"), encoded(char, "cp950")
    if gb and not big5:
        return "hans"
    return "hant" if big5 and not gb else None
