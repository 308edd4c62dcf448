"""The cross-encoder: questions read after rows, and told apart by what the row's answer says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import export_runs as tiny
from kefu.bot.cross_encoder import LONGEST, CrossEncoder, closing, opening
from kefu.bot.engine import Engine
from kefu.bot.prefixes import Prefixes
from kefu.bot.weighing import Told, Weigher
from kefu.records import Origin, Pair
from kefu.weights import last_states, warm

OPENINGS = [[3, 14, 15, 92, 65], [35, 8, 97, 93, 23, 84, 62, 64], [3, 14, 15, 92, 65]]
CLOSINGS = [[9, 32, 38], [46, 26], [43, 38, 32, 79, 50]]
WHOLE = [[*first, *last] for first, last in zip(OPENINGS, CLOSINGS, strict=True)]


@pytest.fixture(scope="module", params=["llama", "gemma3_text"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoModelForCausalLM

    folder = tiny.base(tmp_path_factory.mktemp(request.param) / "base", request.param)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def test_a_beginning_that_was_kept_gives_the_states_of_the_whole(model: Any) -> None:
    kept = Prefixes()
    due = last_states(model, WHOLE, "cpu")
    for _ in range(2):  # read, and then out of what is kept
        found = kept.states(model, OPENINGS, CLOSINGS, "cpu")
        assert torch.nn.functional.cosine_similarity(found, due).min() > 0.99999
        assert found.dtype == torch.float32 and found.shape == due.shape


def test_what_follows_a_prompt_gives_the_states_of_the_whole(model: Any) -> None:
    engine, prompt = Engine(model, "cpu"), OPENINGS[1]
    due = last_states(model, [prompt, *([*prompt, *path] for path in CLOSINGS)], "cpu")
    read: list[int] = []
    watched = model.get_decoder().register_forward_pre_hook(
        lambda _, __, said: read.append(said["input_ids"].numel()), with_kwargs=True
    )
    found = [engine.hidden([prompt]), *(engine.after([prompt], [path]) for path in CLOSINGS)]
    assert torch.nn.functional.cosine_similarity(torch.cat(found), due).min() > 0.99999
    watched.remove()
    assert read == [len(prompt), *map(len, CLOSINGS)], "the prompt is read once"
    engine.hidden([CLOSINGS[0]])  # another question came in between
    again = engine.after([prompt], [CLOSINGS[1]])
    assert torch.nn.functional.cosine_similarity(again, due[2:3]).min() > 0.99999
    both = engine.after([prompt, prompt], CLOSINGS[:2])
    assert torch.nn.functional.cosine_similarity(both, due[1:3]).min() > 0.99999


def test_a_beginning_is_read_once_and_what_is_kept_is_bounded(model: Any) -> None:
    seen: list[int] = []

    def decoder() -> Any:
        def read(**said: Any) -> Any:
            seen.append(said["input_ids"].numel())
            return model.get_decoder()(**said)

        return read

    watched = SimpleNamespace(get_decoder=decoder, parameters=model.parameters)
    kept = Prefixes()
    kept.states(watched, OPENINGS, CLOSINGS, "cpu")
    assert seen == [16, 15]  # two different beginnings of up to eight, three endings of up to five
    kept.states(watched, OPENINGS, CLOSINGS, "cpu")
    assert seen[2:] == [15]
    small = Prefixes(room=kept.bytes - 1)
    found = small.states(model, OPENINGS, CLOSINGS, "cpu")
    assert small.bytes < kept.bytes
    assert torch.equal(found, kept.states(model, OPENINGS, CLOSINGS, "cpu"))


class Flat:
    """A model that notes which row was read with which question; its states say nothing."""

    device, context = "cpu", 512

    def crossed(self, openings: Any, closings: Any) -> torch.Tensor:
        self.asked = list(zip(openings, closings, strict=True))
        return torch.stack([torch.tensor([float(len(o)), float(len(c))]) for o, c in self.asked])


def test_a_follow_up_is_read_with_the_question_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "direction", lambda name: torch.tensor([1.0, 0.0]))
    words = tiny.tokenizer(chat=False)
    words.bos_token_id = words.eos_token_id
    rows = [Pair(f"問{n}", "答" * (n + 1), Origin("f.csv", n)) for n in range(3)]
    flat: Any = Flat()
    told = CrossEncoder(words, "any", rows, flat).read(
        [("那離島呢", (("運費多少？", "八十元。"),), [2, 0]), ("可以退嗎", (), [1])]
    )
    assert [len(numbers) for numbers in told] == [2, 1]
    assert [closing for _, closing in flat.asked] == [
        closing(words, "剛才問「運費多少？」，現在想問：那離島呢"),
        closing(words, "剛才問「運費多少？」，現在想問：那離島呢"),
        closing(words, "可以退嗎"),
    ]
    assert [first for first, _ in flat.asked] == [
        opening(words, (rows[n].question,), rows[n].answer) for n in (2, 0, 1)
    ]
    assert len(opening(words, ("問",), "很長" * 500)) == LONGEST


def test_who_reads_the_answers_decides_which_is_meant_and_not_alone_how_sure_that_is() -> None:
    parts: tuple[Any, ...] = (None,) * 6
    cross: Any = Flat()
    without, read = Weigher(*parts, [0, 1], 2), Weigher(*parts, [0, 1], 2, cross)
    shares = torch.tensor([0.88, 0.1, 0.02]).log()  # of two answers and the hand-over
    even = torch.zeros(3)
    evidence = torch.stack([even, shares, even, even, torch.tensor([-1.0, 1.0, 0.0])])
    first = without.weighed(Told(evidence[:-1], even, 0))
    second = read.weighed(Told(evidence, even, 0))
    assert (first.best, second.best) == (0, 1)
    assert second.likely == (1, 0)
    assert second.share < 0.5  # all others speak for the first


def test_how_a_question_is_marked_changes_nothing_of_how_it_is_read() -> None:
    words = tiny.tokenizer(chat=False)
    plain = closing(words, "有貨嗎，可以退嗎")
    for other in (
        "有貨嗎，可以退嗎？",
        "有貨嗎,可以退嗎?",
        "有貨嗎，可以退嗎。。。",
        "有貨嗎，可以退嗎?!",
    ):
        assert closing(words, other) == plain, other
    assert closing(words, "一箱 1,500 元，10:30 到?") != closing(words, "一箱 1，500 元，10：30 到")
    assert closing(words, "？") != closing(words, "")


TOLD = (
    (
        "團體報名有折扣嗎？", "五人以上同行每人折 200 元，十人以上另送教練一堂課，需同一天繳費。",
        ("我們六個同事一起來，會算便宜一點嗎", "要不要同一天付錢"),
        ("中途有人退出，折扣要補回來嗎", "教練課可以轉給朋友上嗎"),
    ),
    (
        "蛋糕要提前多久訂？", "六吋請於三天前預訂，八吋以上請於五天前，並先付一半訂金。",
        ("後天要的六吋現在訂來得及嗎", "訂的時候要先付多少"),
        ("可以送到公司嗎", "蛋糕上的字可以自己寫嗎"),
    ),
    (
        "洗衣機怎麼預約清洗？", "請於網站選日期，師傅到府清洗一台 1,800 元，約需兩小時。",
        ("洗一台要花多少錢", "會弄多久"),
        ("洗完還是有味道可以再來一次嗎", "順便可以洗冷氣嗎"),
    ),
)  # fmt: skip
"""A row, what its answer covers, and what it does not; none of it stands in the corpus."""


@pytest.mark.slow
def test_the_adapter_that_kefu_brings_tells_what_an_answer_covers(tmp_path: Path) -> None:
    from kefu.bot.beside import Beside

    base = Beside("gemma-3-270m", "cpu")
    rows = [Pair(asked, told, Origin("f.csv", n)) for n, (asked, told, _, _) in enumerate(TOLD)]
    reader = CrossEncoder(base.tokenizer, "gemma-3-270m", rows, base)
    asked = [
        (question, (), [number])
        for number, (_, _, good, bad) in enumerate(TOLD)
        for question in (*good, *bad)
    ]
    told = torch.cat(reader.read(asked)).view(len(TOLD), 4)
    covered, beside = told[:, :2], told[:, 2:]
    wins = (covered.unsqueeze(2) > beside.unsqueeze(1)).sum()
    assert wins >= 10, told  # of 12
