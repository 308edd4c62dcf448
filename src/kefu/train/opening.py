"""Makes a session ready for its first step: the base, the adapter on it, and the rows as tokens.

Does not know what is done with it, nor how a base is cut up over cards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import FaqError, RunError
from ..prompt import Prompt, Row
from ..records import Example, Plan
from ..weights import few_threads, load, warm
from ..workspace import RunFolder
from . import many
from .session import OnStep, Session


def open_session(
    plan: Plan,
    examples: Sequence[Example],
    folder: RunFolder,
    on_step: OnStep,
    say: Callable[[str], None],
    cards: many.Cards,
    shard: bool,
) -> Session:
    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import set_seed

    device = plan.machine.device
    if device == "cuda" and not torch.cuda.is_available():
        raise RunError(
            "The plan is for a GPU, and there is none here.", "Make the plan on this machine."
        )
    set_seed(plan.seed.value)
    place = f"cuda:{torch.cuda.current_device()}" if device == "cuda" else "cpu"
    loaded = load(
        plan.base.value,
        precision=plan.precision.value,
        compute=plan.compute.value,
        unpacked=plan.unpacked.value and not shard,
        device=place,
        turn=(cards.rank, cards.world) if shard else None,  # one card would not hold it
        trust_remote_code=plan.trust_remote_code,
        say=say,
    )
    prompt = Prompt.of_plan(loaded.tokenizer, plan)
    rows = [prompt.row(e, answer_only=plan.answer_only_loss.value) for e in examples]
    _check(rows, examples, plan, prompt)
    targets = plan.targets.value
    config = LoraConfig(
        r=plan.rank.value,
        lora_alpha=plan.alpha.value,
        lora_dropout=plan.dropout.value,
        target_modules="all-linear" if targets == ("all-linear",) else list(targets),
        bias="none",
        task_type=TaskType.CAUSAL_LM,
    )
    set_seed(plan.seed.value)  # the adapter's first values depend on nothing that came before
    with few_threads():
        model = get_peft_model(loaded.model, config)
    if plan.warm.value:
        warm.start(model, plan.warm.value)
    model.train()
    if cards.rank:
        torch.manual_seed(plan.seed.value + cards.rank)  # what is dropped is drawn for each row
    numbers: dict[str, int] = {}
    owners = [
        -1 if e.answer is None else numbers.setdefault(e.answer, len(numbers)) for e in examples
    ]
    return Session(
        plan, rows, folder, model, prompt, place, on_step, owners, cards=cards, split=shard
    )


def watched(
    session: Session, examples: Sequence[Example], held_out: Sequence[Example]
) -> list[tuple[list[int], int]]:
    """Held-out wordings that have an answer among the trained ones."""
    if not session.plan.patience.value:
        return []
    numbers = {e.answer: n for e, n in zip(examples, session.owners, strict=True)}
    return [
        (session.prompt.ids(e.question), numbers[e.answer])
        for e in held_out
        if e.answer is not None and e.answer in numbers and not e.history
    ]


def _check(rows: list[Row], examples: Sequence[Example], plan: Plan, prompt: Prompt) -> None:
    """Every row fits, and ends in a terminator that is learned."""
    if not rows:
        raise FaqError("There is nothing to train: no rows.", "Add questions with answers.")
    most = plan.max_length.value
    for row, example in zip(rows, examples, strict=True):
        if len(row.ids) > most:
            raise FaqError(
                f"The question {example.question!r} makes {len(row.ids)} tokens with its answer, "
                f"and the plan allows {most}.",
                "Shorten the answer; kefu never cuts one silently.",
            )
        # A bot without it never stops.
        if not example.brief and row.labels[-1] != prompt.terminator:
            raise FaqError(
                f"The row of {example.question!r} does not end in the terminator.",
                "This is a fault of kefu's templates: please report it.",
            )
