"""The memory forecast against the measured peak, over a grid of models and ways to train them.

For 0.5B, 1.5B, 7B and 14B architectures of Qwen2.5 with random weights, in NF4 (double
quantisation) and bf16, with and without checkpointing, at several sequence lengths and
micro-batches: real LoRA training steps (PEFT, bitsandbytes, AdamW, autocast), the peak of what
torch allocates, and the time of a step, each beside what `kefu.plan` says from the config alone.

    python bench/forecast.py            # one GPU of 80 GB, under 4 minutes
    python bench/forecast.py --tiny     # a rehearsal on the CPU; no memory is measured

Needs torch, transformers, peft, bitsandbytes; kefu from `src`. Prints one JSON line a
configuration, then a table, then a JSON line with the errors. Torch's own count is compared:
`overhead` (driver, fragmentation) is measured separately and printed beside it.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import bitsandbytes as bnb
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Qwen2Config

from kefu.plan import catalogue, probe
from kefu.plan.memory import LOGIT_ROWS, Way, parts
from kefu.plan.shape import Shape, shape_of
from kefu.plan.timing import step_seconds

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL = ("all-linear",)
# checkpointing, length, micro-batch, targets, dropout, all logits at once
GRID: tuple[tuple[bool, int, int, tuple[str, ...], bool, bool], ...] = (
    (False, 256, 4, ALL, False, False),
    (False, 512, 1, ALL, False, True),
    (False, 1024, 2, ALL, False, False),
    (True, 512, 4, ALL, False, True),
    (True, 2048, 2, ALL, False, False),
    (True, 512, 1, ATTENTION, True, True),
)
RANK = 16


def config_of(shape: Shape) -> Qwen2Config:
    """The transformers config of a shape of the Qwen2 family."""
    return Qwen2Config(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=4096,
        use_cache=False,
    )


def build(config: Any, precision: str, device: str) -> Any:
    """A model with random weights on the device; of NF4 only one matrix a form is quantised."""
    compute = torch.float32 if precision == "fp32" else torch.bfloat16
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=compute)
    model.requires_grad_(False)
    if precision != "nf4":
        return model
    ready: dict[tuple[int, int], Any] = {}
    for name, module in list(model.named_modules()):
        if not isinstance(module, torch.nn.Linear) or name.endswith("lm_head"):
            continue
        form = (module.out_features, module.in_features)
        if form not in ready:
            ready[form] = bnb.nn.Params4bit(
                module.weight.data,
                requires_grad=False,
                quant_type="nf4",
                compress_statistics=True,
            ).to(device)
        new = bnb.nn.Linear4bit(
            form[1],
            form[0],
            bias=module.bias is not None,
            compute_dtype=compute,
            quant_type="nf4",
            device="meta",
        )
        new.weight = copy.deepcopy(ready[form])
        new.weight.module = new
        new.quant_state = new.weight.quant_state
        new.bias = module.bias
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, new)
    ready.clear()
    model.is_loaded_in_4bit = True
    return model


def loss_in_pieces(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Next-token loss with LOGIT_ROWS rows of logits at a time, made again when running back."""
    inner = model.get_base_model()
    hidden = inner.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    hidden, labels = hidden.flatten(0, 1), ids[:, 1:].flatten()

    def piece(h: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(inner.lm_head(h).float(), y, reduction="sum")

    total = hidden.new_zeros((), dtype=torch.float32)
    for h, y in zip(hidden.split(LOGIT_ROWS), labels.split(LOGIT_ROWS), strict=True):
        total = total + torch.utils.checkpoint.checkpoint(piece, h, y, use_reentrant=False)
    return total / labels.numel()


def steps(model: Any, way: Way, vocab: int, device: str, count: int) -> tuple[float, int, int, int]:
    """(seconds a step, peak bytes allocated, those before a backward pass, peak bytes reserved) of
    `count` training steps."""
    cuda = device == "cuda"
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=cuda)
    model.train()
    inner = model.get_base_model()
    if way.checkpointing:
        inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        inner.enable_input_require_grads()
    else:
        inner.gradient_checkpointing_disable()
    ids = torch.randint(0, vocab, (way.micro_batch, way.length), device=device)
    started, first = 0.0, 0
    for number in range(count + 1):
        if number == 1:  # the optimiser's state exists from here on
            if cuda:
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            started = time.perf_counter()
        with torch.autocast(device, torch.bfloat16):
            if way.full_logits:
                loss = model(input_ids=ids, labels=ids).loss
            else:
                loss = loss_in_pieces(model, ids)
        if number == 1 and cuda:
            first = torch.cuda.max_memory_allocated()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        del loss
    if cuda:
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - started) / count
    if not cuda:
        return seconds, 0, 0, 0
    peak = torch.cuda.max_memory_allocated()
    return seconds, peak, min(first, peak), torch.cuda.max_memory_reserved()


def context() -> int:
    """Bytes that the driver and libraries took outside torch's allocator."""
    free, total = torch.cuda.mem_get_info()
    return int(total - free - torch.cuda.memory_reserved())


def tiny_shapes() -> dict[str, Shape]:
    """Two models small enough for a rehearsal."""
    config = {
        "model_type": "qwen2",
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    return {
        "tiny": shape_of({**config, "tie_word_embeddings": True}),
        "small": shape_of({**config, "hidden_size": 128, "intermediate_size": 320}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="rehearse on the CPU")
    parser.add_argument("--budget", type=float, default=225, help="seconds; stops before more")
    parser.add_argument("--only", default="", help="sizes, e.g. 7B,14B")
    args = parser.parse_args()
    device = "cpu" if args.tiny else "cuda"
    known = {b.name: b.shape for b in catalogue()}
    shapes = (
        tiny_shapes()
        if args.tiny
        else {s: known[f"Qwen/Qwen2.5-{s}-Instruct"] for s in ("0.5B", "1.5B", "7B", "14B")}
    )
    if args.only:
        shapes = {s: shapes[s] for s in args.only.split(",")}
    machine = probe(None if device == "cuda" else "cpu")
    begun = time.perf_counter()
    lines: list[dict[str, Any]] = []
    for size, shape in shapes.items():
        for precision in ("nf4", "bf16"):
            model, targets_now = build(config_of(shape), precision, device), None
            for checkpointing, length, micro, targets, dropout, full in GRID:
                if time.perf_counter() - begun > args.budget:
                    print(f"# stopped after {args.budget:.0f} s", file=sys.stderr)
                    report(lines)
                    return
                if (targets, dropout) != targets_now:
                    if targets_now is not None:
                        model = model.unload()
                    model = get_peft_model(
                        model,
                        LoraConfig(
                            r=RANK,
                            lora_alpha=2 * RANK,
                            lora_dropout=0.05 if dropout else 0.0,
                            target_modules=targets[0] if targets == ALL else list(targets),
                            task_type="CAUSAL_LM",
                        ),
                    )
                    targets_now = (targets, dropout)
                way = Way(
                    precision=precision,  # type: ignore[arg-type]
                    compute="bf16",
                    micro_batch=micro,
                    length=min(length, 64) if args.tiny else length,
                    checkpointing=checkpointing,
                    rank=RANK,
                    targets=targets,
                    dropout=dropout,
                    padded=False,
                    cuda=not args.tiny,
                    full_logits=full,
                )
                lines.append(measure(model, shape, way, machine, size, device))
                print(json.dumps(lines[-1]), flush=True)
            del model
            gc.collect()
            if device == "cuda":
                torch.cuda.empty_cache()
    report(lines)


def measure(
    model: Any, shape: Shape, way: Way, machine: Any, size: str, device: str
) -> dict[str, Any]:
    """One configuration: what was said, and what came."""
    said = parts(shape, way)
    labelled = way.length
    second = step_seconds(shape, way, machine, tokens=way.length, labelled=labelled)
    line: dict[str, Any] = {
        "size": size,
        "precision": way.precision,
        "checkpointing": way.checkpointing,
        "length": way.length,
        "micro_batch": way.micro_batch,
        "targets": way.targets[0] if way.targets == ALL else "attention",
        "dropout": way.dropout,
        "full_logits": way.full_logits,
        "trainable_said": shape.trainable(way.rank, way.targets),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "weights_said": said.weights,
        "adapters_said": said.adapters + said.gradients + said.optimizer,
        "activations_said": said.activations,
        "logits_said": said.logits,
        "said": said.allocated,
        "said_total": said.memory,
        "step_said": round(second, 4),
    }
    if device == "cuda":
        torch.cuda.synchronize()
        line["at_rest"] = torch.cuda.memory_allocated()
    try:
        seconds, peak, forwards, reserved = steps(model, way, shape.vocab, device, 2)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return {**line, "out_of_memory": True, "fits_said": said.memory <= machine.memory}
    line |= {"step": round(seconds, 4), "peak": peak, "peak_forwards": forwards}
    line["reserved"] = reserved
    if peak:
        line["error"] = round(said.allocated / peak - 1, 4)
        line["context"] = context()
    return line


def report(lines: list[dict[str, Any]]) -> None:
    """The table, and the errors in one line."""
    print("| size | base | ckpt | length | batch | on | logits | said GiB | peak GiB | error |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for r in lines:
        peak = r.get("peak", 0)
        print(
            f"| {r['size']} | {r['precision']} | {'yes' if r['checkpointing'] else 'no'} | "
            f"{r['length']} | {r['micro_batch']} | {r['targets']} | "
            f"{'all' if r['full_logits'] else 'pieces'} | {r['said'] / 2**30:.2f} | "
            f"{peak / 2**30:.2f} | {100 * r.get('error', 0):+.1f} % |"
        )
    errors = [abs(r["error"]) for r in lines if "error" in r]
    print(
        json.dumps(
            {
                "configurations": len(lines),
                "median_error": round(median(errors), 4) if errors else None,
                "worst_error": max(errors, default=None),
                "out_of_memory_though_said_to_fit": sum(
                    bool(r.get("out_of_memory") and r.get("fits_said")) for r in lines
                ),
                "counts_equal": all(r["trainable"] == r["trainable_said"] for r in lines),
                "context": max((r.get("context", 0) for r in lines), default=0),
                "reserved_over_peak": max(
                    (round(r["reserved"] / r["peak"], 3) for r in lines if r.get("peak")),
                    default=None,
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
