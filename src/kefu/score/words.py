"""The words of a report's pictures in English and Traditional Chinese. Knows no figures."""

from __future__ import annotations

from html import escape

from .sentences import Language


def plain(text: str) -> str:
    """Text without signs that move a cursor, turn the reading order or are no letters at all."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def escaped(text: str) -> str:
    """Plain text for HTML and SVG, inside quotes too."""
    return escape(plain(text), quote=True)


_WORDS: dict[str, tuple[str, str]] = {
    "title": ("Exam report", "測驗報告"),
    "kind": ("Kind of question", "題型"),
    "all": ("all", "全部"),
    "known": ("known", "原題"),
    "reworded": ("reworded", "換句話問"),
    "near-miss": ("near-miss", "相近但無解答"),
    "out-of-scope": ("out of scope", "範圍外"),
    "multi-turn": ("multi-turn", "追問"),
    "hostile": ("hostile", "惡意"),
    "asked": ("asked", "題數"),
    "right": ("right", "答對"),
    "wrong": ("wrong", "答錯"),
    "handed over": ("handed over", "轉真人"),
    "false answers": ("false answers", "該轉未轉"),
    "false hand-overs": ("false hand-overs", "不該轉卻轉"),
    "offered": ("… but offered the right question", "…但列出了對的題目"),
    "invented": ("invented facts", "捏造事實"),
    "seconds": ("seconds", "秒數"),
    "candidate": ("candidate", "受測者"),
    "this run": ("this run", "本次訓練"),
    "controls": ("Against the controls", "與對照組比較"),
    "by kind": ("By kind of question", "各題型表現"),
    "details": ("All figures", "完整數字"),
    "curve": ("What hand-over costs", "門檻與錯誤率"),
    "curve note": (
        "Each point is a threshold: answer fewer questions, and fewer answers are wrong.",
        "每一點是一個信心門檻：回答得越少，答錯的比例越低。",
    ),
    "answered": ("share of questions answered", "回答的題目比例"),
    "error": ("share of answers wrong", "答案錯誤比例"),
    "worst": ("The worst answers", "最糟的答案"),
    "stale": ("Answered in their old form", "仍照舊內容回答的題目"),
    "stale note": (
        "These rows were edited after the training. Train again, or answer with an open book: "
        'book = "open".',
        '這些題目在訓練之後改過。請重新訓練，或改用開卷：book = "open"。',
    ),
    "asked row": ("row", "題目"),
    "old answer": ("the bot's answer, from the training", "機器人的答案（訓練當時）"),
    "new answer": ("the FAQ's answer now", "FAQ 現在的答案"),
    "gone": ("(the row is gone)", "（這一列已刪除）"),
    "no worst": ("Every answer was right.", "全部答對。"),
    "given": ("the bot's answer", "機器人的回答"),
    "due": ("the right answer", "正確答案"),
    "to a person": ("hand over to a person", "應轉由真人回覆"),
    "nothing": ("(nothing)", "（沒有回答）"),
    "before": ("asked before", "先前問過"),
    "must pass": ("must pass", "必須答對"),
    "median": ("median seconds to the last token", "回答秒數中位數"),
    "p95": ("95th percentile", "第 95 百分位"),
    "interval": ("95 % interval", "95 % 信賴區間"),
    "confidence": ("confidence", "信心"),
    "threshold": ("threshold", "門檻"),
    "mode": ("answer mode", "回答模式"),
    "exam": ("exam", "試卷"),
    "faq": ("FAQ", "FAQ"),
    "created": ("examined", "測驗時間"),
    "versions": ("versions", "版本"),
    "fact right": ("fact right", "正確的事實"),
    "fact missing": ("fact missing", "遺漏的事實"),
    "fact invented": ("fact invented", "捏造的事實"),
    "fact misplaced": ("fact of another answer", "張冠李戴的事實"),
    "no facts": ("no facts", "無事實"),
}
_REASONS: tuple[tuple[str, str], ...] = (
    ("handed over what the FAQ answers", "FAQ 有答案，卻轉給真人"),
    ("answered what it should have handed over", "應轉給真人，卻自行回答"),
    ("gives the answer that must not be given", "給了絕不能給的答案"),
    ("facts invented", "捏造了 FAQ 沒有的事實"),
    ("facts of another answer", "用了別題的事實"),
    ("facts missing", "遺漏了事實"),
    ("cut off before its end", "話沒說完就被截斷"),
    ("empty", "沒有回答"),
    ("says much that the FAQ does not", "說了許多 FAQ 沒有說的"),
    ("says what the FAQ does not", "說了 FAQ 沒有說的"),
    ("leaves out what the FAQ says", "漏說了 FAQ 說的"),
    ("a digit differs", "有一個數字不同"),
    ("contradicts the FAQ", "與 FAQ 矛盾"),
)


def say(word: str, language: Language) -> str:
    """A word of the report; one that is not known stays as it is."""
    english, chinese = _WORDS.get(word, (word, word))
    return chinese if language == "zh-TW" else english


def reason(because: str, language: Language) -> str:
    """Why an answer is wrong."""
    if language == "en":
        return because
    for english, chinese in _REASONS:
        if because.startswith(english):
            return chinese
    return because
