"""What numbers count: units with their canonical name, and classifiers, which carry no meaning.

All in folded letters or converted by `folding.pattern`. `7 天`, `七日` and `1 週` are one span
of time; `7 個工作天` is another. Currencies stay apart.
"""

from __future__ import annotations

from decimal import Decimal

# Longest spelling first: the order decides. (pattern, canonical unit, how many of it)
UNITS: tuple[tuple[str, str, Decimal], ...] = tuple(
    (pattern, unit, Decimal(factor))
    for pattern, unit, factor in (
        (
            r"(?:個|个)?\s?(?:工作天|工作日|營業日|營業天|上班日|上班天)"
            r"|(?:working|business|work)[ -]?days?",
            "workday",
            "1",
        ),
        (r"(?:個|个)?\s?(?:小時|鐘頭)|hours?|hrs?|h(?![a-z])", "minute", "60"),
        (
            r"分鐘|minutes?|mins?|分(?![之機店期公行局所處類享鍾別署院校數隊組級站段辦流紅潤])",
            "minute",
            "1",
        ),
        (r"秒鐘?|seconds?|secs?", "second", "1"),
        (r"(?:個|个)\s?月|months?", "month", "1"),
        (r"(?:個|个)?\s?年(?![級代度份紀])|years?|yrs?", "month", "12"),
        (
            r"(?:個|个)?\s?(?:星期|禮拜)(?![一二三四五六日天])|週(?![一二三四五六日年邊])|weeks?",
            "day",
            "7",
        ),
        (r"(?:個|个)?\s?日曆天|天|日(?![本圓元幣文語])|days?", "day", "1"),
        (r"美元|美金|usd|us dollars?", "money:usd", "1"),
        (r"日圓|日元|日幣|jpy|yen", "money:jpy", "1"),
        (r"人民幣|rmb|cny", "money:cny", "1"),
        (r"歐元|eur(?:os?)?", "money:eur", "1"),
        (r"港幣|港元|hkd", "money:hkd", "1"),
        (r"元|塊錢|塊(?!鋼鐵)|圓|twd|ntd|dollars?", "money", "1"),
        (r"%|趴|percent|per cent", "percent", "1"),
        (r"成(?![人員功年果績立份交本分長套為一不])", "percent", "10"),
        (r"折", "discount", "1"),
        (r"公斤|千克|kgs?|kilos?|kilograms?", "g", "1000"),
        (r"公克|克|g(?![a-z])|grams?", "g", "1"),
        (r"毫克|mg", "mg", "1"),
        (r"公噸|噸", "ton", "1"),
        (r"台斤|臺斤", "catty", "1"),
        (r"平方公尺|平方米|m2|sqm", "m2", "1"),
        (r"公頃", "ha", "1"),
        (r"坪", "ping", "1"),
        (r"公里|km|kilometers?|kilometres?", "m", "1000"),
        (r"公分|厘米|cm|centimeters?|centimetres?", "mm", "10"),
        (r"公厘|毫米|mm", "mm", "1"),
        (r"公尺|米|m(?![a-z0-9])|meters?|metres?", "m", "1"),
        (r"吋|英寸|inch(?:es)?", "inch", "1"),
        (r"公升|升(?!級)|l(?![a-z])|lit(?:er|re)s?", "ml", "1000"),
        (r"毫升|ml|cc|c\.c\.", "ml", "1"),
        (r"歲|years? old", "age", "1"),
        (r"度(?![過假])|°c|℃", "degree", "1"),
        (r"瓦|w(?![a-z])|watts?", "w", "1"),
        (r"mah", "mah", "1"),
        (r"gb|g(?=硬碟|記憶)", "gb", "1"),
        (r"tb", "tb", "1"),
        (r"mb(?!ps)", "mb", "1"),
        (r"kb", "kb", "1"),
        (r"mbps", "mbps", "1"),
        (r"段(?![時落])", "section", "1"),
        (r"巷", "lane", "1"),
        (r"弄", "alley", "1"),
        (r"號|号", "no", "1"),
        (r"樓|f(?![a-z])|/f", "floor", "1"),
    )
)

CLASSIFIERS = (
    r"(?:個|个|件|項|樣|款|種|家|間|處|張|份|本|台|部|輛|位|名|人次|人|次|回|場|期|屆|站|組|隊|條|筆|封|頁"
    r"|碼|級|層|字|句|包|盒|箱|瓶|罐|杯|袋|支|隻|只|把|雙|對|套|座|棟|戶|班|桌|步|顆|粒|片|倍|大(?=[^\d學小樓])"
    r"|歲|點(?=[^\d])|堂|節|幅|枚|床|房|晚|週年|周年|年級|年度|格|面|枝|棵|頭|匹|桶|籃|餐|則|階|批|卷|冊|集|輪|席|則)"
)
"""Counting words: `2 份` and `兩件` both say 2."""

NOT_NUMBERS = (
    r"統一|萬一|唯一|單一|逐一|不一|一下(?!午)|一些|一樣|一般|一定|一直|一起|一併|一律|一旦|一切|一致|一同|一向"
    r"|一共|一邊|一面|一方面|一部分|一次性|一時|一對一|同一[天日年]?|某一[天日]|有一[天日]|一點(?![半整鐘\d])|(?<![一二三四五六七八九\d])十分(?!鐘|之"
    r"|以)|千萬(?=[別不要記勿請])|三明治|九份|八點檔"
    r"|百貨|五金|五星|四季|三重|八里|七堵|六龜|一一(?!年)|二手|一站式|一路|一條龍|一目瞭然|一年一度|萬事|一再|一卡通"
    r"|十二分|一概|一應|一經|一早|一手|不二|三不五時|進一步|第一線|第一時間|三角|五感"
)
"""Words that hold a numeral and say no number."""

OTHER_CURRENCIES = (
    (r"us\$|usd", "money:usd"),
    (r"hk\$|hkd", "money:hkd"),
    (r"美金|美元", "money:usd"),
    (r"人民幣|rmb|cny", "money:cny"),
    (r"日幣|日圓|jpy", "money:jpy"),
    (r"歐元|€|eur", "money:eur"),
    (r"£|gbp", "money:gbp"),
    (r"¥", "money:¥"),
    (r"nt\$?|ntd|twd|新[臺台]幣|[臺台]幣|\$", "money"),
)
