"""An export that answers otherwise than its run is not let out; one that does not says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import export_runs as tiny
from kefu.errors import GateError
from kefu.export import merging
from kefu.export.engine import Llama, here
from kefu.jobs import Parity, export
from kefu.records import Choice, Example, Origin, Pair, Plan, Reply
from kefu.workspace import RunFolder, dump, write_json, write_text

pytestmark = pytest.mark.skipif(not here(), reason="needs llama.cpp: the package xllamacpp")
ROWS = (
    ("運費多少？", "滿千免運，未滿收 80 元。"),
    ("How long is delivery?", "It takes 3 days."),
    ("Do you deliver to islands?", "Yes, for NT$120."),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFolder]:
    """A run that writes freely, so that whatever is wrong with an export is seen."""
    root = tmp_path_factory.mktemp("parity")
    base = tiny.base(root / "base", "llama")
    run = tiny.run(root / "shop-1", base)
    pairs = [Pair(q, a, Origin("f.csv", i)) for i, (q, a) in enumerate(ROWS, 2)]
    write_json(run.file("faq.json"), pairs, list[Pair])
    lines = [json.dumps(dump(Example(q, a, q))) for q, a in ROWS]
    write_text(run.file("examples.jsonl"), "\n".join(lines) + "\n")
    return base, run


def in_mode(run: RunFolder, mode: str) -> None:
    plan = json.loads(run.file("plan.json").read_text())
    plan["mode"] = {"value": mode, "because": "The test's."}
    write_text(run.file("plan.json"), json.dumps(plan))
    assert run.plan().mode == Choice(mode, "The test's.")
    assert isinstance(run.plan(), Plan)


def test_every_form_sits_the_exam_in_its_own_engine(
    made: tuple[Path, RunFolder], tmp_path: Path
) -> None:
    base, run = made
    in_mode(run, "verbatim")
    bare = tiny.untrained(run, base, tmp_path / "bare.gguf")
    for name, form, options in (
        ("adapter", "adapter", {}),
        ("merged", "merged", {}),
        ("shop-1-q8_0.gguf", "gguf", {"types": ("q8_0",)}),
        ("shop-1-lora.gguf", "gguf", {"lora": True, "base": bare}),
        ("shop-1-q8_0.gguf", "ollama", {}),
    ):
        done = export(run, form, tmp_path / f"{form}-{name}", **options)  # type: ignore[arg-type]
        told = f"3 of 3 questions are answered by {name} as by the run; no fact is lost."
        assert any(told in note for note in done.notes), done.notes
        assert any("as sure as the run within 0.0" in note for note in done.notes)
        assert told in (done.path / "README.md").read_text(encoding="utf-8")
        rows = json.loads(run.file(f"parity/{name}.verbatim.json").read_text())["questions"]
        assert [row["question"] for row in rows] == [q for q, _ in ROWS]
        assert all(row["same"] and row["run"] == row["export"] for row in rows)
    named = (tmp_path / "adapter-adapter").rglob("*")
    assert not any("parity" in p.name for p in named)  # the questions stay at home


def test_an_export_without_the_training_is_not_let_out(
    made: tuple[Path, RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, run = made
    in_mode(run, "free")

    def forgot(source: object, onto: object, say: object) -> object:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(base).float()

    monkeypatch.setattr(merging, "merged", forgot)
    with pytest.raises(GateError, match="answers otherwise than the run"):
        export(run, "gguf", tmp_path / "out", types=("f32",))
    assert list(tmp_path.iterdir()) == []
    # In fp32 most of these texts are the run's own, where nothing was forgotten.
    rows = json.loads(run.file("parity/shop-1-f32.gguf.free.json").read_text())["questions"]
    assert not any(row["same"] for row in rows)


def test_an_engine_that_ends_in_the_exam_is_a_sentence(
    made: tuple[Path, RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = made
    in_mode(run, "verbatim")

    def ends(self: Llama, sequences: object) -> object:
        raise TimeoutError("timed out")

    monkeypatch.setattr(Llama, "states", ends)
    with pytest.raises(GateError, match=r"f16\.gguf could not be examined") as caught:
        export(run, "gguf", tmp_path / "out", types=("f16",))
    assert "--no-check" in caught.value.fix and list(tmp_path.iterdir()) == []


def test_a_lost_fact_is_told_from_a_doubt(made: tuple[Path, RunFolder]) -> None:
    class Says:
        """Gives these replies."""

        mode = "verbatim"

        def __init__(self, *replies: Reply) -> None:
            self.replies = replies

        def answer_all(self, asked: object) -> tuple[Reply, ...]:
            return self.replies

    _, run = made
    parity = Parity(run, mode="verbatim")
    right = tuple(Reply(a, confidence=0.71, source=q) for q, a in ROWS)
    parity.own = right
    away = Reply("請洽客服。", handed_over=True, confidence=0.69, offered=(ROWS[0][0],))
    far = Reply("請洽客服。", handed_over=True, confidence=0.1, offered=(ROWS[1][0],))
    wrong = Reply("Yes, for NT$150.", confidence=0.7, source=ROWS[2][0])
    doubt, dropped, invented = parity.compare(Says(away, far, wrong))  # type: ignore[arg-type]
    assert doubt.near and not doubt.same and not doubt.lost
    assert dropped.lost and not dropped.near  # what the run answers rightly is answered no more
    assert len(invented.lost) == 2  # the right fare is missing, and a wrong one is said
