"""Times the steps of a training, and what the GPU does in some of them.

The same for every tool that is set beside kefu; so nothing of kefu or of theirs is imported here.
"""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

LONG = 100
"""From so many steps on a line has every loss."""


class Stopwatch:
    """`step` is called after each optimizer step; `line` says what came of it."""

    def __init__(self, steps: int) -> None:
        import torch

        self.started = float(os.environ.get("BENCH_STARTED", time.time()))
        """When the process was started, in seconds since the epoch."""
        self.cuda = torch.cuda.is_available()
        self.steps = steps
        self.stamps: list[float] = []
        self.losses: list[float] = []
        self.busy: float | None = None
        self._profile: Any = None
        self._from, self._for = max(4, steps - 8), max(0, min(4, steps - 5))

    def step(self, loss: float) -> None:
        """One optimizer step is done."""
        import torch

        if self.cuda:
            torch.cuda.synchronize()
        self.stamps.append(time.time())
        self.losses.append(round(loss, 4))
        if self.cuda and self._for and len(self.stamps) == self._from:
            self._profile = torch.profiler.profile(
                activities=[torch.profiler.ProfilerActivity.CUDA]
            )
            self._profile.__enter__()
        elif self._profile is not None and len(self.stamps) == self._from + self._for:
            self._profile.__exit__(None, None, None)
            spans = [e for e in self._profile.events() if str(e.device_type).endswith("CUDA")]
            self.busy = sum(e.device_time_total for e in spans) / 1000 / self._for
            if os.environ.get("BENCH_KERNELS"):
                table = self._profile.key_averages().table(
                    sort_by="cuda_time_total", row_limit=18, max_name_column_width=70
                )
                print(table, flush=True)
            self._profile = None

    def line(self, name: str, *, batch: int, tokens: float, total: int) -> dict[str, Any]:
        """What a variant prints: `batch` rows of `tokens` tokens in the mean a step, on a base of
        `total` parameters."""
        import torch

        gaps = sorted(b - a for a, b in itertools.pairwise(self.stamps[1 : self._from]))
        ms = 1000 * gaps[len(gaps) // 2]
        # Multiply-adds of a forward pass and of the way back to the inputs, by the frozen matrices.
        flops = 4 * total * batch * tokens
        return {
            "variant": name,
            "ms_a_step": round(ms, 1),
            "gpu_busy_ms": round(self.busy, 1) if self.busy is not None else None,
            "examples_a_second": round(1000 * batch / ms, 2),
            "batch": batch,
            "tokens_a_row": round(tokens, 1),
            "first_step_s": round(self.stamps[0] - self.started, 1),
            "second_step_s": round(self.stamps[1] - self.stamps[0], 2),
            "slowest_ms": round(1000 * gaps[-1]),
            "steps": self.steps,
            "peak_gib": (
                round(torch.cuda.max_memory_allocated() / 2**30, 2) if self.cuda else None
            ),
            "reserved_gib": (
                round(torch.cuda.max_memory_reserved() / 2**30, 2) if self.cuda else None
            ),
            "losses": self.losses[:4] + self.losses[-2:],
            **({"every_loss": self.losses} if self.steps >= LONG else {}),
            "tflops": round(flops / ms / 1e9, 1),
        }
