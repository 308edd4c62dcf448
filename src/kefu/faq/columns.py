"""Which column is which: the names that people give to questions, answers and the rest.

English, Traditional and Simplified Chinese. Names are compared as wholes, never as parts, so that
a title such as `常見問題集` or a column `問題類別` is not taken for the question.
Does not know where the names came from (a spreadsheet's header or the keys of a JSON object).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

Role = Literal["question", "answer", "input", "wordings", "topic", "must_pass"]

_EXACT: dict[Role, str] = {
    "wordings": """
        wording wordings paraphrase paraphrases variant variants variation variations alias
        aliases similarquestion similarquestions otherwordings alternatives alternativequestions
        相似問 相似问 相似問題 相似问题 相似問法 相似问法 類似問題 类似问题 類似問法 类似问法
        其他問法 其它問法 其他问法 其它问法 同義問法 同义问法 同義問句 同义问句 同義句 同义句
        擴展問 扩展问 問法 问法 不同問法 不同问法 別種問法 改寫 改写""",
    "topic": """
        topic topics category categories tag tags class type group section domain subject 類別
        类别 分類 分类 主題 主题 類型 类型 標籤 标签 問題類別 问题类别 問題分類 问题分类 問題類型
        问题类型 業務類別 业务类别 業務分類 大類 大类 科別 領域 领域""",
    "must_pass": """
        mustpass must critical important 必過 必过 必考 必答 必對 必对 必須答對 必须答对 不可答錯
        不可答错""",
    "input": """
        input""",
    "question": """
        q question questions query ask asked inquiry instruction prompt user human customer faq
        問題 问题 提問 提问 問 问 問句 问句 題目 题目 題問 詢問 询问 疑問 疑问 問項 常見問題
        常见问题 常見問答題目 標準問 标准问 標準問題 标准问题 客戶問題 客户问题 顧客問題 顾客问题
        使用者問題 用户问题""",
    "answer": """
        a ans answer answers response responses reply output completion assistant gpt bot chosen
        acceptedanswer suggestedanswer 回答 答案 答覆 答复 答 回覆 回复 回應 回应 解答 應答 应答
        標準答案 标准答案 標準答覆 标准答复 標準回答 标准回答 標準回覆 标准回复 客服回覆 客服回复
        官方回覆 官方回复 處理方式 处理方式 解決方式 解决方式 解決方案 解决方案""",
}
_NAMES: dict[str, Role] = {name: role for role, names in _EXACT.items() for name in names.split()}
_COMPOUND: tuple[tuple[Role, re.Pattern[str]], ...] = (
    (
        "wordings",
        re.compile(
            r"(相似|類似|类似|同義|同义|其他|其它|擴展|扩展)(問|问).{0,3}|wordings?|paraphrases?"
        ),
    ),
    ("question", re.compile(r".{0,6}(問題|问题|提問|提问|問句|问句)(內容|内容|描述|敘述|說明)?")),
    (
        "answer",
        re.compile(r".{0,6}(回答|答案|答覆|答复|回覆|回复|解答|回應|回应)(內容|内容|說明|说明)?"),
    ),
    (
        "question",
        re.compile(
            r"(faq|user|customer|sample|the)?questions?(text|body|content|title|zh\w*|cn|tw|en)?"
        ),
    ),
    (
        "answer",
        re.compile(
            r"(faq|bot|best|final|standard|the)?answers?(text|body|content|zh\w*|cn|tw|en)?"
        ),
    ),
)
_ASKS = re.compile(
    r"[?？]\s*[」』\"')）]*$|如何|怎麼|怎么|怎樣|怎样|什麼|什么|是否|為何|为何|為什麼|哪|多久|多少|幾|嗎|吗|可否|能否|可不可以"
    r"|^(how|what|when|where|which|who|why|can|could|do|does|is|are|will|should|may)\b",
    re.IGNORECASE,
)
_TRUE = frozenset(
    (
        *("1", "true", "yes", "y", "x", "v", "t", "on", "✓", "✔", "☑", "o", "○", "◯"),
        *("是", "對", "对", "真", "必", "必過", "必过", "必須", "必须", "有"),
    )
)


def plain(name: str) -> str:
    """A column name without case, width, spaces, marks and numbering."""
    text = unicodedata.normalize("NFKC", name).strip().lower()
    text = re.sub(r"^[\d.、)\s*※#]+|[\s*※:：。]+$", "", text)
    return re.sub(r"[\s_\-]+", "", text)


@lru_cache(maxsize=4096)
def role(name: str) -> tuple[Role, int] | None:
    """What a column of this name holds, and how sure that is (2 a known name, 1 a compound)."""
    if not name or len(name) > 40:
        return None
    whole = plain(name)
    bare = re.sub(r"\d+$", "", whole)
    parts = [
        p
        for p in re.split(r"[()（）\[\]【】/／|｜\n,，、]", unicodedata.normalize("NFKC", name))
        if p
    ]
    for candidate in (whole, bare, *(plain(p) for p in parts)):
        if candidate in _NAMES:
            return _NAMES[candidate], 2
    for candidate in (bare, *(plain(p) for p in parts)):
        for known, pattern in _COMPOUND:
            if pattern.fullmatch(candidate):
                return known, 1
    return None


def find(names: list[str]) -> dict[Role, list[int]]:
    """Positions of each role among `names`, the surest first."""
    found: dict[Role, list[tuple[int, int]]] = {}
    for position, name in enumerate(names):
        known = role(name)
        if known:
            found.setdefault(known[0], []).append((-known[1], position))
    return {key: [position for _, position in sorted(places)] for key, places in found.items()}


def asks(text: str) -> bool:
    """Whether a text reads like a question."""
    return bool(_ASKS.search(text.strip()))


def true(text: str) -> bool:
    """Whether a cell of a yes/no column says yes."""
    return text.strip().lower() in _TRUE


def split_wordings(text: str) -> tuple[str, ...]:
    """The wordings of one cell: `|`-separated (either width), or one a line."""
    return tuple(part.strip() for part in re.split(r"[|｜\n]", text) if part.strip())
