"""How many seeded defects `check` finds, and how many sound rows it complains about.

    python bench/check.py [DATA_FOLDER] [--seeds 5]

DATA_FOLDER (default ../shared/data) holds the real FAQ files `faq_real_*.jsonl`. For each random
seed, 400 real rows are drawn, 10 defects of each class are put among them, and the file is
written, read and checked. A defect counts as found when a finding of its class names its row.
`two-answers` and `contradiction` count for each other, as a changed fact under an unchanged
question is both. False alarms are counted on the whole real files, untouched: the share of rows
named by a stop or a warning. The defects are made here without any code of the room under test.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from kefu.faq import check, read

Row = dict[str, str]
Maker = Callable[[random.Random, list[Row]], tuple[str, list[Row]]]
PER_CLASS = 10
SAME = {"two-answers": {"two-answers", "contradiction"}}
SAME["contradiction"] = SAME["two-answers"]


def _row(question: str, answer: str) -> Row:
    return {"question": question, "answer": answer}


def _long_row(rng: random.Random, rows: list[Row], least: int = 20) -> Row:
    return rng.choice([r for r in rows if len(r["question"]) >= 10 and len(r["answer"]) >= least])


def empty(rng: random.Random, rows: list[Row]) -> tuple[str, list[Row]]:
    row = rng.choice(rows)
    kind = rng.choice(["no answer", "no question", "blank", "placeholder"])
    if kind == "no question":
        return kind, [_row("", row["answer"])]
    filler = {"no answer": "", "blank": " \u3000\n"}.get(kind) or rng.choice(
        ["N/A", "-", "待補", "同上"]
    )
    return kind, [_row(row["question"] + "（續）", "" if kind == "no answer" else filler)]


def exact(rng: random.Random, rows: list[Row]) -> tuple[str, list[Row]]:
    return "copy", [dict(rng.choice(rows))]


def _reword(rng: random.Random, text: str) -> tuple[str, str]:
    core = text.rstrip("?？。 ")
    at = rng.randrange(2, max(3, len(core) - 2))
    ways = {
        "politeness": f"想請教一下，{core}？",
        "ending": f"{core}呢?",
        "typo": core[:at] + rng.choice("的在是有與") + core[at:] + "？",
        "dropped character": core[:at] + core[at + 1 :] + "？",
        "swapped word": re.sub("如何", "怎麼", core, count=1) + "呢？",
        "tail": f"{core}，可以說明嗎？",
        "punctuation": re.sub("[，、「」（）]", " ", core) + "?",
    }
    way = rng.choice(list(ways))
    return way, ways[way]


def near(rng: random.Random, rows: list[Row]) -> tuple[str, list[Row]]:
    row = _long_row(rng, rows)
    way, question = _reword(rng, row["question"])
    answer = rng.choice(
        [row["answer"], row["answer"].rstrip("。") + "，謝謝您。", row["answer"] + " "]
    )
    return way, [_row(question, answer)]


def two(rng: random.Random, rows: list[Row]) -> tuple[str, list[Row]]:
    one, other = rng.sample(rows, 2)
    if rng.random() < 0.5:
        return "another answer", [_row(one["question"], other["answer"])]
    row = rng.choice([r for r in rows if re.search(r"\d", r["answer"])])
    return "changed number", [_row(row["question"], _other_digit(rng, row["answer"]))]


def _other_digit(rng: random.Random, text: str) -> str:
    places = [m.start() for m in re.finditer(r"\d", text)]
    at = rng.choice(places)
    return text[:at] + rng.choice([d for d in "123456789" if d != text[at]]) + text[at + 1 :]


_THINGS = (
    "寄物櫃",
    "遊覽巴士",
    "會員卡",
    "導覽機",
    "親子教室",
    "烤肉區",
    "露營區",
    "攝影棚",
    "停車月票",
)
_FACTS = {
    "phone": (
        ("{t}的電話是幾號？", "{t}服務電話號碼是什麼？"),
        "{t}服務電話為 {v}。",
        ("02-2345-6789", "02-2777-1234"),
    ),
    "money": (
        ("租用{t}多少錢？", "請問{t}租用要多少錢？"),
        "{t}收費為 {v}。",
        ("200元", "350元"),
    ),
    "span": (
        ("{t}可以使用多久？", "請問{t}可使用多久？"),
        "{t}可使用 {v}。",
        ("3個月", "6個月"),
    ),
    "time": (
        ("{t}幾點開放？", "請問{t}是幾點開放的？"),
        "{t}於 {v} 開放。",
        ("9:00", "10:30"),
    ),
}


def contradiction(rng: random.Random, rows: list[Row]) -> tuple[str, list[Row]]:
    phone = re.compile(r"0\d-?\d{4}-?\d{4}|0\d-?\d{3,4}-?\d{4}")
    rich = [r for r in rows if phone.search(r["answer"]) and len(r["question"]) >= 10]
    if rng.random() < 0.6 and rich:
        row = rng.choice(rich)
        hit = phone.search(row["answer"])
        assert hit
        wrong = hit.group()[:-4] + f"{rng.randrange(1000, 9999)}"
        way, question = _reword(rng, row["question"])
        return f"real row, {way}", [_row(question, row["answer"].replace(hit.group(), wrong))]
    kind = rng.choice(list(_FACTS))
    questions, answer, values = _FACTS[kind]
    thing = f"{rng.choice('東西南北中')}{rng.choice('一二三')}館{rng.choice(_THINGS)}"
    return f"new pair, {kind}", [
        _row(q.format(t=thing), answer.format(t=thing, v=v))
        for q, v in zip(questions, values, strict=True)
    ]


_WRONG = {
    "UTF-8 as cp1252": ("utf-8", "cp1252"),
    "UTF-8 as Latin-1": ("utf-8", "latin-1"),
    "UTF-8 as GBK": ("utf-8", "gbk"),
    "UTF-8 as Big5": ("utf-8", "cp950"),
    "Big5 as GBK": ("cp950", "gbk"),
    "GBK as Big5": ("gbk", "cp950"),
    "Big5 as Latin-1": ("cp950", "latin-1"),
    "GBK as cp1252": ("gbk", "cp1252"),
    "lost bytes": ("utf-8", "ascii"),
    "question marks": ("", ""),
}


def mojibake(rng: random.Random, rows: list[Row]) -> tuple[str, list[Row]]:
    row = _long_row(rng, rows)
    kind = rng.choice(list(_WRONG))
    part = rng.choice(["question", "answer"])
    right, wrong = _WRONG[kind]
    if kind == "question marks":
        bad = row[part].encode("ascii", "replace").decode()
    else:
        how = "replace" if kind == "lost bytes" or rng.random() < 0.5 else "ignore"
        bad = row[part].encode(right, "ignore").decode(wrong, how)
    return kind, [{**row, part: bad}]


def personal(rng: random.Random, rows: list[Row]) -> tuple[str, list[Row]]:
    row = rng.choice(rows)
    name = rng.choice("王陳林李張") + rng.choice(["小明", "大華", "美玲", "志偉"])
    mobile = rng.choice(["0912-345-678", "0987654321", "0933 222 111", "+886-928-111-222"])
    kind, text = rng.choice(
        [
            ("mobile", f"例如客戶{name}（{mobile}）也曾反映。"),
            ("mobile", f"{name}先生，手機{mobile}。"),
            ("identity card", f"（{name} {_identity(rng)}）"),
            ("credit card", f"卡號{_card(rng)}已退款。"),
            ("e-mail", f"已回覆{name} wang{rng.randrange(100, 999)}@gmail.com。"),
            ("mobile in question", ""),
        ]
    )
    if kind == "mobile in question":
        return kind, [_row(f"我是{name}，電話{mobile}，{row['question']}", row["answer"])]
    return kind, [_row(row["question"] + "（客訴）", row["answer"] + text)]


def _identity(rng: random.Random) -> str:
    letters = "ABCDEFGHJKLMNPQRSTUVXYWZIO"
    while True:
        text = rng.choice(letters) + rng.choice("12") + "".join(rng.choices("0123456789", k=8))
        lead = letters.index(text[0]) + 10
        total = (
            lead // 10
            + lead % 10 * 9
            + sum(int(c) * w for c, w in zip(text[1:], (8, 7, 6, 5, 4, 3, 2, 1, 1), strict=True))
        )
        if total % 10 == 0:
            return text


def _card(rng: random.Random) -> str:
    while True:
        text = rng.choice("45") + "".join(rng.choices("0123456789", k=15))
        numbers = [int(c) * (2 if i % 2 == 0 else 1) for i, c in enumerate(text)]
        if sum(n - 9 if n > 9 else n for n in numbers) % 10 == 0:
            return rng.choice([text, "-".join(text[i : i + 4] for i in range(0, 16, 4))])


def long(rng: random.Random, rows: list[Row]) -> tuple[str, list[Row]]:
    answer = ""
    while len(re.sub(r"[\x00-\x7f]", "", answer)) < 1100:
        answer += rng.choice(rows)["answer"] + "\n"
    return "joined answers", [_row(rng.choice(rows)["question"] + "（全文）", answer)]


def mixed(rng: random.Random, rows: list[Row]) -> tuple[str, list[Row]]:
    import opencc

    row = _long_row(rng, [r for r in rows if len(re.findall(r"\d", r["answer"])) >= 6])
    q, a = row["question"], row["answer"]
    full = str.maketrans({chr(c): chr(c + 0xFEE0) for c in range(0x21, 0x7F)})
    kind, new = rng.choice(
        [
            ("HTML", _row(q + "（一）", f"<p>{a}</p>")),
            ("HTML breaks", _row(q + "（二）", a[:10] + "<br />" + a[10:])),
            ("HTML entities", _row(q + "（三）", a[:10] + "&nbsp;&nbsp;" + a[10:])),
            (
                "Markdown bold",
                _row(q + "（四）", a[:4] + "**" + re.sub(r"\s", "", a[4:9]) + "注意**" + a[9:]),
            ),
            ("Markdown link", _row(q + "（五）", a + "[官網](https://example.com/a)")),
            ("full width", _row(q.translate(full) + "（六）", a.translate(full))),
            ("Simplified", {k: opencc.OpenCC("t2s").convert(v) for k, v in row.items()}),
            ("escaped line breaks", _row(q + "（七）", a[:12] + "\\n" + a[12:])),
        ]
    )
    return kind, [new]


def control(rng: random.Random, rows: list[Row]) -> tuple[str, list[Row]]:
    row = _long_row(rng, rows)
    char = rng.choice("\u200b\ufeff\x0b\x00\u200f\u00ad\x07\u202e\u2060\u2028")
    part = rng.choice(["question", "answer"])
    at = rng.randrange(1, len(row[part]) - 1)
    return f"U+{ord(char):04X}", [{**row, part: row[part][:at] + char + row[part][at:]}]


CLASSES: dict[str, Maker] = {
    "empty-cell": empty,
    "exact-duplicate": exact,
    "near-duplicate": near,
    "two-answers": two,
    "contradiction": contradiction,
    "mojibake": mojibake,
    "personal-data": personal,
    "too-long": long,
    "mixed-format": mixed,
    "control-character": control,
}


def seeded(real: list[Row], seed: int) -> tuple[list[Row], list[tuple[str, str, list[int]]]]:
    """400 real rows with the defects among them, and (class, kind, 1-based rows) of each defect."""
    rng = random.Random(seed)
    base = rng.sample(real, min(400, len(real)))
    planted = [(c, *make(rng, base)) for c, make in CLASSES.items() for _ in range(PER_CLASS)]
    order: list[tuple[Row, int]] = [(row, -1) for row in base]
    for number, (_, _, rows) in enumerate(planted):
        for row in rows:
            order.insert(rng.randrange(len(order) + 1), (row, number))
    places: dict[int, list[int]] = defaultdict(list)
    for place, (_, number) in enumerate(order, start=1):
        places[number].append(place)
    truth = [(c, kind, places[n]) for n, (c, kind, _) in enumerate(planted)]
    return [row for row, _ in order], truth


def _load(path: Path) -> list[Row]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return [_row(row["instruction"], row["output"]) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("data", nargs="?", type=Path, default=default)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    files = sorted(options.data.glob("faq_real_*.jsonl"))
    if not files:
        raise SystemExit(f"{options.data} holds no faq_real_*.jsonl")
    real = [row for path in files for row in _load(path)]
    found, planted = Counter[str](), Counter[str]()
    missed: Counter[tuple[str, str]] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "seeded.jsonl")
        for seed in range(options.seeds):
            rows, truth = seeded(real, seed)
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            path.write_text(text, encoding="utf-8", errors="surrogatepass")
            start = time.perf_counter()
            findings = check(read(path))
            slowest = max(slowest, time.perf_counter() - start)
            named: dict[str, set[int]] = defaultdict(set)
            for finding in findings:
                named[finding.code] |= {origin.row for origin in finding.origins}
            for name, kind, places in truth:
                planted[name] += 1
                if any(p in named[code] for code in SAME.get(name, {name}) for p in places):
                    found[name] += 1
                else:
                    missed[name, kind] += 1
    print(f"{'class':20}{'planted':>9}{'found':>7}{'recall':>9}   missed")
    for name in CLASSES:
        lost = ", ".join(f"{k} {n}" for (c, k), n in missed.items() if c == name)
        print(
            f"{name:20}{planted[name]:9}{found[name]:7}{found[name] / planted[name]:9.1%}   {lost}"
        )
    alarms, total = 0, 0
    for path in files:
        faq = read(path)
        rows_named = {
            origin.row: finding
            for finding in check(faq)
            if finding.level != "note"
            for origin in finding.origins
        }
        alarms += len(rows_named)
        total += len(faq.pairs)
        print(f"clean {path.name}: {len(rows_named)} of {len(faq.pairs)} rows in a stop or warning")
        for row, finding in sorted(rows_named.items()):
            print(f"    row {row}: {finding.level} {finding.code}: {finding.message}")
    thousand = real[:1000]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "thousand.jsonl")
        path.write_text("".join(json.dumps(r) + "\n" for r in thousand), encoding="utf-8")
        start = time.perf_counter()
        check(read(path))
        seconds = time.perf_counter() - start
    print(f"false alarms: {alarms / total:.2%} of {total} rows; 1,000 rows in {seconds:.2f} s")
    print(
        json.dumps(
            {
                "bench": "check",
                "seeds": options.seeds,
                "recall": {name: round(found[name] / planted[name], 4) for name in CLASSES},
                "false_alarms": round(alarms / total, 4),
                "clean_rows": total,
                "seconds_1000_rows": round(seconds, 2),
                "seconds_seeded_file": round(slowest, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
