"""Promises of kefu.recall."""

import subprocess
import sys
from pathlib import Path

import pytest

from kefu.recall import Index, Tfidf, normalise
from kefu.recall.text import terms
from kefu.records import Faq, Origin, Pair


def pair(question: str, answer: str, *wordings: str) -> Pair:
    return Pair(question, answer, Origin("shop.csv", 1), wordings)


PAIRS = (
    pair("商品有保固嗎？", "一年保固。", "壞掉有人修嗎"),
    pair("運費怎麼算？", "滿千免運，離島另加 250 元。", "shipping fee 多少"),
    pair("可以退貨嗎？", "到貨七天內可退。", "不喜歡能還給你們嗎"),
)


def test_a_question_asked_word_for_word_comes_first_with_score_one() -> None:
    for i, p in enumerate(PAIRS):
        hit = Index(PAIRS).search(p.question, 3)[0]
        assert (hit.pair, hit.question) == (i, p.question)
        assert hit.score == pytest.approx(1.0)


def test_a_pair_is_found_by_any_of_its_wordings_and_named_by_its_question() -> None:
    hit = Index(PAIRS).search("壞掉的話有人修嗎", 1)[0]
    assert hit.question == "商品有保固嗎？"
    assert hit.wording == "壞掉有人修嗎"


@pytest.mark.parametrize(
    "asked", ["运费怎么算", "運費怎麼算", "ＳＨＩＰＰＩＮＧ　ＦＥＥ", "shiping fee"]
)
def test_script_width_case_and_a_typing_error_do_not_matter(asked: str) -> None:
    assert Index(Faq(PAIRS, ())).search(asked, 1)[0].pair == 1


def test_words_that_only_the_answer_holds_find_the_row() -> None:
    assert Index(PAIRS).search("離島", 1)[0].pair == 1
    assert Index(PAIRS, answer_weight=0).search("離島", 1) == ()


def test_scores_fall_within_zero_and_one_and_in_order() -> None:
    hits = Index(PAIRS).search("退貨運費怎麼算，商品有保固嗎", 3)
    scores = [h.score for h in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < s <= 1 for s in scores)
    assert len(Index(PAIRS).search("退貨運費", 1)) == 1


def test_nothing_in_common_finds_nothing() -> None:
    assert Index(PAIRS).search("xyzzy", 3) == ()
    assert Index(PAIRS).search("", 3) == ()
    assert Index(()).search("運費", 3) == ()
    assert Index([pair("？？", "！")]).search("運費", 3) == ()


@pytest.mark.slow
def test_many_at_once_is_the_same_as_one_by_one() -> None:
    asked = ["運費", "", "保固"] * 200
    index = Index(PAIRS)
    assert index.search_all(asked, 2) == [index.search(q, 2) for q in asked]


def test_both_spellings_of_taiwan_are_one() -> None:
    assert normalise("臺北後台　Ａ１") == normalise("台北后臺 a1")


@pytest.mark.slow
def test_vectors_are_those_of_scikit_learn_in_every_bit() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    corpus = Path(__file__).resolve().parents[1] / "bench" / "intents" / "data" / "general1.txt"
    texts = ["", "？", *corpus.read_text(encoding="utf-8").splitlines()]
    theirs = TfidfVectorizer(analyzer=lambda text: list(terms(text))).fit(texts[::2])
    found, due = Tfidf(terms, texts[::2]).vectors(texts), theirs.transform(texts)
    assert found.shape == due.shape
    for part in ("indptr", "indices", "data"):
        assert (getattr(found, part) == getattr(due, part)).all()


def test_importing_the_room_imports_nothing_heavy_and_searching_no_sklearn() -> None:
    code = (
        "import sys; from kefu.recall import Index; from kefu.records import Origin, Pair\n"
        "assert not {'scipy', 'numpy', 'opencc'} & set(sys.modules)\n"
        "assert Index([Pair('運費多少？', '免運。', Origin('shop.csv', 1))]).search('運費', 1)\n"
        "assert 'scipy' in sys.modules and 'sklearn' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
