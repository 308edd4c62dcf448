"""How long unpacking NF4 takes on a GPU, by kefu's kernel and by bitsandbytes'.

    python bench/unpack.py

The matrices of Qwen2.5-7B, random values; each kernel recorded ten times and replayed. One JSON
line a shape: whether both make the same bits, and microseconds. Needs a GPU and Triton.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit

from kefu.train import kernels

SHAPES = ((3584, 3584), (512, 3584), (18944, 3584), (3584, 18944))
REPEAT = 10


def microseconds(work: Callable[[], Any]) -> float:
    """Of `work` on the GPU, where launching costs nothing."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(REPEAT):
            work()
    graph.replay()
    best = float("inf")
    for _ in range(5):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        best = min(best, begin.elapsed_time(end) * 1000 / REPEAT)
    return round(best, 1)


def main() -> None:
    for shape in SHAPES:
        weight = torch.randn(shape, device="cuda", dtype=torch.bfloat16) * 0.02
        packed, state = quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
        due, found = dequantize_4bit(packed, state), torch.empty_like(weight)
        kernels.unpack(packed, state, found)

        def ours(packed: Any = packed, state: Any = state, out: Any = found) -> None:
            kernels.unpack(packed, state, out)

        def theirs(packed: Any = packed, state: Any = state) -> None:
            dequantize_4bit(packed, state)

        line = {"shape": shape, "equal": torch.equal(due, found)}
        line |= {"kefu_us": microseconds(ours), "bitsandbytes_us": microseconds(theirs)}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
