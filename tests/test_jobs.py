"""What is trained, what is held out and what is asked stay apart, for the bot and its controls."""

from __future__ import annotations

from pathlib import Path

import pytest

from kefu import exam, jobs
from kefu.cli import DEMO_QUESTIONS
from kefu.plan import probe
from kefu.records import Example, Faq, Origin, Pair, trained_part
from kefu.settings import Settings
from kefu.workspace import Workspace


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Faq:
    folder = tmp_path_factory.mktemp("shop")
    jobs.init(folder)
    workspace = Workspace(folder)
    return jobs.open_faq(workspace, workspace.settings(), None)


@pytest.mark.parametrize("hold_out", [True, False])
def test_nothing_near_to_an_asked_or_held_out_wording_is_trained(
    sample: Faq, hold_out: bool
) -> None:
    made = jobs.prepare(sample, Settings(), probe("cpu"), hold_out=hold_out)
    trained = [e.question for e in made.examples if e.answer is not None]
    aside = [q.question for q in made.split.exam if q.kind == "reworded"]
    aside += [e.question for e in made.split.held_out if e.kind == "reworded" and e.answer]
    own = {w for p in sample.pairs for w in p.wordings}
    asked = [q for q in aside if q in own]
    assert asked or not hold_out
    assert exam.apart(asked, trained) == frozenset(asked)
    assert not set(aside) & set(trained)


def test_the_demo_asks_in_words_that_are_not_trained(sample: Faq) -> None:
    settings = Settings(thorough="quick", base="gemma-3-270m")
    made = jobs.prepare(sample, settings, probe("cpu"), hold_out=False)
    assert not {e.question for e in made.examples} & set(DEMO_QUESTIONS)


def test_the_lengths_are_counted_by_the_tokenizer_of_the_base_that_is_trained(
    sample: Faq, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counter(name: str) -> None:
        asked.append(name)

    monkeypatch.setattr("kefu.jobs.preparing.local_counter", counter)
    made = jobs.prepare(sample, Settings(), probe("t4"))
    assert asked == [made.plan.base.value] and made.plan.base.value.startswith("Qwen")


def test_what_may_be_known_in_an_exam_is_what_was_trained() -> None:
    faq = Faq((Pair("電話？", "0800", Origin("a.csv", 2), ("號碼？", "打哪支？")),), ())
    rows = (
        Example("電話？", "0800", "電話？"),
        Example("號碼？", "0800", "電話？"),
        Example("有沒有專線", "0800", "電話？", brief=True),
        Example("打給老闆", None, "電話？"),
        Example("那號碼呢", "0800", "電話？", history=(("退貨？", "七天"),)),
    )
    assert trained_part(faq, rows).pairs[0].wordings == ("號碼？", "有沒有專線")


def test_an_answer_is_trained_as_a_wording_of_its_row_and_known_to_no_control(sample: Faq) -> None:
    made = jobs.prepare(sample, Settings(), probe("cpu"))
    answers = {p.answer for p in sample.pairs}
    rows = [e for e in made.examples if e.question in answers]
    assert {e.question for e in rows} == answers
    assert all(e.answer == e.question and e.brief for e in rows)
    known = trained_part(sample, made.examples)
    assert not {w for p in known.pairs for w in p.phrasings} & answers


def test_a_run_that_fails_before_its_first_step_leaves_no_folder(
    sample: Faq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = jobs.prepare(sample, Settings(), probe("cpu"))

    def fail(plan: object, examples: object, folder: object, **_: object) -> None:
        folder.steps_file.write_text("")  # type: ignore[attr-defined]
        raise RuntimeError("no memory")

    monkeypatch.setattr("kefu.train.train", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        jobs.train(Workspace(tmp_path), made)
    assert not list(tmp_path.glob("runs/*"))
