"""How cost grows: 10 to 10,000 pairs on 0.5B to 14B, and what a NaN does to recorded steps.

    python bench/growth.py           # one H100, under 4 minutes
    python bench/growth.py --nan     # one H100, under 1 minute
    python bench/growth.py --tiny    # both on a processor, with models of two layers

Architectures of Qwen2.5 with random weights, made on the device; a made-up shop's FAQ, four
wordings a pair, about 100 tokens a row. A line each:
  measured  the plan for a base and an FAQ, trained for some steps: ms a step, peak and time beside
            the forecasts, and what the bar said is left after 16 steps, a quarter and a half
  planned   what the plan says of every other size (arithmetic; nothing is run)
  errors    of the measured lines
  nan       the adapter is no number from a step on: where training goes back to, and its last
            losses beside those of the run that was left alone
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import random
import sys
import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import torch

import tiny
from kefu.plan import catalogue, make, probe
from kefu.records import Choice, Example, Faq, Origin, Pair
from kefu.settings import Settings
from kefu.show import pace
from kefu.train import opening, train
from kefu.weights import local_counter
from kefu.weights.loader import Loaded
from kefu.workspace import RunFolder

SIZES = ("0.5B", "1.5B", "7B", "14B")
PAIRS = (10, 100, 1000, 10_000)
RUNS: tuple[tuple[int, str], ...] = ((100, "bf16"), (1000, "bf16"), (1000, "nf4"))
"""Pairs and precision of what is measured, a base. (4 bits that fit are unpacked by the plan.)"""
STEPS = {"0.5B": 120, "1.5B": 120, "7B": 60, "14B": 60}
ROWS = 600
"""Rows that are trained of a plan, at most: they are drawn from an FAQ of any size alike."""
GIB = 2**30
HELD: dict[str, int] = {}
"""Bytes that torch holds at a run's last step: recorded steps' own memory among them, which the
count of what is allocated knows only while they are being recorded."""
TINY = {
    "model_type": "qwen2", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}  # fmt: skip


@cache
def here(small: bool) -> Any:
    """This machine before anything lies in its memory."""
    return probe("cpu") if small else probe()


def faq_of(pairs: int) -> Faq:
    """A made-up shop's FAQ: four wordings a pair, answers of unlike length."""
    draw = random.Random(pairs)
    things = ("商品", "訂單", "發票", "退款", "保固", "運費", "會員", "維修")
    acts = ("怎麼查", "能改嗎", "多久到", "收費嗎")
    made = []
    for number in range(1, pairs + 1):
        thing = f"{number}號{draw.choice(things)}"
        asked = [thing + act for act in acts]
        phone = draw.randrange(10**6, 10**7)
        answer = f"{thing}{draw.randrange(1, 30)}天內撥{phone}，"
        answer += "".join(draw.choice(things) for _ in range(draw.randrange(1, 8))) + "。"
        made.append(Pair(asked[0], answer, Origin("shop.csv", number + 1), tuple(asked[1:])))
    return Faq(tuple(made), ())


def rows_of(faq: Faq) -> list[Example]:
    return [Example(text, p.answer, p.question) for p in faq.pairs for text in p.phrasings]


def folder_of(size: str, work: Path, small: bool) -> Path:
    """A base's config and a tokenizer, and no weights."""
    place = work / f"base-{size}"
    if not place.exists():
        tiny.tokenizer().save_pretrained(place)
        if small:
            config = dict(TINY)
        else:
            from forecast import config_of

            shape = {b.name: b for b in catalogue()}[f"Qwen/Qwen2.5-{size}-Instruct"].shape
            config = config_of(shape).to_dict()
        (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return place


def fresh(name: str, *, precision: str, compute: str, unpacked: bool, device: str, **_: Any) -> Any:
    """Stands in for kefu's load: the same kinds of matrices, made on the device."""
    from transformers import AutoConfig, AutoTokenizer

    from forecast import build

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    packed = precision == "nf4" and not unpacked
    model = build(AutoConfig.from_pretrained(name), "nf4" if packed else compute, device)
    if torch.cuda.is_available():  # making it may take more than it is
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return Loaded(model, AutoTokenizer.from_pretrained(name), device, name)


def plan_of(base: Path, pairs: int, machine: Any, precision: str) -> tuple[Any, list[Example]]:
    faq = faq_of(pairs)
    rows = rows_of(faq)
    settings = Settings(base=str(base), precision=precision, faq="faq.csv")  # type: ignore[arg-type]
    plan = make(settings, faq, machine, train=rows, count_tokens=local_counter(str(base)))
    return plan, rows


def trained(name: str, plan: Any, rows: list[Example], work: Path) -> tuple[list[Any], float]:
    """The steps of a training, and its seconds."""
    folder = RunFolder(work / name)
    folder.path.mkdir(parents=True)
    begun = time.monotonic()

    def held(step: Any) -> None:
        if step.step == step.of and torch.cuda.is_available():
            HELD[name] = torch.cuda.memory_reserved()

    train(plan, rows, folder, on_step=held, say=lambda text: None)
    return list(folder.steps()), time.monotonic() - begun


def measured(size: str, pairs: int, precision: str, work: Path, small: bool) -> dict[str, Any]:
    machine = here(small)
    base = folder_of(size, work, small)
    plan, rows = plan_of(base, pairs, machine, "fp32" if small else precision)
    steps = 40 if small else STEPS[size]
    said = plan.forecast
    line: dict[str, Any] = {
        "line": "measured", "size": size, "pairs": pairs, "precision": plan.precision.value,
        "unpacked": plan.unpacked.value, "batch": plan.effective_batch,
        "way": f"{plan.micro_batch.value} x {plan.accumulation.value}",
        "checkpointing": plan.checkpointing.value, "planned_steps": plan.steps.value,
        "planned_seconds": round(said.seconds, 1),
    }  # fmt: skip
    short = replace(plan, steps=Choice(steps, "bench"), save_every=Choice(9999, "bench"))
    draw = random.Random(1)
    some = rows if len(rows) <= ROWS else draw.sample(rows, ROWS)
    from kefu.plan.bases import resolve
    from kefu.plan.timing import run_seconds

    way = way_of(plan)
    shape = resolve(str(base)).shape
    start = run_seconds(0, 0.0, shape, way)
    each = (said.seconds - start) / plan.steps.value
    line["forecast_ms"] = round(1000 * each, 2)
    try:
        told, took = trained(f"{size}-{pairs}-{precision}", short, some, work)
    except Exception as error:
        return {**line, "failed": f"{type(error).__name__}: {error}"[:400]}
    ends = [s.seconds for s in told]
    gaps = [b - a for a, b in itertools.pairwise(ends)]
    line |= {
        "ms_a_step": round(1000 * median(gaps), 2),
        "mean_ms": round(1000 * mean(gaps), 2),
        "first_step_s": round(ends[0], 1),
        "run_s": round(took, 1),
        "steps": len(told),
        "losses": [round(told[0].loss, 3), round(told[-1].loss, 3)],
        "notes": [s.note for s in told if s.note][:3],
    }
    line["step_error"] = round(each / mean(gaps) - 1, 3)
    for label, at in (("16", 16), ("quarter", steps // 4), ("half", steps // 2)):
        left = pace(ends[:at]) * (steps - at)
        line[f"left_error_{label}"] = round(left / (ends[-1] - ends[at - 1]) - 1, 3)
    if not small:
        peak, free = torch.cuda.max_memory_allocated(), torch.cuda.mem_get_info()
        held = torch.cuda.max_memory_reserved()
        line |= {
            "peak_gib": round(peak / GIB, 3), "forecast_gib": round(said.allocated / GIB, 3),
            "memory_error": round(said.allocated / peak - 1, 4),
            "held_at_end_gib": round(HELD[f"{size}-{pairs}-{precision}"] / GIB, 3),
            "held_gib": round(held / GIB, 3), "whole_forecast_gib": round(said.memory / GIB, 3),
            "beside_mb": (free[1] - free[0] - torch.cuda.memory_reserved()) // 10**6,
        }  # fmt: skip
    return line


def way_of(plan: Any) -> Any:
    """The plan's way to run a step, as far as the start of a run asks for it."""
    from kefu.plan.memory import Way

    return Way(
        precision=plan.precision.value, compute=plan.compute.value,
        micro_batch=plan.micro_batch.value, length=plan.max_length.value,
        checkpointing=plan.checkpointing.value, rank=plan.rank.value, targets=plan.targets.value,
        dropout=False, engine="lean", accumulation=plan.accumulation.value,
        cuda=plan.machine.device == "cuda", unpacked=plan.unpacked.value,
    )  # fmt: skip


def planned(size: str, work: Path, small: bool) -> None:
    machine = probe("cpu") if small else probe("h100")
    base = folder_of(size, work, small)
    for pairs in PAIRS:
        plan, rows = plan_of(base, pairs, machine, "auto")
        said = plan.forecast
        line = {
            "line": "planned", "size": size, "pairs": pairs, "rows": len(rows),
            "precision": plan.precision.value, "batch": plan.effective_batch,
            "steps": plan.steps.value, "minutes": round(said.seconds / 60, 1),
            "memory_gib": round(said.memory / GIB, 2), "rank": plan.rank.value,
        }  # fmt: skip
        print(json.dumps(line), flush=True)


def nan(work: Path, small: bool) -> None:
    """A NaN in the middle of recorded steps, beside the run that is left alone."""
    from kefu.train import graphs

    machine = here(small)
    base = folder_of("0.5B", work, small)
    plan, rows = plan_of(base, 10, machine, "fp32" if small else "bf16")
    steps, at = (60, 45) if small else (500, 460)
    plan = replace(
        plan, steps=Choice(steps, "bench"), save_every=Choice(9999, "bench"),
        micro_batch=Choice(plan.effective_batch, "bench"), accumulation=Choice(1, "bench"),
        checkpointing=Choice(False, "bench"), softmax=Choice("all", "bench"),
    )  # fmt: skip
    if small:
        graphs.possible = lambda session: True
    whole, _ = trained("whole", plan, rows, work)
    kept, done = graphs.Recorder.step, [0]

    def step(self: Any, *said: Any) -> Any:
        done[0] += 1
        if done[0] == at:
            with torch.no_grad():
                self.masters[0].fill_(float("nan"))
        return kept(self, *said)

    graphs.Recorder.step = step  # type: ignore[method-assign]
    hurt, took = trained("nan", plan, rows, work)
    graphs.Recorder.step = kept  # type: ignore[method-assign]
    notes = {s.step: s.note for s in hurt if s.note}
    ends = [round(mean(s.loss for s in found[-10:]), 4) for found in (whole, hurt)]
    line = {
        "line": "nan", "injected_at": at, "recorded_steps_begun": done[0],
        "seen_after": done[0] - at, "notes": notes, "steps": len(hurt), "of": steps,
        "rates": [round(next(s.learning_rate for s in f if s.step == steps - 9), 9)
                  for f in (whole, hurt)],
        "last_losses_alone": ends[0], "last_losses": ends[1],
        "first_loss": round(whole[0].loss, 3),
        "sound": all(s.loss == s.loss for s in hurt), "seconds": round(took, 1),
    }  # fmt: skip
    print(json.dumps(line, ensure_ascii=False), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--nan", action="store_true")
    parser.add_argument("--budget", type=float, default=220, help="seconds; begins no more then")
    parser.add_argument("--only", nargs="*", choices=SIZES, default=SIZES)
    said = parser.parse_args()
    opening.load = fresh  # type: ignore[assignment]
    begun = time.monotonic()
    here(said.tiny)
    os.environ["KEFU_CACHE"] = tempfile.mkdtemp()  # no ladder of another run is remembered
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        if said.nan or said.tiny:
            nan(work, said.tiny)
        if said.nan:
            return
        lines = []
        for size in SIZES[:1] if said.tiny else said.only:
            planned(size, work, said.tiny)
            for pairs, precision in RUNS[: 2 if size == "14B" or said.tiny else 3]:
                if time.monotonic() - begun > said.budget:
                    print(json.dumps({"line": "stopped", "size": size, "pairs": pairs}))
                    break
                lines.append(measured(size, pairs, precision, work, said.tiny))
                print(json.dumps(lines[-1], ensure_ascii=False), flush=True)
    errors: dict[str, Any] = {"line": "errors", "runs": len(lines)}
    for key in ("step_error", "left_error_16", "left_error_quarter", "left_error_half",
                "memory_error"):  # fmt: skip
        found = [abs(x[key]) for x in lines if key in x]
        if found:
            errors[key] = {"median": round(median(found), 3), "worst": round(max(found), 3)}
    print(json.dumps(errors), flush=True)


if __name__ == "__main__":
    main()
