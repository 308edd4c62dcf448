"""Training on small cards, emulated on a large one: does a plan made for 16 or 8 GB come true?

    python bench/small_cards.py --base FOLDER --gib 15 [--work FOLDER]   # 7B: a T4
    python bench/small_cards.py --base FOLDER --gib 8 --faults           # 1.5B, and faults
    python bench/small_cards.py --tiny                                   # a rehearsal, no GPU

The base is an architecture with random weights (gpu.py builds 7B, `--build 1.5B` the smaller one).
Rows of up to 512 tokens are made by joining the sample FAQ's answers. Torch may allocate what such
a card has, less what the forecast leaves to the driver; no bf16 and no FlashAttention, as on a T4
(which stays slower: no time is compared). Prints one JSON line each:
  chosen    the plan that kefu makes for such a card: does it fit, how far is its forecast off?
  tutorial  the tutorial's 1 x 4 with checkpointing, the same batch: losses step by step
With --faults, in bf16 and recorded steps, as on the large card:
  whole     undisturbed
  short     from step 3 on no memory beyond what is held: the ladder's losses against `whole`
  capped    a cap from the beginning, under what the plan needs
  nan       the adapter is no number from step 12 on: where training goes back to
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
STEPS, LONGEST = 16, 487
"""487 tokens and the plan's margin are 512."""
QWEN_1_5B = {
    "hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12,
    "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip
GIB = 2**30


def long_faq(base: Path, longest: int, even: bool) -> Any:
    """A small FAQ whose rows have `longest` tokens, or from a quarter of that on."""
    from kefu import faq as faqs
    from kefu.records import Faq
    from kefu.weights import local_counter

    count = local_counter(str(base))
    assert count is not None
    found = faqs.read(HERE.parents[1] / "src/kefu/templates/faq.csv")
    pairs = [p for p in found.pairs if p.wordings]
    made = []
    for i, pair in enumerate(pairs):
        wide = max(count(text) for text in pair.phrasings)
        room = longest - 24 - wide
        room = room if even else int(room * (0.25 + 0.75 * i / (len(pairs) - 1)))
        text = pair.answer
        for other in (pairs * 40)[i + 1 :]:
            if count(text + other.answer) > room:
                break
            text += other.answer
        made.append(replace(pair, answer=text, wordings=pair.wordings[:3]))
    return Faq(tuple(made), ())


def plan_for(base: Path, faq: Any, machine: Any, precision: str) -> tuple[Any, list[Any]]:
    """kefu's plan and the rows of it: the FAQ's own wordings."""
    from kefu.plan import make
    from kefu.records import Example
    from kefu.settings import Settings
    from kefu.weights import local_counter

    rows = [Example(text, p.answer, p.question) for p in faq.pairs for text in p.phrasings]
    settings = Settings(base=str(base), precision=precision, faq="faq.csv")  # type: ignore[arg-type]
    plan = make(settings, faq, machine, train=rows, count_tokens=local_counter(str(base)))
    return plan, rows


def trained(name: str, plan: Any, rows: list[Any], work: Path, cap: int = 0, **more: Any) -> Any:
    """Trains within `cap` bytes of torch's allocator; prints and returns what came."""
    import torch

    from kefu.train import train
    from kefu.workspace import RunFolder

    cuda = torch.cuda.is_available()
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap / whole) if cap else 1.0)
    folder = RunFolder(work / name)
    shutil.rmtree(folder.path, ignore_errors=True)
    folder.path.mkdir(parents=True)
    line: dict[str, Any] = {
        "variant": name,
        "precision": plan.precision.value,
        "compute": plan.compute.value,
        "unpacked": plan.unpacked.value,
        "rows": f"{plan.micro_batch.value} x {plan.accumulation.value}",
        "checkpointing": plan.checkpointing.value,
        "length": plan.max_length.value,
        "forecast_gib": round(plan.forecast.allocated / GIB, 2),
        "forecast_whole_gib": round(plan.forecast.memory / GIB, 2),
        "cap_gib": round(cap / GIB, 2),
    }
    begun = time.monotonic()
    try:
        train(plan, rows, folder, say=lambda text: None, **more)
    except Exception as error:
        line["failed"] = f"{type(error).__name__}: {error}"[:600]
    steps = list(folder.steps())
    line |= {
        "took": round(time.monotonic() - begun, 1),
        "steps": len(steps),
        "losses": [round(s.loss, 5) for s in steps],
        "notes": {s.step: s.note for s in steps if s.note},
        "sound": sound(folder),
    }
    if cuda:
        free, total = torch.cuda.mem_get_info()
        line |= {
            "peak_gib": round(torch.cuda.max_memory_allocated() / GIB, 2),
            "reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2),
            "beside_torch_mb": (total - free - torch.cuda.memory_reserved()) // 10**6,
        }
    print(json.dumps(line, ensure_ascii=False), flush=True)
    return line


def sound(folder: Any) -> bool:
    """Whether there is an adapter of numbers."""
    import torch
    from safetensors.torch import load_file

    path = folder.adapter / "adapter_model.safetensors"
    return path.exists() and all(bool(torch.isfinite(t).all()) for t in load_file(path).values())


def compared(one: Any, other: Any) -> None:
    """Prints how far the losses of two runs lie apart."""
    apart = [abs(a - b) for a, b in zip(one["losses"], other["losses"], strict=False)] or [9.9]
    names = f"{one['variant']} against {other['variant']}"
    line = {"compared": names, "steps": len(apart), "first": apart[0], "most": max(apart)}
    print(json.dumps({k: round(v, 6) if k != "compared" else v for k, v in line.items()}))


def faults(plan: Any, rows: list[Any], work: Path) -> None:
    """Recorded steps that run out of memory, or meet a NaN."""
    import torch

    from kefu.train import buckets, graphs

    buckets.OPENING = 0.0001  # many buckets, so that some are opened late
    cuda = torch.cuda.is_available()
    whole = trained("whole", plan, rows, work)

    def shut(step: Any) -> None:
        if cuda and step.step == 3:
            held = torch.cuda.memory_reserved() + 64 * 2**20
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(held / total)

    compared(whole, trained("short", plan, rows, work, on_step=shut))
    need = int(whole.get("peak_gib", 0) * GIB)
    compared(whole, trained("capped", plan, rows, work, cap=int(need * 0.7)))
    kept, done = graphs.Recorder.step, [0]

    def step(self: Any, *said: Any) -> Any:
        done[0] += 1
        if done[0] == 12:
            with torch.no_grad():
                self.masters[0].fill_(float("nan"))
        return kept(self, *said)

    graphs.Recorder.step = step  # type: ignore[method-assign]
    trained("nan", plan, rows, work)
    graphs.Recorder.step = kept  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--build", choices=["7B", "1.5B"], help="makes --base first")
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--work", type=Path, default=Path("bench-small"))
    parser.add_argument("--gib", type=float, default=15.0)
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    said = parser.parse_args()
    os.environ["KEFU_CACHE"] = tempfile.mkdtemp()  # no ladder of another run is remembered
    import torch

    from kefu.plan import probe
    from kefu.plan.machine import rates
    from kefu.records import Choice

    if said.tiny:
        sys.path.insert(0, str(HERE.parents[1] / "tests"))
        import tiny
        from kefu.train import graphs

        said.work = Path(tempfile.mkdtemp())
        said.base, said.faults = tiny.base(said.work / "base"), True
        graphs.possible = lambda session: session.plan.accumulation.value == 1
    if said.build:
        import gpu

        gpu.QWEN_7B.update(QWEN_1_5B if said.build == "1.5B" else {})
        gpu.build(said.base, said.tokenizer)
    base = said.base.resolve()
    here = probe("cpu") if said.tiny else probe()
    small = here if said.tiny else replace(probe("t4"), memory=int(said.gib * GIB))
    # Qwen's tokenizer needs a third of the tiny one's tokens.
    faq = long_faq(base, LONGEST, even=True)
    plan, rows = plan_for(base, faq, small, "fp32" if said.tiny else "nf4")
    plan = replace(plan, steps=Choice(STEPS, "bench"), save_every=Choice(99, "bench"))
    if not said.tiny:
        # What a T4 lacks.
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_cudnn_sdp(False)
    cap = small.memory - int(rates()["gpu"]["context"])
    chosen = trained("chosen", plan, rows, said.work, cap=cap)
    batch = plan.effective_batch
    tutorial = replace(
        plan,
        micro_batch=Choice(1, "bench"),
        accumulation=Choice(batch, "bench"),
        checkpointing=Choice(True, "bench"),
    )
    compared(chosen, trained("tutorial", tutorial, rows, said.work, cap=cap))
    if not said.faults:
        return
    torch.backends.cuda.enable_flash_sdp(True)
    torch.backends.cuda.enable_cudnn_sdp(True)
    faq = long_faq(base, LONGEST, even=False)
    plan, rows = plan_for(base, faq, here, "fp32" if said.tiny else "bf16")
    plan = replace(
        plan,
        micro_batch=Choice(plan.effective_batch, "bench"),
        accumulation=Choice(1, "bench"),
        checkpointing=Choice(False, "bench"),
        steps=Choice(30, "bench"),
        save_every=Choice(999, "bench"),
    )
    faults(plan, rows, said.work)


if __name__ == "__main__":
    main()
