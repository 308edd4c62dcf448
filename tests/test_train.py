"""Training on tiny real models: two engines, one mathematics; stops, resumes, what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from kefu.errors import BaseError, FaqError, RunError
from kefu.prompt import Prompt, Row
from kefu.records import Choice, Example, Plan, Step
from kefu.train import Interrupted, train
from kefu.workspace import RunFolder

KINDS = ("llama", "qwen2", "qwen3", "gemma3_text")
EXACT: dict[str, Any] = {"contrast": 0.0, "softmax": "all", "dropout": 0.0}
"""What both engines can do."""
Base = Callable[..., Path]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    made: dict[tuple[str, str], Path] = {}

    def get(kind: str = "llama", chat: str = "") -> Path:
        if (kind, chat) not in made:
            made[kind, chat] = tiny.base(tmp_path_factory.mktemp("base"), kind, chat)
        return made[kind, chat]

    return get


def trained(
    folder: Path,
    plan: Plan,
    examples: Sequence[Example] = tiny.EXAMPLES,
    on_step: Callable[[Step], None] = lambda step: None,
) -> RunFolder:
    found = tiny.run_folder(folder, examples)
    train(plan, examples, found, on_step=on_step)
    return found


def stop_at(number: int) -> Callable[[Step], None]:
    def on_step(step: Step) -> None:
        if step.step == number:
            raise KeyboardInterrupt

    return on_step


def close(one: dict[str, Any], other: dict[str, Any], by: float) -> bool:
    import torch

    return one.keys() == other.keys() and all(
        torch.allclose(one[k].float(), other[k].float(), rtol=0, atol=by) for k in one
    )


def rows_of(base: Path) -> list[Row]:
    made = Prompt(tiny.tokenizer(), "plain", hand_over=tiny.HAND_OVER)
    return [made.row(e) for e in tiny.EXAMPLES]


def model_of(base: Path) -> Any:
    """The base with a LoRA whose matrices are all alive."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    inner = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(3)
    found = get_peft_model(inner, LoraConfig(r=4, target_modules="all-linear", bias="none"))
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    return found.train()


# --- the same mathematics -------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_both_engines_take_the_same_ten_steps(base: Base, tmp_path: Path, kind: str) -> None:
    plan = tiny.plan(base(kind), steps=10, micro_batch=2, accumulation=2, rank=4, **EXACT)
    lean = trained(tmp_path / "lean", plan)
    trl = trained(tmp_path / "trl", replace(plan, engine=Choice("trl", "The test's.")))
    one, other = list(lean.steps()), list(trl.steps())
    assert [s.step for s in one] == [s.step for s in other] == list(range(1, 11))
    assert [s.loss for s in one] == pytest.approx([s.loss for s in other], abs=1e-4)
    assert [s.grad_norm for s in one] == pytest.approx([s.grad_norm for s in other], rel=1e-3)
    assert [s.learning_rate for s in one] == pytest.approx([s.learning_rate for s in other])
    assert close(tiny.weights(lean), tiny.weights(trl), 2e-4)
    start = trained(tmp_path / "start", replace(plan, steps=Choice(1, "The test's.")))
    assert not close(tiny.weights(start), tiny.weights(lean), 2e-3)  # the likeness means something


@pytest.mark.parametrize("kind", KINDS)
def test_the_packed_gradient_is_that_of_each_row_alone_in_transformers(
    base: Base, kind: str
) -> None:
    import torch

    from kefu.train.lean import summed_loss

    model, rows = model_of(base(kind)), rows_of(base(kind))
    loss, _ = summed_loss(model, rows, "cpu")
    loss.backward()
    lean = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad(set_to_none=True)
    total = 0.0
    for row in rows:
        out = model(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels]))
        alone = out.loss * row.labelled
        alone.backward()
        total += float(alone.detach())
    assert float(loss) == pytest.approx(total, rel=1e-5)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(lean[name], parameter.grad, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_s_loss_does_not_change_with_its_neighbours(base: Base, kind: str) -> None:
    from kefu.train.lean import summed_loss

    model, rows = model_of(base(kind)), rows_of(base(kind))
    alone = [float(summed_loss(model, [row], "cpu")[0]) for row in rows]
    for order in (rows, rows[::-1], rows * 2):
        together = float(summed_loss(model, order, "cpu")[0])
        assert together == pytest.approx(sum(alone) * len(order) / len(rows), rel=1e-5)


def test_the_likely_part_of_the_vocabulary_gives_nearly_the_whole_loss(base: Base) -> None:
    import torch

    from kefu.train.lean import summed_loss
    from kefu.train.loss import Likely

    model, rows = model_of(base()), rows_of(base())
    weight = model.get_base_model().get_output_embeddings().weight
    labels = {label for row in rows for label in row.labels if label >= 0}
    with torch.no_grad():
        whole = float(summed_loss(model, rows, "cpu")[0])
        everything = Likely(weight, range(weight.shape[0]), torch.zeros(1, weight.shape[1]))
        assert float(summed_loss(model, rows, "cpu", everything)[0]) == pytest.approx(whole)
        part = Likely(weight, labels, torch.zeros(1, weight.shape[1]))
        assert float(summed_loss(model, rows, "cpu", part)[0]) < whole


def test_contrast_draws_the_wordings_of_one_answer_together() -> None:
    import torch

    from kefu.train.contrast import Bank

    owners = [0, 0, 1, 1, -1]
    apart = torch.eye(5, 8)
    drawn = torch.stack([apart[0], apart[0], apart[2], apart[2], apart[4]]) + 0.01 * apart
    at, rows = range(5), torch.arange(5)
    assert Bank(drawn, at, owners).loss(drawn, rows) < Bank(apart, at, owners).loss(apart, rows)
    alone = Bank(apart, at, [0, 1, 2, -1, -1])
    assert float(alone.loss(apart, rows)) == 0.0  # nothing to draw together


def test_a_row_is_compared_with_those_that_were_read_before_it() -> None:
    import torch

    from kefu.train.contrast import TEMPERATURE, Bank

    torch.manual_seed(0)
    states, owners = torch.randn(6, 8), [0, 0, 1, 1, 2, -1]
    bank = Bank(states[[0, 2]], [0, 2], owners)
    first, third = torch.tensor([1]), torch.tensor([3])
    apart = states[[1, 0, 2]] - states[[0, 2]].mean(0)  # the first row and all that was read
    mine, *read = torch.nn.functional.normalize(apart, dim=-1).split([1, 2])
    near = mine @ read[0].T / TEMPERATURE
    due = float(torch.logsumexp(near, 1) - near[0, 0])
    assert float(bank.loss(states[first], first)) == pytest.approx(due, abs=1e-5)
    assert bank.nearest(states).lt(2).all()
    bank.loss(states[third], third)
    bank.remember()
    assert bank.nearest(states[third]).tolist() == [1]
    assert float(bank.loss(states[[4]], torch.tensor([4]))) == 0.0  # its answer has no other row


# --- what is trained ------------------------------------------------------------


FORMS = (
    ("plain", "", ""),
    ("instruction", "", ""),
    ("chat", tiny.CHATML, ""),
    ("chat", tiny.THINKING, "您是鞋店的客服。"),
)


@pytest.mark.parametrize(
    ("template", "chat", "persona"), FORMS, ids=["plain", "instruction", "chat", "persona"]
)
def test_the_bot_reads_the_very_tokens_that_training_saw(
    base: Base,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    template: str,
    chat: str,
    persona: str,
) -> None:
    from kefu.bot import Bot, bot
    from kefu.train import lean

    seen: list[Row] = []
    inner = lean.run

    def look(session: Any, resume: bool) -> None:
        seen.extend(session.rows)
        inner(session, resume)

    monkeypatch.setattr(lean, "run", look)
    plan = tiny.plan(base("llama", chat), {"persona": persona}, steps=1, template=template)
    folder = trained(tmp_path / "run", plan)
    read: list[list[int]] = []

    def answers(engine: Any, prompt: Any, prompts: Any, **_: Any) -> list[list[int]]:
        read.extend(list(p) for p in prompts)
        return [[prompt.terminator] for _ in prompts]

    monkeypatch.setattr(bot, "generate_all", answers)
    made = Bot.open(folder, mode="free")
    for example in tiny.EXAMPLES:
        made.answer(example.question, example.history)
    assert read == [list(row.ids[: len(row.ids) - row.labelled]) for row in seen]
    assert all(row.ids[-1] == row.labels[-1] == made.prompt.terminator for row in seen)


def test_a_row_that_is_too_long_is_refused_before_a_step(base: Base, tmp_path: Path) -> None:
    long = Example("請說明全部規定", "第一條。" * 80, "請說明全部規定")
    folder = tiny.run_folder(tmp_path / "run")
    with pytest.raises(FaqError, match=r"請說明全部規定.*plan allows 256"):
        train(tiny.plan(base(), steps=2), [*tiny.EXAMPLES, long], folder)
    assert not folder.steps_file.exists()
    assert not folder.finished


def test_a_row_of_just_the_length_allowed_is_trained_whole(base: Base, tmp_path: Path) -> None:
    most = max(len(row.ids) for row in rows_of(base()))
    trained(tmp_path / "fits", tiny.plan(base(), steps=1, max_length=most))
    with pytest.raises(FaqError):
        trained(tmp_path / "over", tiny.plan(base(), steps=1, max_length=most - 1))


@pytest.mark.parametrize("engine", ["lean", "trl"])
def test_the_adapter_moves_and_the_base_does_not(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    from kefu.train import lean, trl_engine

    where = lean if engine == "lean" else trl_engine
    inner = where.run
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}

    def look(session: Any, resume: bool) -> None:
        before.update({n: p.detach().clone() for n, p in session.model.named_parameters()})
        inner(session, resume)
        after.update(session.model.named_parameters())

    monkeypatch.setattr(where, "run", look)
    trained(tmp_path / "run", tiny.plan(base(), steps=3, engine=engine, **EXACT))
    moved = {n for n in before if not before[n].equal(after[n].detach())}
    lora = {n for n in before if "lora_" in n}
    assert moved == lora
    assert len(lora) == 2 * 2 * 7  # two matrices on seven linear layers of two blocks


def test_two_runs_of_one_plan_give_the_same_bytes(base: Base, tmp_path: Path) -> None:
    plan = tiny.plan(base(), steps=4, micro_batch=2, accumulation=2)
    assert plan.contrast.value  # as people train
    a, b = trained(tmp_path / "a", plan), trained(tmp_path / "b", plan)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tiny\n"
        "from pathlib import Path\nfrom kefu.records import Plan\nfrom kefu.train import train\n"
        "from kefu.workspace import read_json\n"
        "train(read_json(Path(sys.argv[2]), Plan), tiny.EXAMPLES, "
        "tiny.run_folder(Path(sys.argv[3])))\n"
    )
    here, there = str(Path(__file__).parent), str(tmp_path / "c")
    subprocess.run(
        [sys.executable, "-c", code, here, str(a.file("plan.json")), there],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        check=True,
    )
    for other in (b, RunFolder(Path(there))):
        names = sorted(p.name for p in a.adapter.iterdir())
        assert names == sorted(p.name for p in other.adapter.iterdir())
        for name in names:
            assert (a.adapter / name).read_bytes() == (other.adapter / name).read_bytes(), name
    c = trained(tmp_path / "d", replace(plan, seed=Choice(43, "Another.")))
    assert not close(tiny.weights(a), tiny.weights(c), 1e-6)


# --- stopping and going on ------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [{}, {"dropout": 0.1, "contrast": 0.0}, {"softmax": "likely"}, {"engine": "trl", **EXACT}],
    ids=["default", "dropout", "likely", "trl"],
)
def test_a_stopped_run_goes_on_to_the_adapter_of_one_that_was_not_stopped(
    base: Base, tmp_path: Path, changed: dict[str, Any]
) -> None:
    plan = tiny.plan(
        base(), steps=9, save_every=3, micro_batch=2, accumulation=2, rank=4, **changed
    )
    whole = trained(tmp_path / "whole", plan)
    with pytest.raises(Interrupted, match=r"after step 6.*--resume parts"):
        trained(tmp_path / "parts", plan, on_step=stop_at(7))
    folder = RunFolder(tmp_path / "parts")
    assert not folder.finished
    run = train(plan, tiny.EXAMPLES, folder, resume=True)
    assert run.steps == 9
    assert close(tiny.weights(whole), tiny.weights(folder), 1e-6)
    assert [s.step for s in folder.steps()] == list(range(1, 10))
    assert [s.loss for s in folder.steps()] == pytest.approx([s.loss for s in whole.steps()])


@pytest.mark.parametrize("engine", ["lean", "trl"])
def test_a_torn_checkpoint_is_passed_over(base: Base, tmp_path: Path, engine: str) -> None:
    plan = tiny.plan(base(), steps=8, save_every=3, engine=engine, **EXACT)
    whole = trained(tmp_path / "whole", plan)
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", plan, on_step=stop_at(7))
    folder = RunFolder(tmp_path / "run")
    newest = folder.checkpoints / "checkpoint-6"
    if engine == "lean":
        data = (newest / "state.pt").read_bytes()
        (newest / "state.pt").write_bytes(data[: len(data) // 2])
    else:  # the trainer was stopped while it wrote
        (newest / "trainer_state.json").unlink()
    (folder.checkpoints / "checkpoint-7").mkdir()
    told: list[int] = []
    train(plan, tiny.EXAMPLES, folder, resume=True, on_step=lambda s: told.append(s.step))
    assert told == [4, 5, 6, 7, 8]
    assert close(tiny.weights(whole), tiny.weights(folder), 1e-6)
    assert [s.step for s in folder.steps()] == list(range(1, 9))


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_anew(
    base: Base, tmp_path: Path
) -> None:
    plan = tiny.plan(base(), steps=4, save_every=3)
    with pytest.raises(Interrupted, match="before its first checkpoint"):
        trained(tmp_path / "run", plan, on_step=stop_at(2))
    folder = RunFolder(tmp_path / "run")
    train(plan, tiny.EXAMPLES, folder, resume=True)
    assert [s.step for s in folder.steps()] == [1, 2, 3, 4]


def test_only_as_many_checkpoints_are_kept_as_the_plan_says(base: Base, tmp_path: Path) -> None:
    plan = tiny.plan(base(), steps=9, save_every=2, keep=2)
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", plan, on_step=stop_at(9))
    names = {p.name for p in (tmp_path / "run" / "checkpoints").iterdir()}
    assert names == {"checkpoint-6", "checkpoint-8"}


def test_a_second_training_into_the_same_folder_is_refused(base: Base, tmp_path: Path) -> None:
    plan = tiny.plan(base(), steps=2)
    refused: list[RunError] = []

    def again(step: Step) -> None:
        with pytest.raises(RunError, match="being trained by another process") as caught:
            train(plan, tiny.EXAMPLES, RunFolder(tmp_path / "run"))
        refused.append(caught.value)

    folder = trained(tmp_path / "run", plan, on_step=again)
    assert len(refused) == 2
    assert [s.step for s in folder.steps()] == [1, 2]  # the first was not disturbed
    with pytest.raises(RunError, match="finished already"):
        train(plan, tiny.EXAMPLES, folder)


# --- what it leaves -------------------------------------------------------------


def test_the_run_folder_says_all_that_is_needed_to_repeat_it(base: Base, tmp_path: Path) -> None:
    plan = tiny.plan(base(), steps=4, save_every=2)
    steps: list[Step] = []
    heard: list[tuple[int, int]] = []
    folder = tiny.run_folder(tmp_path / "run")
    run = train(
        plan, tiny.EXAMPLES, folder, on_step=steps.append, on_start=lambda *n: heard.append(n)
    )
    assert {p.name for p in folder.path.iterdir() if not p.name.startswith(".")} == {
        "plan.json", "split.json", "faq.json", "examples.jsonl", "steps.jsonl", "adapter",
        "loss.svg", "versions.json", "run.json",
    }  # fmt: skip
    assert folder.plan() == plan
    assert folder.run() == run
    assert [s["step"] for s in tiny.lines(folder.steps_file)] == [1, 2, 3, 4]
    assert list(folder.steps()) == steps
    assert all(s.of == 4 and s.memory > 2**20 and s.grad_norm > 0 for s in steps)
    assert run.first_loss == steps[0].loss and run.last_loss == steps[-1].loss
    assert heard == [(plan.trainable.value, plan.total.value)]
    assert "<svg" in folder.file("loss.svg").read_text() and "polyline" in (
        folder.file("loss.svg").read_text()
    )
    versions = json.loads(folder.file("versions.json").read_text())
    assert {"python", "torch", "transformers", "peft", "trl", "faq_digest"} <= set(versions)
    assert len(tiny.lines(folder.file("examples.jsonl"))) == len(tiny.EXAMPLES)
    assert folder.finished


def test_the_plan_s_count_of_parameters_is_exact(base: Base, tmp_path: Path) -> None:
    plan = tiny.plan(base("gemma3_text"), steps=1)
    folder = trained(tmp_path / "run", plan)
    assert folder.run().trainable == plan.trainable.value
    assert sum(t.numel() for t in tiny.weights(folder).values()) == plan.trainable.value


PLAIN_PEFT = """
import sys, torch
from peft import AutoPeftModelForCausalLM
model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
ids = torch.tensor([[int(i) for i in sys.argv[2].split(",")]])
with torch.no_grad():
    torch.save(model(ids).logits[0], sys.argv[3])
assert not any(name.split(".")[0] == "kefu" for name in sys.modules)
"""


def test_the_adapter_opens_in_plain_peft_with_equal_logits(base: Base, tmp_path: Path) -> None:
    import torch

    from kefu.bot import Bot

    folder = trained(tmp_path / "run", tiny.plan(base("qwen3"), steps=6, learning_rate=0.05))
    bot = Bot.open(folder)
    ids = bot.prompt.ids("幾點開門")
    out = tmp_path / "logits.pt"
    said = ",".join(map(str, ids))
    subprocess.run(
        [sys.executable, "-c", PLAIN_PEFT, str(folder.adapter), said, str(out)],
        check=True,
        cwd=tmp_path,
    )
    with torch.no_grad():
        ours = bot.engine.model(torch.tensor([ids])).logits[0]
        untuned = model_logits(base("qwen3"), ids)
    assert torch.allclose(torch.load(out), ours, atol=1e-5)
    assert not torch.allclose(untuned, ours, atol=1e-2)  # the adapter is on it


def model_logits(base: Path, ids: list[int]) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    inner = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    return inner(torch.tensor([ids])).logits[0]


# --- the tutorial ---------------------------------------------------------------


def test_the_tutorial_runs_in_four_bits_on_a_processor(tmp_path: Path) -> None:
    import bitsandbytes

    from kefu.bot import Bot
    from kefu.weights import load

    # On processors with bf16 instructions bitsandbytes takes whole blocks of 64 weights only.
    found = tiny.base(tmp_path / "base", "qwen2", hidden_size=64, head_dim=16)
    plan = tiny.plan(found, {"recipe": "tutorial"})
    assert (plan.precision.value, plan.engine.value) == ("nf4", "trl")
    loaded = load(plan.base.value, precision="nf4", compute="fp32")
    inner = loaded.model.get_decoder().layers[0].self_attn.q_proj
    assert isinstance(inner, bitsandbytes.nn.Linear4bit)
    folder = trained(tmp_path / "run", plan)
    config = json.loads((folder.adapter / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (16, 32, 0.05)
    assert set(config["target_modules"]) == {"q_proj", "k_proj", "v_proj", "o_proj"}
    b = [t for n, t in tiny.weights(folder).items() if "lora_B" in n]
    assert len(b) == 8 and all(float(t.abs().max()) > 0 for t in b)
    assert [s.step for s in folder.steps()] == list(range(1, plan.steps.value + 1))
    assert folder.run().steps == plan.steps.value == 3 * -(-len(tiny.EXAMPLES) // 4)
    reply = Bot.open(folder).answer("幾點開門")
    assert reply.tokens <= 256
    assert "回應" not in reply.text  # only what follows the mark


def test_fewer_steps_than_the_tutorial_s_are_taken_when_asked(base: Base, tmp_path: Path) -> None:
    plan = tiny.plan(base(), {"recipe": "tutorial", "precision": "fp32"}, steps=4)
    folder = trained(tmp_path / "run", plan)
    assert [s.step for s in folder.steps()] == [1, 2, 3, 4]


# --- what does not work ---------------------------------------------------------


def test_a_base_that_is_gone_leaves_no_adapter(base: Base, tmp_path: Path) -> None:
    gone = replace(tiny.plan(base(), steps=1), base=Choice(str(tmp_path / "gone"), "Gone."))
    folder = tiny.run_folder(tmp_path / "run")
    with pytest.raises(BaseError, match="gone"):
        train(gone, tiny.EXAMPLES, folder)
    assert not folder.finished


def test_no_rows_are_nothing_to_train(base: Base, tmp_path: Path) -> None:
    with pytest.raises(FaqError, match="nothing to train"):
        trained(tmp_path / "run", tiny.plan(base(), steps=1), [])
