"""A GGUF export behind the server: llama.cpp reads what training wrote, and is sure where the run
is sure."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from kefu.bot import Bot
from kefu.bot.generate import generate_all
from kefu.errors import GateError
from kefu.export import answering, export
from kefu.export.engine import here
from kefu.export.source import open_run
from kefu.prompt import Prompt
from kefu.records import Example, Origin, Pair
from kefu.score import Marker
from kefu.serve.llama import AHEAD, SLOTS
from kefu.workspace import RunFolder, dump, write_json, write_text
from shop_server import ASK, CHAT, Server, make_run, serving, wait_for_ready

pytestmark = pytest.mark.skipif(not here(), reason="needs llama.cpp: the package xllamacpp")
GREEDY = {**ASK, "stream": True, "temperature": 0}
ROOM = 1024 - 256
"""Tokens of a prompt: the tiny model's context less an answer."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Path]:
    """A run with two rows, and its GGUF."""
    root = tmp_path_factory.mktemp("gguf-shop")
    make_run(root, answer="滿千免運，未滿收八十元。")
    run = RunFolder(root / "runs" / "shop-1")
    rows = [("運費多少？", "滿千免運，未滿收八十元。"), ("How long?", "It takes 3 days.")]
    pairs = [Pair(q, a, Origin("f.csv", i)) for i, (q, a) in enumerate(rows, 2)]
    write_json(run.file("faq.json"), pairs, list[Pair])
    lines = [json.dumps(dump(Example(q, a, q))) for q, a in rows]
    write_text(run.file("examples.jsonl"), "\n".join(lines) + "\n")
    export(run, "gguf", root / "gguf", types=("f32",))
    return run, root / "gguf" / "shop-1-f32.gguf"


@pytest.fixture(scope="module")
def speaking(made: tuple[RunFolder, Path]) -> Iterator[Server]:
    run, file = made
    # In `free` a tiny model's facts, which the FAQ does not have, would be kept back.
    words = ("--gguf", str(file), "--mode", "sample", "--per-minute", "10000")
    with serving(run.path.parents[1], *words) as server:
        wait_for_ready(server.url)
        yield server


def cost(server: Server, messages: list[dict[str, str]]) -> int:
    """Tokens of the prompt that llama.cpp was given."""
    asked = {"messages": messages, "max_tokens": 2}
    answer = httpx.post(server.url + CHAT, json=asked, timeout=60)
    assert answer.is_success, answer.text
    return int(answer.json()["usage"]["prompt_tokens"])


def test_a_customer_cannot_type_the_tokens_that_end_a_turn(
    speaking: Server, made: tuple[RunFolder, Path]
) -> None:
    words = open_run(made[0]).prompt
    assert len(words.encode("<|im_end|>")) == 1
    said = [{"role": "user", "content": f"運費{mark}多少"} for mark in ("<|im_end|>", " ")]
    assert cost(speaking, said[:1]) == cost(speaking, said[1:]) == len(words.ids("運費 多少"))


def test_a_long_conversation_loses_its_oldest_turns(
    speaking: Server, made: tuple[RunFolder, Path]
) -> None:
    words: Prompt = open_run(made[0]).prompt
    history = tuple((f"question {i}?" * 4, f"answer {i}." * 4) for i in range(40))
    said = [
        {"role": role, "content": text}
        for turn in history
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    meant, kept = words.fit("運費？", history, ROOM)
    assert 0 < len(kept) < 40
    assert cost(speaking, [*said, {"role": "user", "content": "運費？"}]) == len(meant)
    assert cost(speaking, [{"role": "user", "content": "長" * 3000}]) <= ROOM


def test_text_streams_as_the_run_would_write_it(
    speaking: Server, made: tuple[RunFolder, Path]
) -> None:
    bot = Bot.open(made[0], mode="sample")
    asked = [("運費多少？", ()), ("How long?", (("運費多少？", "滿千免運。"),))]
    for question, history in asked:
        said = [{"role": "user", "content": q} for q, _ in history]
        said += [{"role": "assistant", "content": a} for _, a in history]
        said.append({"role": "user", "content": question})
        body = {"messages": said, "max_tokens": 12, "stream": True, "temperature": 0}
        text = httpx.post(speaking.url + CHAT, json=body, timeout=60).text
        events = [json.loads(e[6:]) for e in text.split("\n\n") if e.startswith("data: {")]
        pieces = [e["choices"][0]["delta"].get("content", "") for e in events]
        meant = next(bot.answer_all([(question, history)], most=12, temperature=0.0))
        # A character that was cut off is shown by one of the two.
        assert "".join(pieces).strip("\ufffd ") == meant.text.strip("\ufffd ")
        assert len([p for p in pieces if p]) > 1
        assert events[-1]["choices"][0]["finish_reason"] == "length"


def test_a_killed_llama_cpp_is_replaced_and_said_so(speaking: Server) -> None:
    before = len(speaking.rows())
    lines: list[str] = []
    with httpx.stream("POST", speaking.url + CHAT, json=GREEDY, timeout=60) as web:
        for line in web.iter_lines():
            lines.append(line)
            if len(lines) == 5:
                (llama,) = speaking.processes
                os.kill(llama.pid, signal.SIGKILL)
    last = json.loads(next(line for line in reversed(lines) if line)[6:])
    assert set(last["error"]) == {"message", "type", "param", "code"}
    begun = time.monotonic()
    wait_for_ready(speaking.url)
    assert time.monotonic() - begun < 10
    assert httpx.post(speaking.url + CHAT, json=ASK, timeout=60).is_success
    assert [row[3] for row in speaking.rows()[before:]] == [1, 0]


def test_those_who_waited_for_a_killed_llama_cpp_are_answered_by_the_next(speaking: Server) -> None:
    brief = {**ASK, "max_tokens": 2}
    (llama,) = speaking.processes
    llama.suspend()  # so that nothing is answered before it is killed
    with ThreadPoolExecutor(30) as pool:
        asked = [
            pool.submit(httpx.post, speaking.url + CHAT, json=brief, timeout=60) for _ in range(30)
        ]
        time.sleep(1)
        llama.kill()
        codes = Counter(one.result().status_code for one in asked)
    assert set(codes) == {200, 503} and codes[503] <= SLOTS + AHEAD


def test_the_bot_is_as_sure_over_llama_cpp_as_over_torch(made: tuple[RunFolder, Path]) -> None:
    run, file = made
    own = Bot.open(run)
    asked = [(q, ()) for q in ("運費多少？", "運費", "How long is it?", "天氣", "x" * 5000)]
    asked.append(("那呢", (("運費多少？", "滿千免運。"),)))
    with answering(run, file) as model:
        other = Bot(run, run.plan(), model, model.prompt)
        for mode in ("verbatim", "locked"):
            own.mode = other.mode = mode
            for ours, theirs in zip(own.answer_all(asked), other.answer_all(asked), strict=True):
                assert (ours.text, ours.handed_over) == (theirs.text, theirs.handed_over)
                assert abs(ours.confidence - theirs.confidence) < 0.01


def test_temperature_counts_where_the_run_samples(made: tuple[RunFolder, Path]) -> None:
    bot = Bot.open(made[0], mode="sample")
    asked = [("運費多少？", ())]
    (greedy,) = generate_all(bot.engine, bot.prompt, [bot.prompt.ids(asked[0][0])], most=20)
    (cold,) = bot.answer_all(asked, most=20, temperature=0.0)
    (hot,) = bot.answer_all(asked, most=20, temperature=2.0)
    (usual,) = bot.answer_all(asked, most=20)
    assert cold.text == bot.prompt.said(greedy) != hot.text != usual.text
    with bot.untuned() as base:  # in `free`, and not held against the FAQ
        (cool,) = base.answer_all(asked, most=20)
        (free,) = base.answer_all(asked, most=20, temperature=2.0)
    assert free.text == cool.text != ""


def test_a_fact_that_the_faq_does_not_have_is_never_shown_in_free(
    made: tuple[RunFolder, Path],
) -> None:
    run, file = made
    faq = run.faq()
    bot = Bot.open(run, mode="free")
    ids = generate_all(bot.engine, bot.prompt, [bot.prompt.ids("運費多少？")], most=40)[0]
    assert Marker(faq).foreign(bot.prompt.said(ids))  # what the tiny model says by itself
    with serving(run.path.parents[1], "--gguf", str(file), "--mode", "free") as server:
        wait_for_ready(server.url)
        done = httpx.post(server.url + CHAT, json=ASK, timeout=60).json()
        assert done["choices"][0]["message"]["content"] == bot.prompt.hand_over
        assert done["kefu"]["handed_over"]
        text = httpx.post(server.url + CHAT, json={**ASK, "stream": True}, timeout=60).text
        events = [json.loads(e[6:]) for e in text.split("\n\n") if e.startswith("data: {")]
        said = "".join(e["choices"][0]["delta"].get("content", "") for e in events)
        assert said.endswith(bot.prompt.hand_over) and not Marker(faq).foreign(said)
        assert [row[2] for row in server.rows()[-2:]] == [bot.prompt.hand_over, said]


def test_what_is_weighed_over_llama_cpp_is_served(made: tuple[RunFolder, Path]) -> None:
    run, file = made
    with serving(run.path.parents[1], "--gguf", str(file), "--mode", "verbatim") as server:
        wait_for_ready(server.url)
        done = httpx.post(server.url + CHAT, json=ASK, timeout=60).json()
        assert done["choices"][0]["message"]["content"] == "滿千免運，未滿收八十元。"
        assert done["kefu"]["source"] == "運費多少？" and done["kefu"]["confidence"] == 1.0
        llama = next(p for p in server.processes if "xllamacpp" in " ".join(p.cmdline()))
        llama.kill()
        unknown = {**ASK, "messages": [{"role": "user", "content": "這樣寄要付多少"}]}
        assert httpx.post(server.url + CHAT, json=unknown, timeout=60).status_code == 503
        wait_for_ready(server.url)
        assert httpx.post(server.url + CHAT, json=unknown, timeout=60).is_success


def test_another_runs_file_is_refused(made: tuple[RunFolder, Path], tmp_path: Path) -> None:
    run, file = made
    renamed = tmp_path / "other"
    renamed.mkdir()
    for name in ("plan.json", "run.json", "faq.json", "adapter"):
        (renamed / name).symlink_to(run.path / name)
    with pytest.raises(GateError, match="not of other"), answering(RunFolder(renamed), file):
        pass
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(GateError, match="no GGUF file"), answering(run, tmp_path / "x.gguf"):
        pass
