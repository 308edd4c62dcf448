"""A plan for several GPUs at once: a base that none of them holds is cut up over all."""

from __future__ import annotations

import dataclasses

import pytest

from kefu.errors import BaseError
from kefu.plan import make, probe
from kefu.plan.memory import weights
from kefu.plan.shape import Shape, shape_of
from kefu.records import Faq, Origin, Pair
from kefu.settings import Settings

GIB = 2**30
FAQ = Faq(
    tuple(
        Pair(
            f"第{i}件怎麼退？",
            f"請在{i}天內寄回。",
            Origin("shop.csv", i),
            (f"退{i}", f"{i}不要了"),
        )
        for i in range(2, 40)
    ),
    (),
)
QWEN_72B = {
    "model_type": "qwen2",
    "hidden_size": 8192,
    "intermediate_size": 29568,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}


def shape() -> Shape:
    return shape_of(QWEN_72B)


def test_a_base_is_cut_up_only_where_no_gpu_holds_it_and_the_forecast_says_what_each_needs() -> (
    None
):
    said = Settings(base="folder", precision="nf4")
    small = dataclasses.replace(probe("l4"), gpus=4)  # 24 GB
    with pytest.raises(BaseError, match=r"does not fit.*--gpus 4"):
        make(said, FAQ, small, base_config=QWEN_72B)
    cut = make(said, FAQ, small, base_config=QWEN_72B, cards=4)
    assert cut.shard.value and "No single GPU" in cut.shard.because
    assert 36 * GIB / 4 < cut.forecast.weights < 36 * GIB / 2
    assert cut.forecast.memory < small.memory
    large = make(said, FAQ, probe("h100"), base_config=QWEN_72B, cards=4)
    assert not large.shard.value and "fits on each GPU" in large.shard.because
    assert large.forecast.weights > 36 * GIB
    # The batch, and so all that is learnt, is that of one card.
    assert cut.effective_batch == large.effective_batch
    assert cut.steps.value == large.steps.value
    assert cut.forecast.seconds > large.forecast.seconds


def test_two_gpus_of_24_gb_are_too_few_for_72b_and_that_is_said() -> None:
    with pytest.raises(BaseError, match="does not fit"):
        make(Settings(base="folder"), FAQ, probe("l4"), base_config=QWEN_72B, cards=2)


def test_what_is_chosen_unasked_fits_one_gpu_since_a_bot_answers_on_one() -> None:
    alone, together = (make(Settings(), FAQ, probe("t4"), cards=cards) for cards in (1, 8))
    assert alone.base.value == together.base.value and not together.shard.value


@pytest.mark.parametrize("precision", ["bf16", "nf4"])
def test_cards_share_the_layers_matrices_and_nothing_else(precision: str) -> None:
    made = shape()
    one, two, many = (weights(made, precision, "bf16", n) for n in (1, 2, 10**9))  # type: ignore[arg-type]
    assert one > two > many
    values = made.linear_weights * (0.5 if precision == "nf4" else 2)
    loose = 2 * (made.parameters - made.linear_weights)
    layers = values / made.layers
    # Embeddings, head, scales, and the few layers that are put together at a time.
    assert loose + 2 * layers < many < loose + 4 * layers + made.linear_weights / 50
    assert two - many == pytest.approx(values / 2, rel=0.01)
