"""The exam's controls stand beside the bot, also the one that needs a model of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny
from kefu import exam, jobs
from kefu.errors import BaseError
from kefu.records import ExamQuestion, Report
from kefu.train import train
from kefu.workspace import RunFolder

ASKED = tuple(ExamQuestion(q, "known", a, q) for q, a, _ in tiny.ROWS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("exam")
    plan = tiny.plan(tiny.base(folder / "base"), steps=2)
    made = tiny.run_folder(folder / "run")
    train(plan, tiny.EXAMPLES, made)
    exam.write(made.file("exam.jsonl"), ASKED)
    return made


def encoder(folder: Path) -> Path:
    """A sentence-transformers model: a tiny one with random weights, the mean of its states."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    words = Transformer(str(tiny.base(folder / "words")))
    words.tokenizer.pad_token = words.tokenizer.eos_token
    SentenceTransformer(
        modules=[words, Pooling(words.get_word_embedding_dimension())], device="cpu"
    ).save(str(folder / "encoder"))
    return folder / "encoder"


def candidates(report: Report) -> dict[str, int]:
    return {c.name: c.overall.right for c in report.candidates}


def test_a_model_of_sentences_is_one_control_more(run: RunFolder, tmp_path: Path) -> None:
    report = jobs.evaluate(run, embedder=str(encoder(tmp_path)))
    right = candidates(report)
    assert right["retrieval by embeddings"] == right["retrieval alone"] == len(ASKED)
    assert "retrieval by embeddings" not in candidates(jobs.evaluate(run))


def test_a_model_of_sentences_that_is_not_there_is_a_sentence(
    run: RunFolder, tmp_path: Path
) -> None:
    with pytest.raises(BaseError, match="embedder"):
        jobs.evaluate(run, embedder=str(tmp_path / "nowhere"))
