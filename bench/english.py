"""Does what has learned to read in Chinese read English, too?

    python bench/english.py [RERANKER]

The embedded base with kefu's adapters, or a larger base that reads rows, nothing trained, on twelve
rows of made-up shops with three questions each that the answer covers and three that it does not,
written for this file. Prints how often the right one of the twelve rows is read best, and how well
covered questions part from the others by the number for their row (the area under the curve).
Twelve rows by one hand, and of topics that the corpus has, too: it says that it reads, not how well
it will on yours.
"""

from __future__ import annotations

import json
import sys

import packing
import warm
from kefu.bot.beside import Beside
from kefu.bot.cross_encoder import CrossEncoder
from kefu.bot.reranker import Reranker
from kefu.records import Origin, Pair

Asked = tuple[str, str, str]
ROWS: tuple[tuple[str, str, Asked, Asked], ...] = (
    (
        "Do you give group discounts?",
        "Groups of five or more get $10 off each; groups of ten also get a free "
        "lesson. All must pay on the same day.",
        (
            "Six of us from the office are coming, is it cheaper?",
            "Do we all need to pay on one day?",
            "Is there anything extra for a dozen people?",
        ),
        (
            "If one of us drops out, do we pay the discount back?",
            "Can I give the free lesson to a friend?",
            "Is there a student discount?",
        ),
    ),
    (
        "How early must I order a cake?",
        "Order six-inch cakes three days ahead and larger ones five days ahead, "
        "with half the price as a deposit.",
        (
            "I need a small one the day after tomorrow, can I still order?",
            "How much do I pay up front?",
            "When should I order a ten-inch one?",
        ),
        (
            "Can it be delivered to my office?",
            "Can I choose the writing on it?",
            "Do you have sugar-free cakes?",
        ),
    ),
    (
        "How do I book a washing machine cleaning?",
        "Pick a date on our website; a technician comes to you. One machine costs "
        "$60 and takes about two hours.",
        (
            "What does it cost to have one cleaned?",
            "How long will the guy be here?",
            "Where do I make an appointment?",
        ),
        (
            "If it still smells afterwards, will you come again?",
            "Can you do my air conditioner too?",
            "Do I have to be at home?",
        ),
    ),
    (
        "What is the warranty?",
        "All products have a one-year warranty from the day of purchase; quality "
        "problems are repaired or replaced for free.",
        (
            "It broke after eight months, do I have to pay for the repair?",
            "Until when am I covered?",
            "Will I get a new one if it is faulty?",
        ),
        (
            "Can I buy a longer warranty?",
            "I dropped it, is that covered abroad?",
            "Where is the repair centre?",
        ),
    ),
    (
        "How long does delivery take?",
        "Orders ship within one working day and arrive in two to three days; "
        "outlying islands take five to seven.",
        (
            "I ordered on Monday, will it be here by the weekend?",
            "My brother lives on an island, when does he get it?",
            "When do you send my parcel out?",
        ),
        (
            "Can I choose the delivery time?",
            "Do you deliver to Japan?",
            "Can I pick it up at a store?",
        ),
    ),
    (
        "Can I return something?",
        "Unused goods in their original box can be returned within seven days of "
        "arrival; we refund within five working days.",
        (
            "The shoes came yesterday and I do not like them, what now?",
            "When will I have my money back?",
            "I threw the box away, can I still send it back?",
        ),
        (
            "Who pays for the return shipping?",
            "Can I swap it for another size?",
            "Can I return it in your shop in town?",
        ),
    ),
    (
        "Which payment methods do you take?",
        "We take credit cards, bank transfer and cash on delivery up to $500.",
        ("Can I pay the courier?", "I have no card, how can I pay?", "Is a wire transfer fine?"),
        (
            "Can I pay in instalments?",
            "Do you take crypto?",
            "Do I get an invoice with the company name?",
        ),
    ),
    (
        "When are you open?",
        "We are open Tuesday to Sunday from 10 am to 8 pm, and closed on Mondays.",
        (
            "Can I come by on Sunday evening at seven?",
            "Are you there on Mondays?",
            "From what time can I drop in?",
        ),
        ("Are you open on public holidays?", "Do I need an appointment?", "Is there parking?"),
    ),
    (
        "How do I join the membership?",
        "Sign up on the website for free; members collect one point for each "
        "dollar, and 100 points are worth $5.",
        (
            "Does it cost anything to become a member?",
            "I have 300 points, what do I get for them?",
            "How many points do I get for a $40 order?",
        ),
        ("Do points expire?", "Can I give my points to my wife?", "How do I delete my account?"),
    ),
    (
        "Is breakfast included?",
        "Breakfast is included from 7 to 10 am in the ground-floor restaurant; "
        "children under six eat for free.",
        (
            "Do I pay extra for eating in the morning?",
            "My son is four, does he pay for breakfast?",
            "Until when can we eat?",
        ),
        ("Do you have vegan food?", "Can we have breakfast in the room?", "What does dinner cost?"),
    ),
    (
        "Can I bring my dog?",
        "Dogs under 10 kg are welcome for $15 a night; please tell us before you arrive.",
        (
            "We have a small terrier, may he stay with us?",
            "How much is it for the dog?",
            "Do I need to announce my pet?",
        ),
        (
            "Can the dog come into the restaurant?",
            "Do you have a dog sitter?",
            "May I bring two cats?",
        ),
    ),
    (
        "How do I cancel my booking?",
        "You can cancel free of charge up to 48 hours before arrival; after that we "
        "charge one night.",
        (
            "I cannot come next month, does it cost anything?",
            "We arrive tomorrow and are ill, what must we pay?",
            "Until when can I call it off?",
        ),
        (
            "Can I move my booking to another date?",
            "Can a friend take my booking over?",
            "Will I get the airline ticket back as well?",
        ),
    ),
)
"""Question, answer, what it covers, what it does not."""


def main() -> None:
    pairs = [Pair(row[0], row[1], Origin("made up", n)) for n, row in enumerate(ROWS, 1)]
    if sys.argv[1:]:
        large = Reranker(sys.argv[1], "cpu")
        cross = CrossEncoder(large.tokenizer, large.adapter, pairs, large)
    else:
        base = Beside(warm.BASE, "cpu")
        cross = CrossEncoder(base.tokenizer, base.name, pairs, base)
    every = list(range(len(pairs)))
    right, covered, beyond = 0, [], []
    for number, (_, _, inside, outside) in enumerate(ROWS):
        told = cross.read([(text, (), every) for text in (*inside, *outside)])
        right += sum(int(one.argmax()) == number for one in told[: len(inside)])
        covered += [float(one[number]) for one in told[: len(inside)]]
        beyond += [float(one[number]) for one in told[len(inside) :]]
    line = {
        "rows": len(pairs),
        "covered": len(covered),
        "right_row_first": right,
        "area_against_not_covered": round(packing.auc(covered, beyond), 3),
        "covered_above_0": sum(value > 0 for value in covered),
        "not_covered_above_0": sum(value > 0 for value in beyond),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
