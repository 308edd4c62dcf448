"""Advice names the cause that was planted in a run, and it comes first."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kefu import jobs
from kefu.advise import Advice, Evidence, advise
from kefu.faq import check
from kefu.plan import make, probe
from kefu.records import (
    Choice,
    Example,
    ExamQuestion,
    Faq,
    Origin,
    Pair,
    Plan,
    Reply,
    Report,
    Step,
    Verdict,
)
from kefu.score import Marker, report
from kefu.settings import Settings
from kefu.workspace import RunFolder, dump, write_json, write_text

TOPICS = (
    ("營業時間是幾點到幾點？", "每天上午十點到晚上八點。", ("何時開門", "開到何時", "今天有開嗎")),
    ("可以停車嗎？", "地下二樓可以停車。", ("車子放哪裡", "有車位嗎", "開車去方便嗎")),
    ("怎麼換尺寸？", "憑發票可以換尺寸一次。", ("太小了想換", "能換大一號嗎", "鞋子不合腳")),
    ("有哪些顏色？", "有黑、白、藍三種顏色。", ("能選紅的嗎", "什麼色都有嗎", "深藍的還有嗎")),
    ("禮物能包裝嗎？", "結帳時可以免費包裝。", ("要送人的", "有緞帶嗎", "包漂亮一點")),
    ("會員有什麼好處？", "會員生日當月打九折。", ("加入有優惠嗎", "生日有折扣嗎", "辦卡划算嗎")),
    ("發票可以開統編嗎？", "結帳前告知統一編號即可。", ("公司報帳用", "要打統編", "收據抬頭")),
    ("哪裡有分店？", "台北與高雄各有一家分店。", ("南部有店嗎", "最近的門市", "還有別家嗎")),
)
ASKED = ("想請教一下這個", "可不可以跟我說說", "第一次來不太懂", "朋友叫我問的")
"""Beginnings of exam questions, each in other words than any trained."""
FAQ = Faq(
    tuple(Pair(q, a, Origin("shop.csv", i), w) for i, (q, a, w) in enumerate(TOPICS, start=2)), ()
)
AWAY = "請真人客服回覆您。"

Answering = Callable[[ExamQuestion, int], Reply]
"""How the run answers a question, given its number."""


def given(row: Pair, sure: float = 0.9) -> Reply:
    return Reply(row.answer, confidence=sure, source=row.question)


def away(*first: Pair, sure: float = 0.1) -> Reply:
    offered = tuple(p.question for p in first)
    return Reply(AWAY, handed_over=True, confidence=sure, offered=offered)


def exam(faq: Faq) -> list[ExamQuestion]:
    asked = [ExamQuestion(p.question, "known", p.answer, p.question) for p in faq.pairs]
    asked += [
        ExamQuestion(f"{start}，{p.question[:3]}", "reworded", p.answer, p.question)
        for p in faq.pairs
        for start in ASKED
    ]
    return asked + [
        ExamQuestion(f"外面的事{n}", "out-of-scope", None) for n in range(len(faq.pairs))
    ]


def losses(last: float, steps: int = 60) -> list[float]:
    """From 4 nats down to `last`, where it stays."""
    return [max(last, 4.0 * 0.85**n) for n in range(steps)]


def evidence(
    answering: Answering, faq: Faq = FAQ, loss: Sequence[float] | None = None, **changed: Any
) -> Evidence:
    """What a run leaves behind that answers like this; well in all that is not said."""
    rows = tuple(Example(t, p.answer, p.question) for p in faq.pairs for t in p.phrasings)
    rows += (Example("今天天氣如何", None),)
    usual = make(Settings(base="gemma-3-270m"), faq, probe("cpu"), train=rows)
    plan = replace(usual, steps=Choice(60, "The test's."), warmup=Choice(4, "The test's."))
    by = {p.question: p for p in faq.pairs}
    marker, verdicts = Marker(faq), []
    for number, asked in enumerate(exam(faq)):
        reply = answering(asked, number)
        if asked.kind == "known" and not changed.get("free"):
            reply = given(by[asked.source or ""], 1.0)
        verdicts.append(Verdict(asked, reply, marker.mark(asked, reply)))
    said = Evidence(
        run="first",
        plan=plan,
        pairs=faq.pairs,
        examples=rows,
        steps=tuple(steps(plan, loss or losses(0.003))),
        report=report("first (verbatim)", verdicts, mode="verbatim", threshold=0.5),
        findings=check(faq),
        usual=usual,
        larger=("Qwen/Qwen2.5-0.5B-Instruct",),
    )
    return replace(said, **{k: v for k, v in changed.items() if k != "free"})


def steps(plan: Plan, loss: Sequence[float], share: float = 1.0) -> list[Step]:
    from kefu.advise.training import _planned

    rates = [share * _planned(plan, n) for n in range(1, len(loss) + 1)]
    return [
        Step(n, len(loss), value, rate, 1.0, float(n), 0)
        for n, (value, rate) in enumerate(zip(loss, rates, strict=True), start=1)
    ]


def well(asked: ExamQuestion, number: int) -> Reply:
    """Everything is right, and what nobody can answer is handed over."""
    row = next((p for p in FAQ.pairs if p.question == asked.source), None)
    return away(sure=0.05) if row is None else given(row)


def other_row(faq: Faq, question: str | None) -> Pair:
    """A row that has nothing to do with the one asked for."""
    at = next(i for i, p in enumerate(faq.pairs) if p.question == question)
    return faq.pairs[(at + 3) % len(faq.pairs)]


def wrong(asked: ExamQuestion, number: int) -> Reply:
    """Of the reworded questions three in four are answered with some other row."""
    if asked.kind == "reworded" and number % 4:
        return given(other_row(FAQ, asked.source))
    return well(asked, number)


def first(made: Advice, name: str) -> None:
    assert made.causes, made.sentence
    assert made.causes[0].name == name, [(c.name, c.explains) for c in made.causes]
    assert sum(c.explains for c in made.causes) == made.asked - made.right
    explained = [c.explains for c in made.causes]
    assert explained == sorted(explained, reverse=True)
    for cause in made.causes:
        assert cause.because.endswith(".") and cause.remedy.endswith(".")
        assert sum(case.explains for case in cause.cases) == cause.explains


def test_where_all_is_well_it_says_so() -> None:
    made = advise(evidence(well))
    assert not made.causes and "nothing needs to change" in made.sentence
    assert made.right == made.asked == 48


def test_rows_that_contradict_each_other_come_first_with_their_places() -> None:
    twisted = (
        Pair("請問運費多少錢？", "每筆訂單運費 80 元。", Origin("shop.csv", 20),
             ("寄送要加錢嗎", "郵資", "送到家收多少")),
        Pair("運費要多少？", "每筆訂單運費 100 元。", Origin("shop.csv", 21),
             ("宅配價", "貨運怎麼收", "寄費")),
    )  # fmt: skip
    faq = Faq((*FAQ.pairs, *twisted), ())

    def answering(asked: ExamQuestion, number: int) -> Reply:
        if asked.source in {p.question for p in twisted}:
            one, other = twisted if asked.source == twisted[0].question else twisted[::-1]
            return given(other) if number % 2 else away(one, other)
        if number == 12:  # something else is amiss too
            return given(other_row(faq, asked.source))
        return well(asked, number)

    made = advise(evidence(answering, faq))
    first(made, "data")
    assert made.causes[0].explains == 8 and "These 2 rows contradict" in made.causes[0].because
    assert {str(c.origin) for c in made.causes[0].cases} == {"shop.csv row 20", "shop.csv row 21"}
    assert all("80" in c.said and "100" in c.said for c in made.causes[0].cases)
    assert not made.causes[0].again


def test_rows_with_one_wording_are_counted_and_named() -> None:
    bare = {p.question for p in FAQ.pairs[:5]}
    faq = Faq(tuple(replace(p, wordings=()) if p.question in bare else p for p in FAQ.pairs), ())

    def answering(asked: ExamQuestion, number: int) -> Reply:
        if asked.kind == "reworded" and asked.source in bare and number % 4:
            return given(other_row(faq, asked.source))
        return well(asked, number)

    made = advise(evidence(answering, faq))
    first(made, "wordings")
    cause = made.causes[0]
    assert "These 5 questions have 1 wording each" in cause.because and cause.again
    assert "5 of 20 right, rows with more wordings 12 of 12" in cause.because
    assert f"answered with the row “{other_row(faq, cause.cases[0].question).question}”" in (
        cause.cases[0].said
    )


def test_too_few_steps_are_seen_by_a_loss_that_is_still_high() -> None:
    few = evidence(wrong, loss=losses(0.0, 10))
    short = replace(
        few.plan, steps=Choice(10, "Yours."), exposures=Choice(5.0, "Yours."),
        warmup=Choice(1, "Yours."),
    )  # fmt: skip
    made = advise(replace(few, plan=short, steps=tuple(steps(short, losses(0.0, 10)))))
    first(made, "exposures")
    assert "each fact was seen 5 times" in made.causes[0].because
    # As many steps as usual, and the loss still falls: the same remedy.
    falling = [4.0 - 0.05 * n for n in range(60)]
    first(advise(evidence(wrong, loss=falling)), "exposures")


def test_a_threshold_that_hands_right_answers_over_is_too_strict() -> None:
    def answering(asked: ExamQuestion, number: int) -> Reply:
        row = next((p for p in FAQ.pairs if p.question == asked.source), None)
        if asked.kind == "reworded" and row and number % 4:
            return away(row, other_row(FAQ, asked.source), sure=0.4 + number / 1000)
        return well(asked, number)

    made = advise(evidence(answering))
    first(made, "too-strict")
    assert made.causes[0].explains == 24 == made.handed_over
    assert "The threshold is 0.50; at 0.4" in made.causes[0].because
    assert "kefu threshold --reranker" in made.causes[0].remedy
    found = evidence(answering)
    large = replace(found.plan, reranker=Choice("a larger base", "Yours."))
    assert "--reranker" not in advise(replace(found, plan=large)).causes[0].remedy


def test_rows_that_look_alike_and_are_taken_for_each_other() -> None:
    near = (
        Pair("信用卡分期可以幾期？", "信用卡可分三期。", Origin("shop.csv", 30),
             ("刷卡能慢慢付嗎", "分次繳", "零利率有嗎")),
        Pair("信用卡退款要幾天？", "退款約七個工作天入帳。", Origin("shop.csv", 31),
             ("錢何時回來", "退刷進度", "還沒收到退的錢")),
        Pair("信用卡退刷要幾天？", "退刷請洽發卡銀行。", Origin("shop.csv", 32),
             ("銀行那邊的事", "卡片被退", "取消授權")),
    )  # fmt: skip
    faq = Faq((*FAQ.pairs, *near), ())

    def answering(asked: ExamQuestion, number: int) -> Reply:
        row = next((p for p in faq.pairs if p.question == asked.source), None)
        if asked.kind == "reworded" and row in near[1:]:
            return given(near[2] if row is near[1] else near[1])
        return well(asked, number) if row not in near or row is None else given(row)

    made = advise(evidence(answering, faq))
    first(made, "near-rows")
    assert made.causes[0].explains == 8 and "This 1 pair of rows" in made.causes[0].because
    assert "4 times" in made.causes[0].cases[0].said


def test_the_base_is_named_where_nothing_else_is_left() -> None:
    made = advise(evidence(wrong))
    first(made, "base")
    said = made.causes[0].because
    assert "8 of 8 trained questions are right" in said and "wordings enough" in said
    assert "gemma-3-270m does not see" in said
    assert "--base Qwen/Qwen2.5-0.5B-Instruct" in made.causes[0].remedy
    assert not made.causes[0].again


def test_few_wordings_are_no_excuse_where_rows_with_more_do_no_better() -> None:
    bare = {p.question for p in FAQ.pairs[:4]}
    faq = Faq(tuple(replace(p, wordings=()) if p.question in bare else p for p in FAQ.pairs), ())
    made = advise(evidence(wrong, faq))
    first(made, "base")
    assert "rows with few wordings do no worse" in made.causes[0].because.lower()


def test_a_rate_that_made_training_fall_apart_is_seen_by_the_rates_that_were_taken() -> None:
    found = evidence(wrong)
    halved = tuple(steps(found.plan, losses(1.9), share=0.25))
    first(advise(replace(found, steps=halved)), "rate")
    far = replace(found.plan, learning_rate=Choice(1e-6, "Yours."))
    made = advise(replace(found, plan=far, steps=tuple(steps(far, losses(2.5)))))
    first(made, "rate")
    assert "1e-06, where 0.0005 is usual" in made.causes[0].because


def test_a_low_rank_and_a_loss_that_no_longer_falls() -> None:
    found = evidence(wrong, loss=losses(1.1))
    low = replace(found.plan, rank=Choice(2, "Yours."))
    made = advise(replace(found, plan=low))
    first(made, "rank")
    assert "rank 2, where 16 is usual for 8 answers" in made.causes[0].because
    assert "holds no more" in advise(found).causes[0].because


def test_answers_to_what_the_faq_does_not_say() -> None:
    def answering(asked: ExamQuestion, number: int) -> Reply:
        return given(FAQ.pairs[1], 0.8) if asked.answer is None else well(asked, number)

    found = evidence(answering)
    made = advise(found)
    first(made, "too-loose")
    assert made.causes[0].cases[0].question == FAQ.pairs[1].question
    assert "a threshold of 0.90 would do, and cost 0 right answers" in made.causes[0].because
    never = replace(found.plan, hand_over_share=Choice(0.0, "As in the tutorials."))
    first(advise(replace(found, plan=never)), "hand-over")


def test_free_text_that_is_no_row_s_is_laid_to_the_mode() -> None:
    def answering(asked: ExamQuestion, number: int) -> Reply:
        if asked.answer is not None and number % 2:
            return Reply("請撥 0800-999-111 找我們老闆。")
        return well(asked, number)

    made = advise(evidence(answering, free=True))
    first(made, "mode")
    assert "with an invented fact" in made.causes[0].because


def test_an_exam_without_other_words_is_said_to_prove_little() -> None:
    found = evidence(well)
    known = [v for v in found.report.verdicts if v.asked.kind == "known"]
    made = advise(replace(found, report=report("first", known)))
    assert any("proves little" in text for text in made.remarks)


@pytest.mark.parametrize("nothing", [(), None])
def test_an_exam_that_asked_nothing_is_nothing_to_go_by(nothing: Any) -> None:
    made = advise(replace(evidence(well), report=report("first", nothing or [])))
    assert "nothing to go by" in made.sentence


# --- from run folders -------------------------------------------------------------------


def kept(folder: Path, found: Evidence) -> RunFolder:
    """The evidence as a run folder."""
    made = RunFolder(folder)
    made.path.mkdir(parents=True)
    made.keep_faq(Faq(found.pairs, ()))
    write_json(made.file("plan.json"), found.plan, Plan)
    write_json(made.file("versions.json"), {})
    write_json(made.file("report.json"), found.report, Report)
    lines = [json.dumps(dump(e), ensure_ascii=False) for e in found.examples]
    write_text(made.file("examples.jsonl"), "\n".join(lines) + "\n")
    write_text(made.steps_file, "".join(json.dumps(dump(s)) + "\n" for s in found.steps))
    return made


def test_the_run_after_keeps_what_a_person_set_for_the_one_before(tmp_path: Path) -> None:
    settings = Settings(base="gemma-3-270m", precision="fp32", mode="locked", patience=3)
    plan = jobs.prepare(FAQ, settings, probe("cpu")).plan
    folder = kept(tmp_path / "set", replace(evidence(wrong), plan=plan))
    after = jobs.settings_of(folder, Settings(), {"mode": "free"})
    assert (after.precision, after.mode, after.patience) == ("fp32", "free", 3)
    alone = Settings(base="smollm2-135m", reader="none")
    plan = jobs.prepare(FAQ, alone, probe("cpu")).plan
    folder = kept(tmp_path / "alone", replace(evidence(wrong), plan=plan))
    assert jobs.settings_of(folder, Settings(), {}).reader == "none"


def test_a_run_from_before_is_read_for_when_it_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kefu.plan import reader

    plan = jobs.prepare(FAQ, Settings(base="smollm2-135m"), probe("cpu")).plan
    assert plan.reader.value == ""
    folder = kept(tmp_path / "old", replace(evidence(wrong), plan=plan))
    monkeypatch.setattr(reader, "_installed", lambda base: True)
    made = jobs.again(folder, FAQ, jobs.settings_of(folder, Settings(), {}), probe("cpu"))
    changed = {c.what: c for c in made.changes}["reader"]
    assert (changed.before, changed.after) == ("none", "gemma-3-270m")
    assert "covers" in changed.because


def test_the_run_after_has_what_the_one_before_lacked_and_says_what_is_left(
    tmp_path: Path,
) -> None:
    found = evidence(wrong)
    few = replace(
        found.plan, steps=Choice(10, "Yours."), exposures=Choice(5.0, "Yours."),
        rank=Choice(4, "Yours."),
    )  # fmt: skip
    short = replace(found, plan=few, steps=tuple(steps(few, losses(0.0, 10))))
    folder = kept(tmp_path / "short", short)
    said = jobs.settings_of(folder, Settings(base="smollm2-135m"), {})
    assert said.base == "gemma-3-270m"  # of the run, unless the person says otherwise
    assert jobs.settings_of(folder, Settings(), {"base": "smollm2-135m"}).base == "smollm2-135m"
    assert said.precision == "auto"  # the plan's own choice may be another one today
    made = jobs.again(folder, FAQ, said, probe("cpu"))
    plan, changed = made.prepared.plan, {c.what: c for c in made.changes}
    assert plan.exposures.value > 20 and plan.rank.value == 16
    assert "each fact was seen 5 times" in changed["exposures"].because
    assert (changed["rank"].before, changed["rank"].after) == ("4", "16")


@pytest.mark.parametrize("cause", ["rank", "rate", "exposures"])
def test_what_is_as_usual_and_does_not_suffice_is_doubled_or_halved(
    tmp_path: Path, cause: str
) -> None:
    found = evidence(wrong, loss=losses(1.1))
    folder = kept(tmp_path / "first", found)
    usual = jobs.again(folder, replace(FAQ, pairs=FAQ.pairs[:7]), settings(folder), probe("cpu"))
    before = replace(usual.prepared.plan, base=found.plan.base)
    loss = [4.0 - 2 * n / before.steps.value for n in range(before.steps.value)]
    flat = losses(1.1, before.steps.value)
    taken = steps(before, loss if cause == "exposures" else flat, 0.5 if cause == "rate" else 1.0)
    folder = kept(tmp_path / "second", replace(found, plan=before, steps=tuple(taken)))
    made = jobs.again(folder, FAQ, settings(folder), probe("cpu"))
    after = made.prepared.plan
    if cause == "rank":
        assert after.rank.value == 2 * before.rank.value
        assert after.trainable.value == 2 * before.trainable.value
        assert after.total.value - after.trainable.value == 268_098_176
        assert after.alpha.value == 2 * after.rank.value
    elif cause == "rate":
        assert after.learning_rate.value == before.learning_rate.value / 2
    else:
        assert after.steps.value == 2 * before.steps.value
        assert after.exposures.value > 1.5 * before.exposures.value


def settings(folder: RunFolder) -> Settings:
    return jobs.settings_of(folder, Settings(), {})


def test_few_wordings_are_filled_up_by_rules(tmp_path: Path) -> None:
    bare = Faq(tuple(replace(p, wordings=()) for p in FAQ.pairs), ())

    def answering(asked: ExamQuestion, number: int) -> Reply:
        reworded = asked.kind == "reworded" and number % 4
        return given(other_row(bare, asked.source)) if reworded else well(asked, number)

    folder = kept(tmp_path / "bare", evidence(answering, bare))
    made = jobs.again(folder, bare, settings(folder), probe("cpu"))
    change = next(c for c in made.changes if c.what == "wordings made by rules")
    assert int(change.after) > int(change.before) == 0
    assert "have 1 wording each" in change.because


def test_where_training_could_change_nothing_it_is_refused(tmp_path: Path) -> None:
    from kefu.errors import RunError

    folder = kept(tmp_path / "first", evidence(well))
    rows = jobs.again(folder, FAQ, settings(folder), probe("cpu")).prepared
    same = replace(evidence(well), plan=rows.plan, examples=rows.examples)
    folder = kept(tmp_path / "same", same)
    with pytest.raises(RunError, match="could change nothing of what the exam of same missed"):
        jobs.again(folder, FAQ, settings(folder), probe("cpu"))
    # After an update of kefu that brings another adapter, the same training is worth doing.
    write_json(folder.file("versions.json"), {"warm_sha256": "an older one's"})
    made = jobs.again(folder, FAQ, settings(folder), probe("cpu"))
    assert [c.what for c in made.changes] == ["adapter to read by"]
    folder.file("report.json").unlink()
    with pytest.raises(RunError, match="was not examined yet"):
        jobs.advice_on(folder, Settings())
