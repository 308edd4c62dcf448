"""Releases: let out only what passed, recorded with who and when, and back again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kefu import releases
from kefu.errors import GateError
from kefu.records import (
    Candidate,
    ExamQuestion,
    Faq,
    Origin,
    Pair,
    Reply,
    Report,
)
from kefu.score import Marker, examine, report
from kefu.workspace import Workspace

FAQ = Faq((Pair("電話？", "請撥 02-2345-6789。", Origin("a.csv", 2), must_pass=True),), ())
ASKED = (
    ExamQuestion("怎麼打給你們", "reworded", FAQ.pairs[0].answer, "電話？", must_pass=True),
    ExamQuestion("天氣如何", "out-of-scope", None),
)


def examined(*said: Reply, run: str = "first") -> Report:
    verdicts = examine(lambda asked: iter(said), ASKED, FAQ, run=run)
    return report(run, verdicts, {}, faq_digest=FAQ.digest)


GOOD = (Reply(FAQ.pairs[0].answer), Reply("請真人回覆。", handed_over=True))
INVENTED = (Reply("請撥 02-9999-9999。"), GOOD[1])
CHATTY = (GOOD[0], Reply(FAQ.pairs[0].answer))


def test_a_run_that_passed_is_released_with_who_and_when(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    assert releases.current(space) is None
    made = releases.release(space, "first", examined(*GOOD), None, by="小美")
    assert (made.run, made.by, made.back) == ("first", "小美", False)
    assert made.at.endswith("Z") and made.at[:2] == "20"
    assert releases.current(space) == made
    unsigned = releases.release(space, "second", examined(*GOOD, run="second"), None)
    assert unsigned.by
    assert made.report_digest != unsigned.report_digest
    assert releases.history(space) == (made, unsigned)


def test_a_run_that_invents_is_refused_with_every_reason(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    with pytest.raises(GateError) as caught:
        releases.release(space, "bad", examined(*INVENTED, run="bad"), None)
    assert "bad is not released" in caught.value.what
    assert "must pass" in caught.value.what and "invented" in caught.value.what
    assert caught.value.fix
    assert releases.history(space) == ()


def test_a_run_that_is_worse_than_the_one_in_place_is_refused_unless_allowed(
    tmp_path: Path,
) -> None:
    space = Workspace(tmp_path)
    before, worse = examined(*GOOD), examined(*CHATTY, run="second")
    releases.release(space, "first", before, None)
    with pytest.raises(GateError, match="worse than the release in place"):
        releases.release(space, "second", worse, before)
    assert releases.current(space).run == "first"  # type: ignore[union-attr]
    assert releases.release(space, "second", worse, before, allow_worse=0.5).run == "second"


def test_going_back_returns_to_the_release_before_and_then_further(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    for name in ("a", "b", "c"):
        releases.release(space, name, examined(*GOOD, run=name), None)
    made = releases.back(space, by="小美")
    assert (made.run, made.by, made.back) == ("b", "小美", True)
    assert releases.current(space) == made
    assert releases.back(space).run == "a"
    with pytest.raises(GateError, match="no earlier release"):
        releases.back(space)
    releases.release(space, "d", examined(*GOOD, run="d"), None)
    assert releases.back(space).run == "a"
    assert [r.run for r in releases.history(space)] == ["a", "b", "c", "b", "a", "d", "a"]


def test_going_back_from_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="no earlier release"):
        releases.back(Workspace(tmp_path))


def test_a_torn_line_hides_neither_those_before_nor_those_after(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    for name in ("第一版", "第二版"):
        releases.release(space, name, examined(*GOOD), None)
    place = tmp_path / releases.FILE
    data = place.read_bytes()
    second = data.index(b"\n") + 1
    for cut in range(second + 1, len(data) - 1):
        place.write_bytes(data[:cut])
        assert [r.run for r in releases.history(space)] == ["第一版"]
    place.write_bytes(data[: second + 12])
    releases.release(space, "第三版", examined(*GOOD), None)
    assert [r.run for r in releases.history(space)] == ["第一版", "第三版"]


MANY = """
import sys
from pathlib import Path
from kefu.records import Release
from kefu import releases
from kefu.workspace import Workspace
space = Workspace(Path(sys.argv[1]))
for i in range(int(sys.argv[3])):
    releases._write(space, Release(f"{sys.argv[2]}-{i}" * 20, "小美", "2026-01-01T00:00:00Z", "x"))
    if i and not i % 5:
        releases.back(space)
"""


@pytest.mark.slow
def test_two_at_once_do_not_tear_each_other_s_lines(tmp_path: Path) -> None:
    each = 40
    workers = [
        subprocess.Popen([sys.executable, "-c", MANY, str(tmp_path), who, str(each)])
        for who in ("a", "b")
    ]
    assert [w.wait(60) for w in workers] == [0, 0]
    lines = (tmp_path / releases.FILE).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 * (each + each // 5 - 1)
    assert all(isinstance(json.loads(line), dict) for line in lines)
    assert len(releases.history(Workspace(tmp_path))) == len(lines)


def test_a_mute_a_parrot_and_a_liar_are_told_apart_from_a_good_bot() -> None:
    """The two poles of any measure, and what lies between."""
    pairs = tuple(
        Pair(f"{what}的價錢？", f"{what}一件 {100 + i} 元。", Origin("a.csv", i + 2))
        for i, what in enumerate(["襪子", "帽子", "皮帶", "圍巾"])
    )
    faq = Faq(pairs, ())
    exam = [
        ExamQuestion(f"{p.question[:2]}多少錢", "reworded", p.answer, p.question) for p in pairs
    ]
    exam += [ExamQuestion(q, "out-of-scope", None) for q in ("天氣如何", "你幾歲", "股票會漲嗎")]
    away = Reply("請真人回覆。", handed_over=True)

    def take(name: str, *said: Reply) -> Candidate:
        verdicts = examine(lambda asked: iter(said), exam, faq, marker=Marker(faq))
        return report(name, verdicts, {}, faq_digest=faq.digest).candidates[0]

    good = take("good", *(Reply(p.answer) for p in pairs), *[away] * 3)
    mute = take("mute", *[Reply("")] * 7)
    shy = take("shy", *[away] * 7)
    parrot = take("parrot", *(Reply(q.question) for q in exam))
    one_answer = take("one answer", *[Reply(pairs[0].answer)] * 7)
    liar = take("liar", *(Reply("一件 999 元。") for _ in exam))
    assert good.overall.right == 7
    assert mute.overall.right == parrot.overall.right == liar.overall.right == 0
    assert shy.overall.right == 3 and shy.overall.false_hand_overs == 4
    assert one_answer.overall.right == 1 and one_answer.overall.false_answers == 3
    assert liar.overall.invented == 7 and one_answer.overall.invented == 0
    kinds = {t.kind: t.right for t in good.tallies}
    assert kinds == {"reworded": 4, "out-of-scope": 3}
