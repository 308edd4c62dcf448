"""weights: a base model by name -> model and tokenizer. The only place that loads either.

Knows nothing of FAQs, training or answers. torch and transformers are imported when a model
is loaded, not before.
"""

import logging
from pathlib import Path
from typing import Any

from . import warm
from .adapters import WEIGHTS, Adapter, Adapters
from .embedded import cache_folder, to_stderr
from .head import frozen_head
from .libraries import few_threads, import_libraries
from .loader import (
    Loaded,
    counter_ahead,
    fetch,
    load,
    load_tokenizer,
    local_counter,
    read_ahead,
    tokenizer_of,
)
from .saving import save_tokenizer
from .sentences import sentence_encoder
from .sliced import layers_of
from .states import last_states, states_at
from .warm import Warm


def gguf_head(path: Path) -> Any:
    """What stands at the head of a GGUF file: `gguf.GGUFReader`, without the elements of arrays.

    Raises ValueError for what is no GGUF file, OSError for what cannot be read.
    """
    from .gguf_reading import Head

    return Head(path)


# On some processors it asks for a kernel of the model hub's, and warns that it does without.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

__all__ = [
    "WEIGHTS",
    "Adapter",
    "Adapters",
    "Loaded",
    "Warm",
    "cache_folder",
    "counter_ahead",
    "fetch",
    "few_threads",
    "frozen_head",
    "gguf_head",
    "import_libraries",
    "last_states",
    "layers_of",
    "load",
    "load_tokenizer",
    "local_counter",
    "read_ahead",
    "save_tokenizer",
    "sentence_encoder",
    "states_at",
    "to_stderr",
    "tokenizer_of",
    "warm",
]
