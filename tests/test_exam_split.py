"""Promises of kefu.exam: what is trained, what is held out, what is asked."""

import csv
import json
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from kefu.exam import read, split, training_hand_overs, write
from kefu.exam.likeness import NEAR, families, highest
from kefu.exam.material import hostile, out_of_scope, service
from kefu.records import Faq, Origin, Pair, Split

TOPICS = [
    (
        "滑板的輪子多久要換",
        "輪子騎三百公里換一次",
        ["幾公里換輪", "wheels 壽命", "輪圈何時更新好", "磨到哪該替掉"],
    ),
    (
        "頭盔有幾種大小",
        "頭盔有 S、M、L 三號",
        ["安全帽尺碼", "頭圍五十七選哪頂", "帽子有沒有小孩的", "helmet size"],
    ),
    (
        "2019台中滑板賽何時舉辦",
        "2019年5月4日在台中舉辦",
        ["比賽是哪天", "幾月幾號開賽", "滑板大賽日期", "台中那場什麼時間"],
    ),
    (
        "金門可以寄滑板嗎",
        "金門寄送每件 120 元",
        ["寄金門收多少", "離開本島送不送", "能運到金門嗎", "金門運費"],
    ),
    (
        "板身斷裂怎麼處理",
        "拍照寄到 fix@skate.example",
        ["木板裂開了", "踩斷了咋辦", "斷掉找誰", "裂痕要修嗎"],
    ),
]


def faq(wordings: int = 4) -> Faq:
    pairs = (
        Pair(q, a, Origin("skate.csv", i), tuple(w[:wordings]))
        for i, (q, a, w) in enumerate(TOPICS, 2)
    )
    return Faq(tuple(pairs), ())


@cache
def divided(seed: int = 1, wordings: int = 4) -> Split:
    return split(faq(wordings), seed=seed)


def asked(result: Split, kind: str) -> list[str]:
    return [q.question for q in result.exam if q.kind == kind]


def test_every_question_is_known_and_one_wording_in_four_is_asked() -> None:
    result = divided()
    assert asked(result, "known") == [p.question for p in faq().pairs]
    assert len(asked(result, "reworded")) == 5
    sources = {q.source for q in result.exam if q.kind == "reworded"}
    assert sources == {p.question for p in faq().pairs}
    answers = {p.question: p.answer for p in faq().pairs}
    for q in result.exam:
        if q.kind in ("known", "reworded"):
            assert q.answer == answers[q.source or ""]


def test_no_phrasing_is_lost_or_lies_on_two_sides() -> None:
    result = divided()
    train = [e.question for e in result.train]
    aside = [e.question for e in result.held_out if e.answer is not None]
    exam = asked(result, "reworded")
    everything = Counter([*train, *aside, *exam])
    assert everything == Counter(t for p in faq().pairs for t in p.phrasings)


def test_near_identical_wordings_go_together_and_the_leak_is_told() -> None:
    pairs = [
        replace(p, wordings=(*p.wordings, p.wordings[0] + "呢？", f"請問{p.wordings[1]}？"))
        for p in faq().pairs
    ]
    for seed in range(3):
        result = split(Faq(tuple(pairs), ()), seed=seed)
        train = [e.question for e in result.train]
        reworded = asked(result, "reworded")
        assert reworded
        assert result.leak == pytest.approx(max(highest(reworded, train)), abs=1e-3)
        assert result.leak < NEAR
        held = [e.question for e in result.held_out if e.answer is not None]
        assert max(highest(reworded, held), default=0) < NEAR
        assert max(highest(held, train), default=0) < NEAR


def test_a_wording_like_that_of_another_question_is_trained_not_asked() -> None:
    first, second, *rest = faq(0).pairs
    twins = (
        replace(first, wordings=("輪子的保養費用要多少錢",)),
        replace(second, wordings=("帽子的保養費用要多少錢",)),
    )
    result = split(Faq((*twins, *rest), ()), seed=1, exam_share=1.0)
    assert asked(result, "reworded") == []


def test_at_least_one_of_two_wordings_is_trained() -> None:
    result = split(faq(2), seed=3, exam_share=0.9, held_out_share=0.1)
    trained = Counter(e.source for e in result.train)
    assert min(trained.values()) >= 2


def test_without_wordings_the_exam_says_that_nothing_unseen_is_asked() -> None:
    result = divided(1, 0)
    assert asked(result, "reworded") == []
    assert len(asked(result, "known")) == 5
    assert any("No row has a second wording" in note for note in result.notes)
    assert asked(result, "out-of-scope")


def test_an_owner_with_an_exam_trains_on_every_wording() -> None:
    result = split(faq(), seed=1, hold_out=False)
    assert Counter(e.question for e in result.train) == Counter(
        t for p in faq().pairs for t in p.phrasings
    )
    assert asked(result, "reworded") == []
    assert all(e.answer is None for e in result.held_out)


def test_one_question_with_two_answers_is_not_asked() -> None:
    first, *rest = faq().pairs
    double = replace(first, answer="五百公里", wordings=(), question=first.question + "？")
    result = split(Faq((first, double, *rest), ()), seed=1)
    assert first.question not in asked(result, "known")
    assert any("different answers" in note for note in result.notes)


def test_must_pass_reaches_the_exam() -> None:
    first, *rest = faq().pairs
    result = split(Faq((replace(first, must_pass=True), *rest), ()), seed=1)
    marked = {q.source for q in result.exam if q.must_pass}
    assert marked == {first.question}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", divided(1).exam)
    write(tmp_path / "b.jsonl", split(faq(), seed=1).exam)
    write(tmp_path / "c.jsonl", divided(2).exam)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert (tmp_path / "a.jsonl").read_bytes() != (tmp_path / "c.jsonl").read_bytes()


def test_a_further_row_leaves_the_other_rows_where_they_were() -> None:
    more = Faq((*faq().pairs, Pair("有沒有護膝", "有", Origin("skate.csv", 9))), ())
    assert set(asked(divided(), "reworded")) == set(asked(split(more, seed=1), "reworded"))


def test_near_misses_change_one_word_that_the_faq_does_not_have() -> None:
    near = [q for q in divided().exam if q.kind == "near-miss" and "->" in q.note]
    changed = {q.source for q in near}
    assert "2019台中滑板賽何時舉辦" in changed
    assert "金門可以寄滑板嗎" in changed
    text = json.dumps([[*p.phrasings, p.answer] for p in faq().pairs], ensure_ascii=False)
    for q in near:
        new = q.note.split(" -> ")[1]
        assert new in q.question and new not in text
        assert q.answer is None
        assert q.must_not == next(p.answer for p in faq().pairs if p.question == q.source)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("金門可以寄嗎", "所有離島都可以寄，運費 250 元"),  # a row that covers the siblings
        ("可以刷信用卡嗎", "可以刷信用卡，也收現金、支票與悠遊卡"),  # a closed list
        ("2019年度休館日是哪天", "每年除夕休館，2019 年也一樣"),  # holds every year
        ("1999是什麼電話", "1999 是市民專線，請撥 02-1234-5678"),  # no year at all
        ("滿2000元免運嗎", "滿 2000 元免運，見 https://shop.example"),  # money
        ("貓空纜車幾點開", "貓空纜車 9:00 開，貓空站搭乘"),  # a name that holds a sibling
        ("今日本店有開嗎", "今日本店 10:00 開，見 https://shop.example"),  # 日本 is not there
        ("台北為什麼特別貴", "台北租金每坪 3000 元"),  # a reason
        ("台北火災怎麼應變", "台北 119 報案 02-1234-5678"),  # advice for anywhere
    ],
)
def test_where_the_faq_may_answer_no_near_miss_is_made(question: str, answer: str) -> None:
    one = Faq((Pair(question, answer, Origin("x.csv", 2)),), ())
    assert not [q.question for q in split(one, seed=1).exam if "->" in q.note]


def test_a_simplified_faq_gets_simplified_near_misses() -> None:
    one = Faq((Pair("你们的冰箱会送到三楼吗", "冰箱送到三楼加 300 元", Origin("x.csv", 2)),), ())
    made = [q for q in split(one, seed=1).exam if "appliance" in q.note]
    assert made
    assert not any(c in q.question for q in made for c in "電機發風儀氣爐")


def test_what_the_faq_answers_is_not_asked_as_service_question() -> None:
    rows = [
        ("可以退貨嗎", "七天內可退，退貨運費由買家負擔"),
        ("怎麼退貨", "請上網申請退貨"),
        ("哪些退貨不收", "食品不能退"),
    ]
    shop = Faq(tuple(Pair(q, a, Origin("s.csv", i)) for i, (q, a) in enumerate(rows, 2)), ())
    result = split(shop, seed=1)
    rows_made = training_hand_overs(shop, result, 0.95, 1)
    made = [*asked(result, "near-miss"), *(e.question for e in rows_made)]
    aspects = {s.question: s.topic for s in service()}
    topics = {aspects[q] for q in made if q in aspects}
    assert "returns: who pays return freight" not in topics
    assert any(t.startswith("returns: ") for t in topics)


def test_training_never_sees_what_an_exam_asks_or_what_is_held_out() -> None:
    result = divided()
    rows = training_hand_overs(faq(), result, 0.95, 1)
    exams = {q.question for seed in (1, 2) for q in divided(seed).exam}
    assert len(rows) > 100
    assert not {e.question for e in rows} & exams
    assert not {e.question for e in rows} & {e.question for e in result.held_out}
    assert len({e.question for e in rows}) == len(rows)
    assert all(e.answer is None for e in rows)
    negatives = [q.question for q in result.exam if q.answer is None]
    assert max(highest(negatives, [e.question for e in rows])) < 1


@pytest.mark.slow
def test_the_share_of_hand_overs_is_kept_and_all_kinds_take_part() -> None:
    result = divided()
    assert training_hand_overs(faq(), result, 0.0, 1) == ()
    for share in (0.2, 0.5):
        rows = training_hand_overs(faq(), result, share, 1)
        assert len(rows) / (len(rows) + len(result.train)) == pytest.approx(share, abs=0.03)
        assert {e.kind for e in rows} == {"near-miss", "out-of-scope", "hostile"}
    with pytest.raises(ValueError):
        training_hand_overs(faq(), result, 1.0, 1)


def test_shipped_questions_are_many_and_differ_between_the_sides() -> None:
    for shipped, least in ((out_of_scope(), 300), (hostile(), 120), (service(), 400)):
        assert len({s.question for s in shipped}) == len(shipped) >= least
        sides = Counter(s.side for s in shipped)
        assert 0.35 < sides["exam"] / len(shipped) < 0.65
        exam = [s.question for s in shipped if s.side == "exam"]
        other = [s.question for s in shipped if s.side != "exam"]
        assert max(highest(exam, other)) < NEAR


def test_follow_ups_come_after_another_topic() -> None:
    turns = [q for q in divided().exam if q.kind == "multi-turn"]
    assert turns
    answers = {p.question: p.answer for p in faq().pairs}
    for q in turns:
        past, said = q.history[0]
        assert past != q.source and answers[past] == said
        assert q.answer == answers[q.source or ""]


def test_likeness_groups_by_letters_not_by_manners() -> None:
    a, b, c = families(["請問運費多少？", "运费多少呢", "保固多久"])
    assert a == b != c


def shop(folder: Path) -> Faq:
    with (folder / "shop_faq.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return Faq(
        tuple(
            Pair(
                r["question"],
                r["answer"],
                Origin("shop_faq.csv", i),
                tuple(r["wordings"].split("|")),
            )
            for i, r in enumerate(rows, 2)
        ),
        (),
    )


@pytest.mark.slow
def test_the_shop_faq_makes_a_whole_exam_that_can_be_read_back(
    shared: Path, tmp_path: Path
) -> None:
    source = shop(shared)
    result = split(source, seed=42)
    kinds = Counter(q.kind for q in result.exam)
    assert kinds["known"] == kinds["reworded"] == 40
    assert kinds["near-miss"] >= 30 and kinds["out-of-scope"] >= 30 and kinds["hostile"] >= 20
    write(tmp_path / "exam.jsonl", result.exam)
    rows = training_hand_overs(source, result, 0.3, 42)
    assert read(tmp_path / "exam.jsonl", source, [*result.train, *rows]) == result.exam


@pytest.mark.slow
def test_a_hand_written_exam_of_a_shop_is_read(shared: Path) -> None:
    source = shop(shared)
    trained = split(source, seed=1, hold_out=False)
    questions = read(shared / "shop_exam.jsonl", source, trained.train)
    assert len(questions) == 355
    follow_up = next(q for q in questions if q.question == "那離島呢？")
    assert follow_up.history[0][0] == "下單之後多久可以收到商品？"
