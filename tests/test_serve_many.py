"""Many runs on one base in one server process: each answers under its own name as its own bot
does, in bounded memory, and no run is kept waiting by another that is asked more."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from starlette.testclient import TestClient
from transformers import AutoModelForCausalLM

import export_runs
from kefu.asked import Log
from kefu.bot import Bot, Shelf
from kefu.bot import engine as bot_engine
from kefu.cli import cli
from kefu.errors import RunError
from kefu.records import Example, Origin, Pair, Reply
from kefu.serve import Engine, Keys, Limits, app
from kefu.serve.engine import Down
from kefu.serve.turns import Full, Turns
from kefu.weights import warm
from kefu.workspace import RunFolder, dump, write_json, write_text

SHOPS = ("anna", "ben", "cleo")
QUESTIONS = ("運費多少？", "幾天會到", "How long is delivery?", "可以刷卡嗎？")
CHAT = "/v1/chat/completions"


def shop(root: Path, base: Path, name: str, rank: int, mode: str) -> RunFolder:
    """A finished run with answers, and an adapter, of its own."""
    run = export_runs.run(root / "runs" / name, base, mode=mode)
    pairs = [
        Pair(question, f"{name}：{answer}", Origin("f.csv", 2 + i))
        for i, (question, answer) in enumerate(
            [("運費多少？", "滿千免運。"), ("幾天會到？", "三天。"), ("How long?", "3 days.")]
        )
    ]
    write_json(run.file("faq.json"), pairs, list[Pair])
    rows = [json.dumps(dump(Example(p.question, p.answer, p.question))) for p in pairs]
    rows.append(json.dumps(dump(Example("今天天氣如何", None))))
    write_text(run.file("examples.jsonl"), "\n".join(rows) + "\n")
    write_json(run.file("calibration.json"), {"threshold": 0.0})
    if rank != 4:  # an adapter of another shape
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(base),
            LoraConfig(r=rank, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
        )
        model.save_pretrained(str(run.adapter))
    torch.manual_seed(rank + len(name))
    file = run.adapter / "adapter_model.safetensors"
    save_file({n: 0.3 * torch.randn_like(t) for n, t in load_file(file).items()}, file)
    return run


@dataclass
class Many:
    root: Path
    runs: dict[str, RunFolder]
    own: dict[str, list[Reply]]
    """What each run's own bot replies to QUESTIONS."""
    engine: Engine
    web: TestClient

    def ask(self, model: str, question: str) -> Any:
        messages = [{"role": "user", "content": question}]
        return self.web.post(CHAT, json={"model": model, "messages": messages})

    def loads(self) -> int:
        """How often a run was loaded, by what /metrics says."""
        lines = self.web.get("/metrics").text.splitlines()
        return int(float(next(x for x in lines if x.startswith("kefu_model_loads ")).split()[1]))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Many]:
    root = tmp_path_factory.mktemp("many")
    base = export_runs.base(root / "base", "llama")
    how = {"anna": (4, "sample"), "ben": (4, "verbatim"), "cleo": (8, "sample")}
    runs = {name: shop(root, base, name, *how[name]) for name in SHOPS}
    own = {
        name: list(Bot.open(run).answer_all([(q, ()) for q in QUESTIONS]))
        for name, run in runs.items()
    }
    sizes = {}
    for name, run in runs.items():
        shelf = Shelf({name: run, **{n: r for n, r in runs.items() if n != name}})
        shelf.take(name)
        sizes[name] = shelf.bytes
    bound = sum(sizes.values()) - min(sizes.values())  # two of the three, whichever they are
    engine = Engine(*(run.path for run in runs.values()), bound=bound)
    made = app(engine, Log(root / "log.sqlite"), Limits(), Keys(root / "keys.json"))
    with TestClient(made, base_url="http://127.0.0.1:8000") as web:
        end = time.monotonic() + 120
        while not web.get("/ready").is_success:
            assert time.monotonic() < end and not engine.fault, engine.fault
            time.sleep(0.1)
        yield Many(root, runs, own, engine, web)


def test_each_name_is_answered_as_by_its_own_bot(many: Many) -> None:
    assert [m["id"] for m in many.web.get("/v1/models").json()["data"]] == list(SHOPS)
    told = {name: [r.text for r in replies] for name, replies in many.own.items()}
    assert told["anna"] != told["ben"] != told["cleo"] != told["anna"]
    for number, question in enumerate(QUESTIONS):  # so that the adapter changes at each question
        for name in SHOPS:
            said = many.ask(name, question).json()
            reply = many.own[name][number]
            assert said["model"] == name
            assert said["choices"][0]["message"]["content"] == reply.text
            assert said["kefu"]["confidence"] == pytest.approx(reply.confidence, abs=1e-5)
            assert said["kefu"]["source"] == reply.source


def test_questions_of_all_at_once_are_not_mixed_up(many: Many) -> None:
    found: dict[tuple[str, int], str] = {}

    def ask(name: str, number: int) -> None:
        message = many.ask(name, QUESTIONS[number]).json()["choices"][0]["message"]
        found[name, number] = message["content"]

    threads = [
        threading.Thread(target=ask, args=(name, number))
        for number in range(len(QUESTIONS))
        for name in SHOPS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {
        (n, i): r.text for n, replies in many.own.items() for i, r in enumerate(replies)
    }


def test_what_is_kept_of_rows_is_bounded_for_all_runs_together(many: Many) -> None:
    shelf = Shelf(many.runs)
    kept = {id(shelf.take(name)._torch.prefixes) for name in many.runs}
    assert len(kept) == 1


def test_a_run_that_was_dropped_for_room_comes_back_as_it_was(many: Many) -> None:
    for name in SHOPS:
        many.ask(name, QUESTIONS[0])
    assert many.engine.held.names == ("ben", "cleo")
    assert many.engine.bound and 0 < many.engine.held.bytes <= many.engine.bound
    before = many.loads()
    many.ask("cleo", QUESTIONS[0])  # which is there
    assert many.loads() == before
    said = many.ask("anna", QUESTIONS[1]).json()
    assert said["choices"][0]["message"]["content"] == many.own["anna"][1].text
    assert many.loads() == before + 1 and many.engine.held.names == ("cleo", "anna")


def test_a_stream_is_of_the_run_that_was_named(many: Many) -> None:
    asked = [{"role": "user", "content": "嗨？"}]
    body = {"model": "cleo", "stream": True, "messages": asked, "temperature": 0}
    lines = [x[6:] for x in many.web.post(CHAT, json=body).text.split("\n\n") if x[6:7] == "{"]
    events = [json.loads(line) for line in lines]
    text = "".join(c["delta"].get("content", "") for e in events for c in e["choices"])
    assert {e["model"] for e in events} == {"cleo"}
    # The server ends it at a number of tokens; the bot alone goes on.
    alone = Bot.open(many.runs["cleo"]).stream("嗨？", temperature=0.0)
    assert text.strip() and "".join(alone).startswith(text)


def test_an_unknown_name_is_refused_in_openais_shape_and_none_means_the_first(many: Many) -> None:
    refused = many.ask("gpt-4", QUESTIONS[0])
    assert refused.status_code == 404
    assert refused.json()["error"] == {
        "message": "The model `gpt-4` does not exist.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    assert many.ask("", QUESTIONS[0]).json()["model"] == "anna"  # as the chat page asks


def test_a_log_of_before_is_gone_on_with(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "log.sqlite")
    old.execute(
        "CREATE TABLE asked (id TEXT PRIMARY KEY, at TEXT NOT NULL, question TEXT NOT NULL, answer "
        "TEXT NOT NULL, handed_over INTEGER NOT NULL, confidence REAL NOT NULL, source TEXT, "
        "failed INTEGER NOT NULL, vote TEXT)"
    )
    old.execute("INSERT INTO asked VALUES ('1', '2026-01-01', '問', '答', 1, 0, NULL, 0, NULL)")
    old.commit()
    log = Log(tmp_path / "log.sqlite", days=None)
    log.add("2", "再問", "答", model="ben", handed_over=True)
    assert [one.id for one in log.open()] == ["1", "2"]


def test_the_log_tells_whom_a_question_was_for(many: Many) -> None:
    many.ask("ben", "這題只問 ben")
    rows = Log(many.root / "log.sqlite")._base.execute(
        "SELECT model FROM asked WHERE question = '這題只問 ben'"
    )
    assert rows.fetchall() == [("ben",)]


def test_runs_that_cannot_share_a_process_are_refused_before_it_starts(
    many: Many, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(many.root)
    other = export_runs.base(many.root / "other", "qwen2")
    shop(many.root, other, "dora", 4, "free")
    said = CliRunner().invoke(cli, ["serve", "anna", "dora"])
    assert isinstance(said.exception, RunError)
    assert "anna and dora are on different bases" in str(said.exception)
    said = CliRunner().invoke(cli, ["serve", "--all"])
    assert "on different bases" in str(said.exception)
    said = CliRunner().invoke(cli, ["serve", "anna", "anna"])
    assert "the same name" in str(said.exception)
    many.runs["ben"].file("run.json").rename(many.root / "kept.json")
    try:
        with pytest.raises(RunError, match="ben is not finished"):
            Engine(*(run.path for run in many.runs.values()))
    finally:
        (many.root / "kept.json").rename(many.runs["ben"].file("run.json"))


def test_a_run_that_breaks_while_it_is_served_costs_the_others_nothing(many: Many) -> None:
    many.ask("ben", QUESTIONS[0])
    many.ask("cleo", QUESTIONS[0])  # anna is out
    file = many.runs["anna"].adapter / "adapter_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    try:
        assert many.ask("anna", QUESTIONS[0]).status_code == 503
        said = many.ask("ben", QUESTIONS[0]).json()["choices"][0]["message"]["content"]
        assert said == many.own["ben"][0].text and many.engine.restarts == 0
    finally:
        file.write_bytes(whole)
    said = many.ask("anna", QUESTIONS[0]).json()["choices"][0]["message"]["content"]
    assert said == many.own["anna"][0].text


@pytest.fixture(scope="module")
def large(many: Many, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on the same base that takes seconds to load."""
    run = shop(tmp_path_factory.mktemp("large"), many.root / "base", "dora", 4, "verbatim")
    rows = [json.dumps({"question": f"第 {i} 題？", "answer": None}) for i in range(5000)]
    text = run.file("examples.jsonl").read_text() + "\n".join(rows) + "\n"
    write_text(run.file("examples.jsonl"), text)
    return run


def test_an_engine_that_dies_while_it_loads_a_run_leaves_nobody_waiting(
    many: Many, large: RunFolder
) -> None:
    engine = Engine(many.runs["ben"].path, large.path)
    engine.start()
    try:
        engine.ask(QUESTIONS[0]).result(120)
        away = engine.ask(QUESTIONS[0], model="dora")
        end = time.monotonic() + 30
        while not away.running() and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.3)
        assert engine.pid
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(Down):
            away.result(60)
        assert engine.ask(QUESTIONS[0]).result(120).reply.text == many.own["ben"][0].text
        assert engine.restarts == 1 and engine.waiting == 0
    finally:
        engine.close()


def test_while_a_run_is_loaded_the_others_answer(many: Many, large: RunFolder) -> None:
    engine = Engine(many.runs["ben"].path, large.path)
    engine.start()
    try:
        engine.ask(QUESTIONS[0]).result(120)  # ben is there
        waits, away = [], engine.ask(QUESTIONS[0], model="dora")
        begun = time.monotonic()
        while not away.done() and time.monotonic() < begun + 120:
            at = time.monotonic()
            told = engine.ask(QUESTIONS[0], model="ben").result(120)
            assert told.reply.text == many.own["ben"][0].text  # by its own adapter, all the while
            waits.append(time.monotonic() - at)
        took = time.monotonic() - begun
        assert away.result().reply.text == "dora：滿千免運。"
        assert set(engine.held.names) == {"ben", "dora"}
        assert len(waits) > 5 and max(waits) < took / 2
    finally:
        engine.close()


def test_states_are_made_once_and_only_for_the_adapter_that_they_are_of(
    many: Many, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    real = bot_engine.last_states
    monkeypatch.setattr(
        bot_engine, "last_states", lambda m, s, d: passes.append(len(s)) or real(m, s, d)
    )

    def states() -> tuple[torch.Tensor, bool]:
        """The states of ben's wordings, and whether the model was asked for several at a time."""
        passes.clear()
        bot = Shelf({"ben": many.runs["ben"]}, states=tmp_path).take("ben")
        assert bot._weigher is not None
        return bot._weigher.memory.states, max(passes, default=0) > 1

    first, made = states()
    again, anew = states()
    assert made and not anew and torch.equal(first, again)
    kept = list(tmp_path.glob("*.safetensors"))
    assert len(kept) == 2, "the wordings' and the answers'"
    for file in kept:
        file.write_bytes(b"torn")
    assert states()[1]
    weights = many.runs["ben"].adapter / "adapter_model.safetensors"
    whole = weights.read_bytes()
    save_file({n: 2 * t for n, t in load_file(weights).items()}, weights)
    try:
        other, anew = states()
        assert anew and not torch.allclose(first, other)
    finally:
        weights.write_bytes(whole)
    states()  # the file is another one since
    assert not states()[1]
    monkeypatch.setattr(warm, "finder_digest", lambda name: "of another finder")
    assert states()[1], "an update that brings another finder"


def test_a_question_whose_turn_never_comes_is_told_to_come_later(
    many: Many, tmp_path: Path
) -> None:
    idle = Engine(many.runs["ben"].path)  # never started: nothing is answered
    made = app(idle, Log(tmp_path / "log.sqlite"), Limits(answer=0.3), Keys(tmp_path / "keys.json"))
    body = {"messages": [{"role": "user", "content": QUESTIONS[0]}]}
    for stream in (False, True):
        said = TestClient(made, base_url="http://127.0.0.1:8000").post(
            CHAT, json={**body, "stream": stream}
        )
        assert said.status_code == 429 and int(said.headers["retry-after"]) > 0
        assert said.json()["error"]["type"] == "rate_limit_error"
    assert "failed" not in TestClient(made, base_url="http://127.0.0.1:8000").get("/metrics").text


def test_turns_go_round_so_that_a_busy_line_keeps_no_other_waiting() -> None:
    turns: Turns[int] = Turns(5)
    for number in range(5):
        turns.put("busy", number)
    turns.put("quiet", 9)
    with pytest.raises(Full):
        turns.put("busy", 5)
    taken = [turns.take(2) for _ in range(4)]
    assert taken == [("busy", [0, 1]), ("quiet", [9]), ("busy", [2, 3]), ("busy", [4])]
    assert turns.take(2) == ("", []) and len(turns) == 0
