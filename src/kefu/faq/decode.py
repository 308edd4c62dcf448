"""Bytes to text: which encoding a file is in, and how plausible a text is as Chinese or English.

Strict evidence first (byte order mark, valid UTF-8, the zero bytes of UTF-16), and only then a
judgement between Big5 and GB18030 by how common the decoded characters are. Does not know files,
columns or FAQs.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from functools import lru_cache

# The most frequent characters of modern Chinese prose in both scripts, by general knowledge of
# the language; they only have to be much more frequent in right text than in wrongly decoded text.
_FREQUENT = frozenset(
    "的一是不了在人有我他這这個个們们中來来上大為为和國国地到以說说時时要就出會会可也你對对生能而子那得於于"
    "著着下自之年過过發发後后作里用道行所然家種种事成方多經经麼么去法學学如都同現现當当沒没動动面起看定天分"
    "還还進进好小部其些主樣样理心她本前開开但因只從从想實实日軍军者意無无力它與与長长把機机十民第公此已工使"
    "情明性知全三又關关點点正業业外將将兩两高間间由問问很最重並并物手應应戰战向頭头文體体政美相見见被利什二"
    "等產产或新己制身果加西斯月話话合回特代內内信表化老給给世位次度門门任常先海通教兒儿原東东聲声提立及比員员"
    "解水名真論论處处走義义各入幾几口認认條条平系氣气題题活爾尔更別别打女變变四神總总何電电數数安少報报才結结"
    "請请您嗎吗服務务查詢询辦办理申站路市區区證证件費费元號号上週周期買买賣卖退貨货換换訂订單单款付寄送客收"
)
_PUNCTUATION = frozenset("，。？！：；、「」『』（）《》〈〉【】—…％～・．－／")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text, the codec that gave it, and what the owner should know about that."""

    text: str
    encoding: str
    remark: str = ""


def decode(data: bytes) -> Decoded | None:
    """The text of a file, or None when the bytes are no text in any encoding known here."""
    for mark, codec in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if data.startswith(mark):
            return _known(data, codec)
    wide = _utf16_without_mark(data)
    if wide:
        return _known(data, wide)
    try:
        return Decoded(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError:
        pass
    damaged = _nearly_utf8(data)
    if damaged:
        return damaged
    return _legacy(data)


def plausibility(text: str) -> float:
    """How common the non-ASCII characters are: -3 (noise) to +3 (Chinese prose); 0 if none."""
    marks = [_weight(c) for c in text if c > "\x7f"]
    return sum(marks) / len(marks) if marks else 0.0


def encoded(text: str, codec: str) -> bytes | None:
    """`text` in `codec`, or None when it cannot be written so."""
    try:
        return text.encode(codec)
    except UnicodeError:
        return None


@lru_cache(maxsize=32768)
def _weight(char: str) -> float:
    if char in _FREQUENT:
        return 3.0
    if char in _PUNCTUATION:
        return 2.0
    point = ord(char)
    if 0x4E00 <= point <= 0x9FFF:
        return 1.0 if _schooled(char) else -2.0
    if 0xFF01 <= point <= 0xFF5E or 0x2010 <= point <= 0x2027 or 0x3000 <= point <= 0x303F:
        return 0.5
    if char == "\ufffd" or 0xE000 <= point <= 0xF8FF or 0x80 <= point <= 0x9F:
        return -5.0
    if point >= 0x20000 or 0x3400 <= point <= 0x4DBF:
        return -3.0
    return -1.5


def _schooled(char: str) -> bool:
    """Whether a character is of the common level of Big5 (5,401) or of GB 2312 (3,755)."""
    big5 = encoded(char, "cp950")
    if big5 and len(big5) == 2 and b"\xa4\x40" <= big5 <= b"\xc6\x7e":
        return True
    gb = encoded(char, "gb2312")
    return bool(gb and len(gb) == 2 and b"\xb0\xa1" <= gb <= b"\xd7\xf9")


def _known(data: bytes, codec: str) -> Decoded:
    text = data.decode(codec, errors="replace").removeprefix("\ufeff")
    bad = text.count("\ufffd")
    return Decoded(text, codec, f"{bad} damaged characters were replaced by \ufffd" if bad else "")


def _utf16_without_mark(data: bytes) -> str | None:
    """UTF-16 without a mark: its line feeds and ASCII carry a zero byte on one side only."""
    sample = data[:4096]
    if len(sample) < 4 or b"\0" not in sample:
        return None
    best: tuple[float, str] | None = None
    for codec in ("utf-16-le", "utf-16-be"):
        try:
            text = sample[: len(sample) // 2 * 2].decode(codec)
        except UnicodeDecodeError:
            continue
        if any(c < " " and c not in "\t\r\n" for c in text):
            continue
        spoken = [1.5 if c < "\x7f" else _weight(c) for c in text]
        marks = sum(spoken) / len(spoken)
        if marks >= 0.5 and (best is None or marks > best[0]):
            best = (marks, codec)
    return best[1] if best else None


def _nearly_utf8(data: bytes) -> Decoded | None:
    """UTF-8 with a few broken bytes (a cut download, one pasted cell): keep it, and say so."""
    text = data.decode("utf-8", errors="replace")
    bad = text.count("\ufffd")
    good = sum(1 for c in text if c > "\x7f" and c != "\ufffd")
    if good < 8 * bad:
        return None
    return Decoded(text, "utf-8", f"{bad} damaged characters were replaced by \ufffd")


def _legacy(data: bytes) -> Decoded | None:
    if b"\0" in data:
        return None
    western = _western(data)
    if western:
        return western
    texts = {codec: data.decode(codec, errors="replace") for codec in ("cp950", "gb18030")}
    if "\ufffd" in texts["cp950"]:  # Hong Kong's additions, only where plain Big5 does not do
        texts["big5hkscs"] = data.decode("big5hkscs", errors="replace")
    codec = max(texts, key=lambda name: plausibility(texts[name]))
    text = texts[codec]
    if plausibility(text) < 0.8:
        return _other(data)
    bad = text.count("\ufffd")
    return Decoded(text, codec, f"{bad} damaged characters were replaced by \ufffd" if bad else "")


def _western(data: bytes) -> Decoded | None:
    """Latin text with a few accents or curly quotes: high bytes are rare and stand alone."""
    high = [i for i, byte in enumerate(data) if byte > 0x7F]
    alone = sum(1 for i in high if data[i - 1 : i] < b"\x80" and data[i + 1 : i + 2] < b"\x80")
    letters = sum(1 for byte in data if 65 <= byte <= 90 or 97 <= byte <= 122)
    if len(high) * 2 > letters or alone < 0.9 * len(high):
        return None
    text = data.decode("cp1252", errors="replace")
    odd = sum(1 for c in text if c > "\x7f" and not (c.isalpha() or c in "‘’“”–—…€£°«»¿¡•·§®©™"))
    return (
        Decoded(text, "cp1252", "the encoding cp1252 is a guess") if odd * 5 <= len(high) else None
    )


def _other(data: bytes) -> Decoded | None:
    """Any other encoding, as charset-normalizer judges; slow, so only when nothing else fits."""
    from charset_normalizer import from_bytes

    if sum(b < 32 and b not in (9, 10, 11, 12, 13) for b in data[:65536]) * 50 > len(data[:65536]):
        return None
    guess = from_bytes(data[:65536]).best()
    if guess is None:
        return None
    text = data.decode(guess.encoding, errors="replace")
    if text.count("\ufffd") * 10 > len(text):
        return None
    return Decoded(text, guess.encoding, f"the encoding {guess.encoding} is a guess")
