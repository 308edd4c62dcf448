"""The one look at the untrained model gives what two looks would, row by row in transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import tiny
from kefu.prompt import Prompt, Row
from kefu.records import Choice

pytestmark = pytest.mark.slow
BEST = 3
"""Likely tokens of a place, where the whole vocabulary has a few hundred."""


@pytest.fixture(scope="module", params=["llama", "gemma3_text"])
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """As `look` needs it, with a LoRA whose matrices are all alive."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tiny.base(tmp_path_factory.mktemp("base"), request.param)
    inner = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = get_peft_model(inner, LoraConfig(r=4, target_modules="all-linear", bias="none"))
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    model.requires_grad_(False)
    prompt = Prompt(tiny.tokenizer(), "plain", hand_over=tiny.HAND_OVER)
    examples = [*tiny.EXAMPLES, *(replace(e, brief=True) for e in tiny.EXAMPLES[:9])]
    return SimpleNamespace(
        plan=tiny.plan(folder, softmax="likely", contrast=0.5, precision="fp32", dropout=0.0),
        rows=[prompt.row(example) for example in examples],
        owners=list(range(len(examples))),
        model=model,
        device="cpu",
        split=False,
    )


def states_of(model: Any, row: Row) -> Any:
    import torch

    with torch.no_grad():
        ids = torch.tensor([row.ids])
        return model.get_base_model().get_decoder()(input_ids=ids).last_hidden_state[0]


def likely_of(session: Any, rows: Sequence[Row]) -> set[int]:
    import torch

    head = session.model.get_base_model().get_output_embeddings().weight
    found = {label for row in session.rows for label in row.labels if label >= 0}
    before = [states_of(session.model, row)[-row.labelled - 1 : -1] for row in rows]
    every_other = torch.cat(before)[::2]
    return found | set((every_other @ head.T).topk(BEST).indices.flatten().tolist())


def test_the_look_is_that_of_every_row_alone(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from kefu.train.contrast import Bank
    from kefu.train.loss import Likely
    from kefu.train.untrained import look

    monkeypatch.setattr(Likely, "BEST", BEST)
    likely, bank = look(session)
    assert likely is not None and bank is not None
    numbered = reversed(list(enumerate(session.rows)))
    first = {row.labels[-row.labelled :]: n for n, row in numbered}
    at = sorted({0, 1, *first.values()})
    assert len(at) < len(session.rows)  # the others are left to the steps that read them
    begins = [states_of(session.model, session.rows[n])[-session.rows[n].labelled - 1] for n in at]
    due = Bank(torch.stack(begins), at, session.owners)
    assert torch.allclose(bank.states, due.states, atol=1e-5)
    assert set(likely.tokens.tolist()) == likely_of(
        session, [session.rows[n] for n in sorted(first.values())]
    )
    assert len(likely.tokens) < session.model.config.vocab_size / 2  # the likeness means something


def test_only_what_the_plan_asks_for_is_looked_at(session: Any) -> None:
    from kefu.train.untrained import look

    def planned(**changed: Any) -> Any:
        choices = {name: Choice(value, "The test's.") for name, value in changed.items()}
        return SimpleNamespace(**{**vars(session), "plan": replace(session.plan, **choices)})

    likely, bank = look(planned(softmax="all"))
    assert likely is None and bank is not None
    assert look(planned(softmax="all", contrast=0.0)) == (None, None)
    likely, bank = look(planned(contrast=0.0))
    assert likely is not None and bank is None
    again, bank = look(session, bank=False)  # another engine has begun, with a bank of its own
    assert again is not None and bank is None
    assert again.tokens.equal(likely.tokens)


def test_the_likely_tokens_are_the_same_in_the_weights_own_precision() -> None:
    import torch

    from kefu.train.loss import Likely

    torch.manual_seed(0)
    weight, hidden = torch.randn(9000, 32).bfloat16(), torch.randn(70, 32).bfloat16()
    found = Likely(weight, [5, 7], hidden)
    best = (hidden @ weight.T).float().topk(Likely.BEST).indices  # many are alike at the border
    assert set(found.tokens.tolist()) == {5, 7, *best.flatten().tolist()}
