"""What words mean beside other words: negations, ways to put one thing, words that exclude others,
courtesy and filling. The lists lie in data/, written in Traditional.

Knows words, not sentences (see `wording`). All patterns are for folded text.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from .folding import fold, pattern

FACT, NOT = "\ue001", "\ue002"
"""Stand for a fact and for a negation."""

KEPT = pattern(
    r"不論|不管|無論|不但|不僅|不只|不過|不同|不久|不時|不斷|不妨|不好意思|不便|不當|不良|不明|不慎|不動產|不鏽鋼"
    r"|未來|未婚|未成年|非常|除非|莫非|並非只|無線|無障礙|無誤|沒問題|沒關係|免洗|免疫|免稅|免持"
    r"|是否|能否|可否|是不是|可不可以|能不能|有沒有|要不要|需不需要|不織布|差不多|不得已|不可抗力|不特定|無論如何"
    r"|無名|無菌|無糖|無毒|非法|非營利|未稅|不含稅價"
)
"""Words with a negation's letters that negate nothing."""
NEGATION = pattern(
    r"(?:恕|暫時?|概|並|皆|均|都|也|一律|目前|絕對?|千萬)?(?:沒有辦法|沒辦法|不予|不再|不會|不可以|不可|不能夠?|不得|不行|不准|不許|不要|不用|不必"
    r"|不需要?|不須|不另|不是|不|無法|無須|無需|毋須|毋需|未能|未曾|尚未|還沒有?|未|並無|沒有|沒|無|非|請勿|切勿|勿|嚴禁|禁止"
    r"|拒絕|謝絕|恕難|免除|免)"
    r"|(?<![a-z])(?:not|no longer|cannot|never|without|unable to|no|neither|nor)(?![a-z])"
    r"|n't(?![a-z])|(?<![a-z])(?:(?:un|in)(?=available|able|valid)|non-?(?=[a-z]{4}))"
)
"""Negations, written as one sign each: two of them in a row cancel out."""
BROKEN_UP = tuple(
    (pattern(source), fold(target.replace("N", NOT)).text)
    for source, target in (
        (r"(?:不得|不可|不能|不會|不|未)超過", "至多"),
        (r"不(?:少|低)於", "至少"),
        (r"未滿|未達|沒有?(?:滿|達到?)|(?:不滿|不足|不到)(?=\s?[\ue001\d])", "少於"),
        (r"(?:沒有?|無)問題", "無誤"),
        (r"免運費?", "N收運費"),
        (r"免(?:收|付|繳)", "N收"),
        (r"免手續費", "N收手續費"),
        (r"免費|不收費|不用錢|無償|free of charge|for free|(?<![a-z])free(?![a-z])", "N收費就"),
        (r"失效|無效|作廢|invalid", "N有效"),
        (r"休診|停診", "N看診"),
        (r"禁(?=[食水菸煙酒])|停止(?=進食|飲食|飲水|喝水|吃)", "N"),
        (r"(?<=\ue001)\s?開始就?(?![販賣售])", "起"),
        (r"公休|休館|店休|休息(?!室|區)|休業|停業", "N營業"),
        (r"(?<![a-z])closed", "N open"),
        (r"缺貨|售完|售罄|賣完|賣光", "N有貨"),
        (r"永久有效|無期限", "無限期有效"),
        (r"can't|cannot|can not|unable to", "N can"),
        (r"won't", "N will"),
        (r"don't|doesn't|didn't|isn't|aren't|wasn't|weren't|haven't|hasn't|needn't|mustn't", "N"),
    )
)
COURTESY = pattern(
    r"(?:親愛的|敬愛的)?(?:[^\W\d_]{0,6})(?:您好|你好)[,!~。.:\s呀喔啊]*|(?:哈囉|嗨)[,!~。.:\s]+"
    r"|(?:非常|十分|很)?(?:感謝|謝謝)(?:您|你|大家)?(?:的)?[^,。!;\n\ue001\ue002]{0,10}[,。!;~]?"
    r"|(?:敬)?祝(?:福)?(?:您|你|大家)[^,。!;\n\ue001\ue002]{0,14}[。!~]?"
    r"|(?<=[,。!;~\s])(?:敬)?祝(?!福禮)[^,。!;\n\ue001\ue002]{2,14}(?:[。!~]|$)"
    r"|(?<=[,。!;~\s])(?:都)?有(?:其他|其它|任何|更多)(?:的)?(?:問題|疑問|需要|需求|疑慮)[,]?(?:都|也)?(?:歡迎|請|可以?)?"
    r"(?:再|隨時|儘管)*(?:跟|向|來)?(?:問|告訴|詢問|聯絡|聯繫)(?:我們|我|客服)?(?:喔|哦)?"
    r"|(?:如果?|若|倘若)(?:您|你)?(?:還|仍|尚)?(?:有|需要)(?:其他|其它|任何|更多|相關)?(?:的)?(?:問題|疑問|需要|需求|協助|疑慮"
    r"|不清楚)[^。!;\n\ue001\ue002]{0,6}[,，]?"
    r"(?:都)?(?:歡迎|請|可以?)(?:您)?(?:再|隨時|儘管)*(?:與|和|跟|向|來|再)?(?:我們|我|客服)?(?:聯絡|聯繫|告訴|提出"
    r"|詢問|告知|來訊|發問|洽詢|來電|致電|來信|打電話)[^。!;\n\ue001\ue002]{0,8}"
    r"|(?:很)?(?:高興|樂意|榮幸)(?:能)?為(?:您|你)[^。!,;\n\ue001\ue002]{0,6}|(?:以上"
    r"|希望)[^。!,;\n\ue001\ue002]{0,4}(?:說明|資訊|回答|回覆)?[^。!,;\n\ue001\ue002]{0,4}(?:對您有(?:所)?幫助|有幫助到您"
    r"|能幫(?:助|到)您)"
    r"|(?:期待|歡迎)(?:您|你)?(?:的|再次|再度)?[^,。!;\n\ue001\ue002]{0,5}(?:光臨|蒞臨|到來|來訪|使用|參觀|選購|搭乘)(?=[,。!~\s]|$)|歡迎(?:隨時)?(?:來訊|詢問|洽詢)|(?:很)?(?:抱歉|不好意思|對不起)"
    r"|沒問題(?=[,!。])|好的(?=[,!。])|了解(?=[,!。])"
    r"|thank(?:s| you)[^.!?\n\ue001]{0,60}[.!]?|have a (?:nice|great|good)[^.!\n]{0,12}[.!]?"
    r"|hello[,!]?|hi[,!]|dear [a-z]+[,:]"
    r"|(?:please )?(?:let (?:us|me) know|feel free)[^.!\n\ue001]{0,60}[.!]?|we(?: are"
    r"|'re) happy to help[.!]?|(?<![a-z])please(?![a-z])|sorry[,.]?|of course[,!]?|sure[,!]"
)
"""What is polite and claims nothing."""
FILLING = frozenset(
    fold(
        "的了呢嗎吧啊呀喔哦唷囉啦嘛就都也還又再才即便則將會需須應請您你我他她它們這那此該其與和及或以於在對向為是有"
        "之所等把被讓給從由而且但如若倘因故並個位份可能得要想來去做過著到各某每一當時只已曾另者後前內外上下更較"
    ).text
)
"""Characters that are left out when content is counted. 前後內外 count as rivals."""
_WORDS = (
    "a an the of to in on at by for with and or but if as is are be been was were it its "
    "this that these those you your we our us i my they their there will would shall "
    "should can could may might must do does did have has had so then than from into per "
    "only also just need needs long yes no up go under via get cost costs usually "
)
FILLING_WORDS = frozenset(_WORDS.split())
PHRASES = pattern(
    r"(?<![a-z])(?:at least|at most|or (?:over|more|older|above|less|under|below))(?![a-z])"
    r"|(?<=\ue001)\s?起(?![床飛])|提[早前](?=\s?\ue001)|自己|自行|親自|親(?=送|洽|辦)|超過|少於|至多|至少|以上|以下|以內|以外|之內|之外|的話|如果|假如|倘若|若是|目前|現在|一般來說|我們|本店|本公司|本行|本院"
    r"|本館|本診所|本校|本飯店|敝店|您的|的部分|關於|基本上|通常"
    r"|其實|當然|不過|但是|然而|所以|因此|另外|此外|以及|而且|並且|只要|即可|就可以|才可以?|千萬|記得|務必|麻煩|建議您?|煩請|可以?自行|必須|一定要"
    r"|需要|應該|這個|那個|進行|動作|部分|相關|服務|原本|消費|之後|然後|以後(?=[,。;])|最後|後續|前述|前項|提前(?=預約|告知|通知)|除外|例外|意外"
)
"""Filling of more than one character, taken out before content is counted."""
LEADS = pattern(
    r"\s*(?:[^,。!;:\n]{0,3}[,。!])?\s*(?P<no>(?:目前|很抱歉,?|抱歉,?)?(?:不可以|不行|不可|不能|不會|不需要|不用|不必|不是|沒有|否"
    r"|無)|no|nope)(?:的|喔|哦|唷|呢|耶)?\s*[,。!;.\s]"
    r"|\s*(?P<yes>可以|可|行|能|會|需要|要|是|有|yes|yeah|sure|of course)"
    r"(?:的|喔|哦|唷|呢|耶)?\s*[,。!;.]"
)
"""Whether a text begins by saying yes or no."""


def _lines(name: str) -> list[str]:
    text = (files(__package__) / "data" / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@cache
def synonyms() -> tuple[tuple[re.Pattern[str], str], ...]:
    """(what to look for, what to put there), in order."""
    found = []
    for line in _lines("synonyms.txt"):
        target, _, sources = line.partition(": ")
        words = sorted((s.strip() for s in sources.split(" / ")), key=len, reverse=True)
        target = fold(target).text
        found.append((pattern("|".join([re.escape(target), *words])), target))
    return tuple(found)


Rival = tuple[int, int]
"""The number of a group of words that exclude one another, and of the word within it."""
_NO_RIVALS = (
    "目前|前往|前述|前項|前來|前台|之前提|另外|此外|外幣|外匯|外語|外觀|外套|意外|除外|例外|額外|最後|然後|後續|後台|售後|今後|內容"
    "|內政|內建|內附|高級|高中|高齡|高度|高速|高考|降低|低收|其後|外掛|外接|對外|向外|內科|外科|口腔外科|國民身分|書面"
)


@cache
def _rivals() -> tuple[re.Pattern[str], dict[str, tuple[Rival, ...]]]:
    owners: dict[str, list[Rival]] = {}
    for group, line in enumerate(_lines("rivals.txt")):
        for member, spellings in enumerate(line.split("|")):
            for word in spellings.split("/"):
                owners.setdefault(fold(word.strip()).text, []).append((group, member))
    words = {*owners, *fold(_NO_RIVALS).text.split("|")}
    ordered = sorted(words, key=len, reverse=True)
    source = "|".join(rf"(?<![a-z]){w}(?![a-z])" if w.isascii() else w for w in ordered)
    return re.compile(source), {word: tuple(rivals) for word, rivals in owners.items()}


def rivals(text: str) -> tuple[tuple[int, str, tuple[Rival, ...]], ...]:
    """Of the words that exclude others, those in a folded text: place, word, what it is."""
    rule, owners = _rivals()
    opening = _OPENING.match(text)
    hits = rule.finditer(text, opening.end() if opening else 0)
    return tuple((h.start(), h.group(), owners[h.group()]) for h in hits if h.group() in owners)


_OPENING = pattern(r"^\s*(?:之後|以後|然後|之前|以前|後|事後|in the end|after that),?")
"""At the head of a clause these only go on with the story."""
