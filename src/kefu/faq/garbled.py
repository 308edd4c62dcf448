"""Text that was decoded with the wrong encoding, and what it may have been.

Each suspicion is tested the same way: undo the wrong decoding, redo it rightly, and see whether
plain text comes out. Only a text that becomes much more plausible counts, so rare names, foreign
words and symbols raise no alarm. Does not know rows or findings.
"""

from __future__ import annotations

import re

from .decode import encoded, plausibility

_LATIN = re.compile(
    "[\u0080-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    "\u2013-\u203a\u20ac\u2122]"
)
_RELICS = ("锟斤拷", "锟斤", "斤拷", "烫烫烫", "屯屯屯", "ï¿½", "Ã¯Â¿Â½", "\ufffd")
_ESCAPES = re.compile(
    r"(?:\\u[0-9a-fA-F]{4}){2,}|(?:\\x[0-9a-fA-F]{2}){3,}|(?:&#x?[0-9a-fA-F]{3,6};){2,}"
    r"|(?:%[EeCcBb][0-9A-Fa-f](?:%[0-9A-Fa-f]{2}){2}){2,}"
)
_WORD = re.compile(r"[!-~]+")
_LOST = re.compile(r"\?{4,}|(?<=[\u4e00-\u9fff])\?{2,}(?=[\u4e00-\u9fff])|(?:\?[，。、]?){5,}")
_PRIVATE = re.compile("[\ue000-\uf8ff]")
# (what happened, codec that was wrongly used, codec that is right)
_MISTAKES = (
    ("UTF-8 read as GBK", "gb18030", "utf-8"),
    ("UTF-8 read as Big5", "cp950", "utf-8"),
    ("UTF-8 read as Shift-JIS", "cp932", "utf-8"),
    ("UTF-8 read as Korean", "cp949", "utf-8"),
    ("Big5 read as GBK", "gb18030", "cp950"),
    ("GBK read as Big5", "cp950", "gb18030"),
)


def diagnose(text: str) -> tuple[str, str] | None:
    """(what happened, how the text may have read, or nothing), or None for a sound text."""
    if "%" in text:  # such codes are at home in links
        text = _WORD.sub(
            lambda word: " " if re.search("[/?=]", word.group()) else word.group(), text
        )
    if text.isascii():
        hit = _ESCAPES.search(text)
        if hit:
            return "escape codes instead of characters", ""
        return ("characters lost to question marks", "") if _all_lost(text) else None
    if any(relic in text for relic in _RELICS):
        return "characters lost in a wrong conversion", ""
    latin = _latin(text)
    if latin:
        return latin
    if _PRIVATE.search(text):
        return "characters of a private font", ""
    if _ESCAPES.search(text):
        return "escape codes instead of characters", ""
    if _LOST.search(text) or _all_lost(text):
        return "characters lost to question marks", ""
    return _han(text)


def _all_lost(text: str) -> bool:
    lost = text.count("?")
    return lost >= 3 and lost * 3 > len(text.strip())


def _latin(text: str) -> tuple[str, str] | None:
    """Accents and signs in a row that are really UTF-8, GBK or Big5 bytes."""
    if not _LATIN.search(text):
        return None
    best: tuple[float, str, str] | None = None
    for run in re.findall("[\u0080-\u2122]+(?:[\x20-\x7e]{0,3}[\u0080-\u2122]+)*", text):
        data = _as_bytes(run)
        if data is None or sum(b > 0x7F for b in data) < 2:
            continue
        utf8 = data.decode("utf-8", errors="ignore")
        gained = sum(1 for c in utf8 if c > "\x7f")
        spent = sum(len(c.encode()) for c in utf8 if c > "\x7f")
        if gained and spent * 4 >= 3 * sum(b > 0x7F for b in data):
            return "UTF-8 read as Latin-1", utf8
        if sum(b > 0x7F for b in data) >= 4:
            for codec, name in (("cp950", "Big5"), ("gb18030", "GBK")):
                read = data.decode(codec, errors="replace")
                marks = plausibility(read)
                if marks >= 1.0 and any("\u4e00" <= c <= "\u9fff" for c in read):
                    best = max(best or (marks, "", ""), (marks, f"{name} read as Latin-1", read))
    return best[1:] if best and best[1] else None


def _as_bytes(run: str) -> bytes | None:
    """The bytes behind Latin text; cp1252 leaves five of them undefined, Latin-1 fills in."""
    out = bytearray()
    for char in run:
        data = encoded(char, "cp1252") or encoded(char, "latin-1")
        if data is None:
            return None
        out += data
    return bytes(out)


def _han(text: str) -> tuple[str, str] | None:
    """Han characters (or kana, Hangul) that make better sense in another encoding."""
    strange = "".join(c for c in text if c > "\x7f")
    here = plausibility(text)
    kana = sum(1 for c in strange if "\u3040" <= c <= "\u30ff")
    if len(strange) < 3 or here > 1.7 or kana * 5 > len(strange) * 3:  # plain, or Japanese
        return None
    best: tuple[float, str, str] | None = None
    for what, wrong, right in _MISTAKES:
        # Characters that the wrong codec cannot have produced cut the text into runs.
        data = text.encode(wrong, errors="ignore")
        read = data.decode(right, errors="replace")
        bad = read.count("\ufffd")
        good = sum(1 for c in read if "\u4e00" <= c <= "\u9fff" or c in "，。？！：；、「」（）")
        if good < 2 or bad > max(1, good * 0.5):
            continue
        there = plausibility(read.replace("\ufffd", ""))
        sure = 0.3 if right == "utf-8" else 1.0
        if there - here >= sure and there >= 1.2 and (best is None or there > best[0]):
            best = (there, what, read)
    if best:
        return best[1:]
    han = [c for c in text if "\u3400" <= c <= "\u9fff"]
    stops = sum(text.count(c) for c in "，。、？")  # wrong decoding leaves hardly any
    if len(han) >= 8 and stops * 15 <= len(text) and plausibility("".join(han)) < 0.7:
        return "rare characters that make no text together", ""
    return None
