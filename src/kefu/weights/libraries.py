"""Imports what trains and answers, in less time than Python takes for it on its own.

Why it matters, in seconds: LOG.md, "Before the first step". Knows no model.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

NO_COMPILER = "TORCHDYNAMO_DISABLE"
"""torch's own switch: `torch.compile` hands functions back as they are."""
THREADS = 4
"""Of the processor, while PEFT makes an adapter."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Until the end Python looks for no garbage in cycles.

    Modules and a tokenizer's 500,000 merges are made to stay; Python would go through all of them
    again and again while they are made, which takes a third of the time.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def few_threads() -> Iterator[None]:
    """For PEFT, which makes an adapter's hundreds of small matrices on the processor, where all
    threads meet at each of them. Values do not depend on how many threads there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(min(before, THREADS))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@uncollected()
def import_libraries(meanwhile: Callable[[], None] = lambda: None) -> None:
    """torch, bitsandbytes, PEFT and transformers' models, so that later imports find them there;
    from here on attention is by torch's own kernels. `meanwhile` is called once torch is there,
    where more is to be imported."""
    import torch

    # cuDNN's attention, torch's first choice on an H100 or H200, makes a plan for every shape that
    # is new, which takes it longer than the attention; and here nearly each batch has a new one.
    torch.backends.cuda.enable_cudnn_sdp(False)
    if "peft" not in sys.modules:
        meanwhile()
    _import_bitsandbytes()
    import peft  # noqa: F401
    import transformers.modeling_utils  # noqa: F401


def _import_bitsandbytes() -> None:
    """PEFT imports it in any case. When it is imported it has torch's compiler, 500 modules, take
    in four functions of processors without its own library and of its optimizers."""
    before = os.environ.get(NO_COMPILER)
    os.environ[NO_COMPILER] = "1"
    try:
        with suppress(ImportError):  # PEFT does without it
            import bitsandbytes  # noqa: F401
    finally:
        if before is None:
            del os.environ[NO_COMPILER]
        else:
            os.environ[NO_COMPILER] = before
