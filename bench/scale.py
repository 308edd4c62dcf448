"""Time and cost on paper: 10, 1,000 and 100,000 FAQs on 1, 8 and 64 cards (docs/scale.md).

    python bench/scale.py [--price 3]

An FAQ is like the sample shop's: 40 rows, 12 wordings each. Its training takes what the plan's
arithmetic says for an H100, which was held to measured steps (LOG.md, `bench/speed.py`): both
stand in the first lines. An FAQ is one card's work from start to end, so cards share nothing and
the whole takes as many turns as the fullest card has FAQs. Start and loading are counted for each
FAQ, as each is a run of its own; a worker that stays saves a part of that.

Not counted: the exam, the threshold, the queue of the cluster, cards that fail, the price of disks.
"""

from __future__ import annotations

import argparse
from math import ceil

from kefu.plan import make, probe
from kefu.records import Faq, Origin, Pair, Plan
from kefu.settings import Settings

CARDS, FAQS = (1, 8, 64), (10, 1_000, 100_000)
BASES = ("gemma-3-270m", "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-7B-Instruct")


def shop(rows: int = 40, wordings: int = 12) -> Faq:
    """An FAQ of the sample's size; only the lengths of its texts matter."""
    asked, told = (
        "請問這個商品可以退貨嗎",
        "商品到貨七天內可以退貨，請保持包裝完整，並附上發票。" * 2,
    )
    return Faq(
        tuple(
            Pair(
                f"{asked}{i}？",
                f"{told}{i}",
                Origin("shop.csv", i + 2),
                tuple(f"{asked}{i} {j}" for j in range(wordings - 1)),
            )
            for i in range(rows)
        ),
        (),
    )


def said(seconds: float) -> str:
    """Seconds as a reader says them."""
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def plan_for(base: str) -> Plan:
    return make(Settings(base=base), shop(), probe("h100"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--price", type=float, default=3.0, help="of one card for an hour")
    price = parser.parse_args().price
    print("| base | steps × rows | precision | a step | one FAQ |")
    print("| --- | --- | --- | --- | --- |")
    each = {}
    for base in BASES:
        plan = plan_for(base)
        each[base] = plan.forecast.seconds
        longer = make(Settings(base=base, thorough="thorough"), shop(), probe("h100"))
        more = longer.steps.value - plan.steps.value
        step = (longer.forecast.seconds - plan.forecast.seconds) / more
        print(
            f"| {base} | {plan.steps.value} × {plan.effective_batch} | {plan.precision.value} "
            f"| {1000 * step:.0f} ms | {plan.forecast.seconds:.0f} s |"
        )
    print()
    heads = " | ".join("1 card" if n == 1 else f"{n} cards" for n in CARDS)
    print(f"| base | FAQs | {heads} | card hours | at {price:g} |")
    print(f"|{' --- |' * (4 + len(CARDS))}")
    for base, seconds in each.items():
        for faqs in FAQS:
            times = " | ".join(said(ceil(faqs / cards) * seconds) for cards in CARDS)
            hours = faqs * seconds / 3600
            print(f"| {base} | {faqs:,} | {times} | {hours:,.1f} | {hours * price:,.0f} |")


if __name__ == "__main__":
    main()
