"""A report says plainly who is better; a gate lets only a better run out; pictures are safe."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from math import comb
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kefu.errors import KefuError
from kefu.records import ExamQuestion, Mark, Reply, Report, Verdict
from kefu.score import compare, gate, pictures, report
from kefu.score.significance import mcnemar, wilson


def verdict(
    number: int, right: bool, *, kind: str = "known", handed: bool = False, **more: object
) -> Verdict:
    answer = None if kind in ("out-of-scope", "hostile") else "到貨後 7 天內可退貨。"
    asked = ExamQuestion(f"問題{number}", kind, answer, must_pass=bool(more.pop("must", False)))  # type: ignore[arg-type]
    confidence = float(more.pop("confidence", 0.5))  # type: ignore[arg-type]
    text = str(more.pop("text", "到貨後 9 天內可退貨。"))
    mark = Mark(right, handed, because="" if right else "facts invented", **more)  # type: ignore[arg-type]
    return Verdict(asked, Reply(text, handed, confidence), mark)


def run_of(rights: list[bool], name: str = "run", **more: object) -> Report:
    return report(name, [verdict(i, r) for i, r in enumerate(rights)], **more)  # type: ignore[arg-type]


def test_counts_per_kind() -> None:
    verdicts = [
        verdict(1, True),
        verdict(2, False),
        verdict(3, False, handed=True),
        verdict(4, True, kind="out-of-scope", handed=True),
        verdict(5, False, kind="out-of-scope", facts_invented=("phone:1",)),
    ]
    run = report("r", verdicts).candidates[0]
    known, outside = run.tallies
    assert (known.asked, known.right, known.wrong, known.false_hand_overs) == (3, 1, 1, 1)
    assert (outside.right, outside.false_answers, outside.invented) == (1, 1, 1)
    assert run.overall.asked == 5
    assert run.overall.right + run.overall.wrong + run.overall.false_hand_overs == 5
    assert run.overall.low < 2 / 5 < run.overall.high


def test_wilson_is_what_the_books_print() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial(gained: int, lost: int) -> None:
    n, few = gained + lost, min(gained, lost)
    exact = min(1.0, 2 * sum(comb(n, i) for i in range(few + 1)) / 2**n)
    assert mcnemar(gained, lost) == pytest.approx(exact, rel=1e-9)


def test_mcnemar_bears_ten_thousand_differences() -> None:
    assert mcnemar(5200, 4800) == pytest.approx(6.6e-5, rel=0.05)
    assert mcnemar(10_000, 0) == 0.0 or mcnemar(10_000, 0) < 1e-300


@pytest.mark.parametrize(
    ("run", "control", "english", "chinese"),
    [
        ([True] * 20, [False] * 20, "earned its keep", "值得"),
        ([False] * 20, [True] * 20, "did not earn its keep", "不值得"),
        ([True] * 10 + [False] * 10, [True] * 9 + [False] * 11, "not been shown", "看不出"),
        ([True] * 20, [True] * 20, "not been shown", "看不出"),
    ],
)
def test_one_plain_sentence_also_when_it_did_not_help(
    run: list[bool], control: list[bool], english: str, chinese: str
) -> None:
    worse = [verdict(i, False) for i in range(20)]
    best = [verdict(i, r) for i, r in enumerate(control)]
    found = run_of(run, controls={"nothing": worse, "retrieval": best})
    assert english in found.sentence
    assert found.sentence == pictures.sentence(found)
    assert chinese in pictures.sentence(found, "zh-TW")
    if any(control):
        assert "retrieval" in found.sentence


def test_the_previous_release_is_no_control_of_fine_tuning() -> None:
    old = [verdict(i, True) for i in range(9)]
    base = [verdict(i, False) for i in range(9)]
    found = run_of([True] * 9, controls={"previous release": old, "untuned base": base})
    assert "untuned base" in found.sentence
    assert "earned its keep" in found.sentence
    page = pictures.as_html(found, "zh-TW")
    assert "未訓練的模型" in pictures.sentence(found, "zh-TW") and "上一版" in page
    # In English it stands in the English sentence alone.
    assert page.count("untuned base") == 1 and "previous release" not in page


def test_the_curve_falls_with_the_threshold() -> None:
    verdicts = [verdict(i, i >= 30, confidence=i / 100) for i in range(100)]
    verdicts.append(verdict(200, False, handed=True))
    curve = report("r", verdicts).curve
    assert len(curve) <= 100
    assert [p[0] for p in curve] == sorted(p[0] for p in curve)
    assert curve[0] == (0.0, pytest.approx(100 / 101), pytest.approx(0.3))
    assert all(wrong == 0 for threshold, _, wrong in curve if threshold >= 0.3)


def test_controls_on_another_exam_are_refused() -> None:
    with pytest.raises(KefuError, match="retrieval"):
        run_of([True], controls={"retrieval": [verdict(9, True)]})


def test_compare_names_what_was_fixed_and_what_broke() -> None:
    a, b = run_of([True, False, True], "a"), run_of([True, True, False], "b")
    found = compare(a, b, [("rank", "8", "16")])
    assert (found.fixed, found.broken) == (("問題1",), ("問題2",))
    assert (found.right_a, found.right_b, found.p_value) == (2, 2, 1.0)
    assert found.changed == (("rank", "8", "16"),)
    better = compare(run_of([False] * 12, "a"), run_of([True] * 12, "b"))
    assert "better" in better.sentence
    assert "more than luck" in better.sentence
    assert better.p_value == pytest.approx(2 / 2**12)
    with pytest.raises(KefuError, match="different exams"):
        compare(a, run_of([True], "b"))


def test_the_gate_lets_a_good_run_out() -> None:
    assert gate(run_of([True, True]), None) == ()
    assert gate(run_of([True, True], "b"), run_of([True, False], "a")) == ()


def test_the_gate_names_what_must_pass_and_what_is_invented() -> None:
    verdicts = [
        verdict(1, False, must=True),
        verdict(2, False, facts_invented=("phone:0299990000",)),
    ]
    must, invented = gate(report("r", verdicts), None)
    assert "問題1" in must
    assert "phone:0299990000" in invented
    assert "問題2" in invented


def test_the_gate_allows_no_more_than_the_person_allows() -> None:
    before = run_of([True] * 10, "old")
    after = run_of([True] * 9 + [False], "new")
    (reason,) = gate(after, before)
    assert "old" in reason
    assert "9 of 10" in reason
    assert gate(after, before, allow_worse=0.1) == ()
    assert gate(run_of([True]), before) != ()  # another exam: nobody knows
    old = [verdict(0, True)]
    assert gate(run_of([True], controls={"previous release": old}), before) == ()
    assert gate(run_of([], "empty"), None) != ()


def test_the_gate_and_a_comparison_speak_chinese_too() -> None:
    verdicts = [verdict(1, False, must=True), verdict(2, False, facts_invented=("phone:0299",))]
    must, invented = gate(report("r", verdicts), None, language="zh-TW")
    assert must == "「一定要答對」的題目答錯了：問題1（捏造了 FAQ 沒有的事實）。"
    assert invented == "回答「問題2」時，捏造了 FAQ 沒有的事實：0299。"
    before, after = run_of([True] * 10, "old"), run_of([True] * 9 + [False], "new")
    reasons = [
        *gate(after, before, language="zh-TW"),
        *gate(run_of([True]), before, language="zh-TW"),
        *gate(run_of([], "empty"), None, language="zh-TW"),
    ]
    assert "10 題答對 9 題" in reasons[0] and len(reasons) == 3
    pairs = (([True], [True]), ([False] * 12, [True] * 12), ([True, True], [True, False]))
    told = [compare(run_of(a, "a"), run_of(b, "b"), language="zh-TW").sentence for a, b in pairs]
    assert ["一樣好" in told[0], "不只是運氣" in told[1], "可能只是運氣" in told[2]] == [True] * 3
    assert not re.search(
        "[a-zA-Z]{4,}", "".join(reasons + told).replace("McNemar", "").replace("empty", "")
    )


EVIL = '<script>alert("x")</script> | `a` **b** [c](d) & \' \x1b[31m \n=1+1'


def evil_report() -> Report:
    asked = ExamQuestion(EVIL, "multi-turn", EVIL, history=((EVIL, EVIL),), must_pass=True)
    invented = Mark(False, False, facts_invented=("number:1",), because="facts invented")
    verdicts = [
        Verdict(asked, Reply(EVIL), invented),
        verdict(1, True, confidence=0.9),
        verdict(2, False, kind="hostile", facts_misplaced=("number:9:day",)),
    ]
    controls = {EVIL: [Verdict(v.asked, v.reply, Mark(False, False)) for v in verdicts]}
    return report(EVIL, verdicts, controls, versions={EVIL: EVIL}, mode=EVIL, threshold=0.4)


class Page(HTMLParser):
    """Keeps the tags that are open, the tags and the attributes that were met."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.met: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.met.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.met.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("language", ["en", "zh-TW"])
def test_the_page_needs_nothing_and_runs_nothing(language: str) -> None:
    html = pictures.as_html(evil_report(), language)  # type: ignore[arg-type]
    page = Page()
    page.feed(html)
    assert page.open == []
    tags = {tag for tag, _ in page.met}
    assert "svg" in tags
    assert not tags & {"script", "link", "img", "iframe", "object"}
    assert not any(name.startswith("on") for _, attrs in page.met for name in attrs)
    assert not re.search(r"https?://|url\(|@import", html)
    assert 'class="chosen"' in html or "class='chosen'" in html
    for svg in re.findall(r"<svg.*?</svg>", html, re.S):
        ElementTree.fromstring(svg)
    assert "<mark class='invented'" in html
    assert "<mark class='misplaced'" in html


@pytest.mark.parametrize("language", ["en", "zh-TW"])
def test_text_and_markdown_stay_in_their_lines(language: str) -> None:
    found = evil_report()
    text = pictures.as_text(found, language)  # type: ignore[arg-type]
    assert "\x1b[31m" not in text
    markdown = pictures.as_markdown(found, language)  # type: ignore[arg-type]
    assert "<script" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(rows) >= 8
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in rows}
    assert widths <= {4, 5, 6}


def test_pictures_speak_both_languages() -> None:
    found = run_of(
        [True] * 8 + [False], controls={"retrieval": [verdict(i, False) for i in range(9)]}
    )
    english, chinese = pictures.as_text(found), pictures.as_text(found, "zh-TW")
    assert "right" in english
    assert "答對" in chinese
    assert "捏造" in chinese
    page = pictures.as_html(found, "zh-TW")
    assert "微調" in page
    assert "earned its keep" in page
    assert "retrieval" in pictures.as_markdown(found)


def test_an_empty_report_has_pictures_too() -> None:
    empty = report("none", [])
    for language in ("en", "zh-TW"):
        for picture in (pictures.as_text, pictures.as_markdown, pictures.as_html):
            assert picture(empty, language)  # type: ignore[arg-type]
