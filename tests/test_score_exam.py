"""An exam streams to disk, survives a kill, and goes on where it was."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from kefu.errors import KefuError, RunError
from kefu.records import ExamQuestion, Faq, Origin, Pair, Reply, Verdict
from kefu.score import examine

FAQ = Faq((Pair("退貨？", "到貨後 7 天內可退貨。", Origin("a.csv", 1)),), ())


def exam(count: int) -> list[ExamQuestion]:
    return [ExamQuestion(f"退貨{i}？", "reworded", FAQ.pairs[0].answer) for i in range(count)]


class Bot:
    """Answers right and remembers what it was asked."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.asked: list[str] = []
        self.stop_after = stop_after

    def __call__(self, questions: Sequence[ExamQuestion]) -> Iterator[Reply]:
        for question in questions:
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(question.question)
            yield Reply(FAQ.pairs[0].answer, confidence=0.75)


def test_verdicts_come_in_the_exams_order() -> None:
    questions = exam(5)
    verdicts = examine(Bot(), questions, FAQ)
    assert [v.asked for v in verdicts] == questions
    assert all(v.mark.right for v in verdicts)


def test_an_exam_that_was_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    to = tmp_path / "deep" / "verdicts.jsonl"
    with pytest.raises(KeyboardInterrupt):
        examine(Bot(stop_after=3), exam(8), FAQ, run="a", to=to)
    second = Bot()
    verdicts = examine(second, exam(8), FAQ, run="a", to=to)
    assert second.asked == [f"退貨{i}？" for i in range(3, 8)]
    assert len(verdicts) == 8
    third = Bot()
    assert examine(third, exam(8), FAQ, run="a", to=to) == verdicts
    assert third.asked == []


def test_a_torn_last_line_is_dropped_and_asked_again(tmp_path: Path) -> None:
    to = tmp_path / "v.jsonl"
    examine(Bot(), exam(4), FAQ, to=to)
    whole = to.read_bytes()
    for cut in (1, 20, len(whole.splitlines()[-1]) - 1):
        to.write_bytes(whole[:-cut])
        bot = Bot()
        examine(bot, exam(4), FAQ, to=to)
        assert bot.asked == ["退貨3？"]
        assert len(to.read_bytes().splitlines()) == 4


def test_a_damaged_line_is_asked_again_and_the_others_stay(tmp_path: Path) -> None:
    to = tmp_path / "v.jsonl"
    examine(Bot(), exam(4), FAQ, to=to)
    lines = to.read_text(encoding="utf-8").splitlines()
    to.write_text("\n".join([lines[0], '{"key": 3', "[]", *lines[2:]]) + "\n", encoding="utf-8")
    bot = Bot()
    assert len(examine(bot, exam(4), FAQ, to=to)) == 4
    assert bot.asked == ["退貨1？"]


@pytest.mark.slow
def test_kill_9_loses_no_finished_answer(tmp_path: Path) -> None:
    to = tmp_path / "v.jsonl"
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from test_score_exam import FAQ, exam\n"
        "from kefu.records import Reply\n"
        "from kefu.score import examine\n"
        "def slow(qs):\n"
        "    for i, q in enumerate(qs):\n"
        "        if i == 3: time.sleep(60)\n"
        "        yield Reply(FAQ.pairs[0].answer)\n"
        "examine(slow, exam(9), FAQ, run='a', to=Path(sys.argv[2]))\n"
    )
    here = str(Path(__file__).parent)
    process = subprocess.Popen([sys.executable, "-c", code, here, str(to)])
    try:
        for _ in range(400):
            if to.exists() and to.read_bytes().count(b"\n") == 3:
                break
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    bot = Bot()
    assert len(examine(bot, exam(9), FAQ, run="a", to=to)) == 9
    assert len(bot.asked) == 6


def test_stored_replies_are_marked_by_the_faq_of_today(tmp_path: Path) -> None:
    to = tmp_path / "v.jsonl"
    examine(Bot(), exam(1), FAQ, to=to)
    mended = [ExamQuestion("退貨0？", "reworded", "到貨後 10 天內可退貨。")]
    assert not examine(Bot(), mended, FAQ, to=to)[0].mark.right


def test_a_question_asked_twice_is_answered_once_and_history_tells_questions_apart() -> None:
    bot = Bot()
    first = exam(1)[0]
    later = ExamQuestion(first.question, "multi-turn", first.answer, history=(("嗨", "您好"),))
    assert len(examine(bot, [first, first, later], FAQ)) == 3
    assert len(bot.asked) == 2


def test_another_runs_replies_are_refused(tmp_path: Path) -> None:
    to = tmp_path / "v.jsonl"
    examine(Bot(), exam(1), FAQ, run="a", to=to)
    before = to.read_bytes()
    with pytest.raises(RunError, match="'a'"):
        examine(Bot(), exam(1), FAQ, run="b", to=to)
    assert to.read_bytes() == before


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_bot_that_gives_too_few_or_too_many_replies_is_found_out(extra: int) -> None:
    def bot(questions: Sequence[ExamQuestion]) -> Iterable[Reply]:
        return [Reply("x")] * (len(questions) + extra)

    with pytest.raises(KefuError):
        examine(bot, exam(3), FAQ)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="file"):
        examine(Bot(), exam(1), FAQ, to=tmp_path / "file" / "v.jsonl")


@pytest.mark.slow
def test_ten_thousand_questions_stream_with_little_overhead(tmp_path: Path) -> None:
    to = tmp_path / "v.jsonl"
    seen: list[int] = []

    def on_verdict(verdict: Verdict, done: int, of: int) -> None:
        if done == 5000:
            seen.append(to.read_bytes().count(b"\n"))

    start = time.process_time()
    verdicts = examine(Bot(), exam(10_000), FAQ, to=to, on_verdict=on_verdict)
    assert len(verdicts) == 10_000
    assert seen == [5000]
    assert time.process_time() - start < 10
    assert to.stat().st_size < 10_000 * 1200
