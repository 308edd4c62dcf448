"""Promises of kefu.reword: wordings by rules."""

import csv
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from kefu.errors import KefuError
from kefu.recall import Index, normalise
from kefu.records import Faq, Origin, Pair
from kefu.reword import Rewording, filled, reword
from kefu.reword.engine import FAMILIES


def faq(*rows: tuple[str, str], wordings: tuple[str, ...] = ()) -> Faq:
    return Faq(
        tuple(Pair(q, a, Origin("faq.csv", i), wordings) for i, (q, a) in enumerate(rows, 2)), ()
    )


GYM = faq(
    ("健身房可以帶訪客嗎？", "會員每月可帶兩位訪客。"),
    ("如何申請暫停會籍？", "請至櫃台填寫申請書。"),
    ("105年游泳課程的報名費用是多少？", "每期 2,400 元。"),
    ("置物櫃要多少錢？", "免費。"),
    ("信義館的開放時間為何？", "6:00 到 22:00。"),
    ("大安館的開放時間為何？", "7:00 到 23:00。"),
    ("How do I cancel my membership?", "At the desk."),
    ("What is the dress code?", "Sportswear."),
    ("Do you have parking?", "Behind the house."),
    ("商品有保固嗎？", "一年保固。"),
    ("离场后可以再入场吗？", "當日可以。"),
    ("「早鳥方案」是什麼？", "六點前入場的優惠。"),
)
MADE = reword(GYM, per_pair=8)


def letters(text: str) -> str:
    return "".join(c for c in normalise(text) if c.isalnum())


def of(made: tuple[Rewording, ...], question: str) -> list[str]:
    return [r.wording for r in made if r.pair_question == question]


def test_every_row_gets_as_many_wordings_as_asked_for() -> None:
    count = Counter(r.pair_question for r in MADE)
    assert {p.question: 8 for p in GYM.pairs} == dict(count)


def test_wordings_that_the_owner_wrote_count() -> None:
    two = replace(GYM, pairs=(replace(GYM.pairs[0], wordings=("帶朋友去可以嗎", "訪客")),))
    assert len(reword(two, per_pair=5)) == 3
    assert reword(two, per_pair=2) == ()


def test_no_wording_repeats_the_question_or_another_wording() -> None:
    own = {letters(p.question) for p in GYM.pairs}
    said = [letters(r.wording) for r in MADE]
    assert len(set(said)) == len(said)
    assert not own & set(said)


def test_numbers_names_and_quoted_words_of_the_question_survive() -> None:
    for question, kept in (
        ("105年游泳課程的報名費用是多少？", "105"),
        ("信義館的開放時間為何？", "信義館"),
        ("「早鳥方案」是什麼？", "早鳥方案"),
    ):
        assert all(letters(kept) in letters(text) for text in of(MADE, question))


def test_no_wording_lies_nearer_to_another_row() -> None:
    index = Index(GYM, answer_weight=0)
    for r in MADE:
        if not any(rule.startswith("scene:") for rule in r.rules):
            assert index.search(r.wording, 1)[0].question == r.pair_question, r


def test_a_row_is_asked_from_everyday_life_where_it_alone_has_the_topic() -> None:
    scenes = [r for r in MADE if any(rule.startswith("scene:warranty") for rule in r.rules)]
    assert {r.pair_question for r in scenes} == {"商品有保固嗎？"}
    assert any("保固" not in r.wording for r in scenes)


def test_no_scene_where_two_rows_have_the_topic_or_the_row_asks_for_more() -> None:
    two = faq(("商品有保固嗎？", "一年。"), ("保固多久？", "家電三年。"))
    special = faq(("福利品有保固嗎？", "沒有。"))
    for rows in (two, special):
        made = reword(rows, per_pair=8)
        assert made
        assert not any(rule.startswith("scene:") for r in made for rule in r.rules)


def test_a_scene_names_the_place_that_the_question_names() -> None:
    made = [r for r in MADE if any(rule.startswith("scene:opening hours") for rule in r.rules)]
    assert {r.pair_question for r in made} == {"信義館的開放時間為何？", "大安館的開放時間為何？"}
    assert all(letters(r.pair_question[:3]) in letters(r.wording) for r in made)


def test_every_family_of_rules_is_at_work_and_slips_are_rare() -> None:
    many = [r for seed in range(3) for r in reword(GYM, per_pair=8, seed=seed)]
    used = Counter(rule.partition(":")[0] for r in many for rule in set(r.rules))
    assert set(used) == set(FAMILIES)
    assert used["typing"] < 0.15 * len(many)


def test_the_same_seed_says_the_same_and_another_seed_something_else() -> None:
    assert reword(GYM, per_pair=8) == MADE
    assert reword(GYM, per_pair=8, seed=43) != MADE


def test_a_new_row_leaves_the_others_wordings_as_they_were() -> None:
    more = replace(GYM, pairs=(*GYM.pairs, Pair("可以刷卡嗎？", "可以。", Origin("faq.csv", 99))))
    assert of(reword(more, per_pair=8), "置物櫃要多少錢？") == of(MADE, "置物櫃要多少錢？")


def test_the_exams_wordings_come_from_other_rules_than_the_trained_ones() -> None:
    exam = reword(GYM, per_pair=8, generator="exam")
    assert len(exam) >= 6 * len(GYM.pairs)
    assert not {x for r in exam for x in r.rules} & {x for r in MADE for x in r.rules}
    trained = {letters(r.wording) for r in reword(GYM, per_pair=16)}
    same = [r for r in exam if letters(r.wording) in trained]
    assert not same, same


def test_families_limit_the_rules() -> None:
    made = reword(GYM, per_pair=4, families=["opening"])
    assert made
    assert {rule.partition(":")[0] for r in made for rule in r.rules} == {"opening"}
    with pytest.raises(KefuError, match="no family of rules called nonsense"):
        reword(GYM, families=["nonsense"])


def test_a_simplified_faq_is_worded_in_simplified() -> None:
    texts = of(MADE, "离场后可以再入场吗？")
    assert sum("离" in t for t in texts) > len(texts) / 2


def test_english_is_worded_in_english() -> None:
    assert all(t.isascii() for t in of(MADE, "How do I cancel my membership?"))
    assert len({t.split()[0].lower() for t in of(MADE, "How do I cancel my membership?")}) >= 3


def test_filled_adds_the_wordings_and_leaves_the_given_faq() -> None:
    full = filled(GYM, MADE)
    assert [len(p.wordings) for p in full.pairs] == [8] * len(GYM.pairs)
    assert all(p.wordings == () for p in GYM.pairs)
    assert filled(full, MADE) == full


@pytest.mark.parametrize("question", ["?", "。", "☎", "日本語の質問ですか", "Ωμέγα"])
def test_odd_questions_give_fewer_wordings_not_an_error(question: str) -> None:
    made = reword(faq((question, "x"), ("可以退貨嗎？", "可以。")), per_pair=3)
    assert len([r for r in made if r.pair_question == "可以退貨嗎？"]) == 3
    assert reword(Faq((), ()), per_pair=3) == ()


def test_three_hundred_groups_of_words_and_forty_topics_are_shipped() -> None:
    data = files("kefu.reword").joinpath("data")
    lines = data.joinpath("synonyms_zh.txt").read_text("utf-8").splitlines()
    groups = [line.split() for line in lines if line and not line.startswith("#")]
    assert len(groups) >= 300
    assert all(len(group) >= 2 and not group[0].startswith(">") for group in groups)
    topics = tomllib.loads(data.joinpath("scenes_zh.toml").read_text("utf-8"))["topic"]
    assert len(topics) >= 40
    said = Counter(text for topic in topics for text in topic["say"])
    assert [text for text, n in said.items() if n > 1] == []
    assert not [text for text in said if any(c.isdigit() for c in text)]


def test_importing_the_room_imports_nothing_heavy() -> None:
    code = (
        "import sys, kefu.reword; "
        "sys.exit(any(m in sys.modules for m in ('sklearn', 'opencc', 'torch', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_filling_helps_the_lexical_retriever_on_a_real_shop(shared: Path) -> None:
    import json

    with (shared / "shop_faq.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = [(r["question"], r["answer"]) for r in csv.DictReader(file)]
    one = faq(*rows)
    lines = (shared / "shop_exam.jsonl").read_text("utf-8").splitlines()
    asked = [r for r in map(json.loads, lines) if r["kind"] == "reworded"]

    def right(rows: Faq) -> int:
        found = Index(rows).search_all([r["question"] for r in asked], 1)
        return sum(
            bool(hits) and rows.pairs[hits[0].pair].answer == r["answer"]
            for hits, r in zip(found, asked, strict=True)
        )

    assert right(filled(one, reword(one, per_pair=8))) >= right(one) + 10
