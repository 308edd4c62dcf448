"""load(): the only from_pretrained of kefu.

Where a base comes from (package, folder, hub) and in which precision its frozen weights are
kept is decided here and nowhere else.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ..errors import BaseError
from ..plan.bases import Base, offline, resolve
from ..records import Precision
from . import ahead
from .adapters import WEIGHTS, damaged
from .embedded import Say, converted, folder_of, to_stderr
from .libraries import few_threads, import_libraries, uncollected
from .qwen1 import as_qwen2, downloaded, is_qwen1, mapped_folder
from .sliced import device_map, not_dispatched

_counted: dict[str, Any] = {}
"""Tokenizers of bases that something was counted with, by name, until `load` takes them."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model (a PEFT model when an adapter was asked for), its tokenizer, and where it lies."""

    model: Any
    tokenizer: Any
    device: str
    place: str


def place_of(base: Base, say: Say = to_stderr) -> str:
    """What transformers is given for this base: a folder or a hub id."""
    if base.kind == "embedded":
        return str(converted(base, say))
    if is_qwen1(base):
        folder = Path(base.name).expanduser() if base.kind == "folder" else downloaded(base.name)
        return str(as_qwen2(folder, say))
    if base.kind == "folder":
        return str(Path(base.name).expanduser())
    return base.name


def load_tokenizer(name: str, *, trust_remote_code: bool = False, say: Say = to_stderr) -> Any:
    """The tokenizer of a base, with a padding token that is not the terminator's doing."""
    from transformers import AutoConfig, AutoTokenizer

    base = resolve(name)
    with _said(base, trust_remote_code):
        place = place_of(base, say)
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=trust_remote_code)
        if tokenizer.eos_token_id is None:  # some say it in their config alone
            config = AutoConfig.from_pretrained(place, trust_remote_code=trust_remote_code)
            ends = config.get_text_config().eos_token_id
            end = ends[0] if isinstance(ends, list) and ends else ends
            if isinstance(end, int):
                tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def fetch(name: str, say: Say = to_stderr) -> None:
    """Sees that a base is on this machine; fetches one of a hub that has its weights in one file.

    Raises BaseError where it is not and cannot be had.
    """
    from transformers.utils import cached_file

    base = resolve(name)
    with _said(base, False):
        place = place_of(base, say)
        weights = sorted(p.name for p in Path(place).glob("*.safetensors"))
        for file in ("tokenizer.json", *(weights or ["model.safetensors"])):
            cached_file(place, file)


def load(
    name: str,
    *,
    precision: Precision = "bf16",
    compute: str = "bf16",
    unpacked: bool = False,
    device: str = "cpu",
    turn: tuple[int, int] | None = None,
    adapter: Path | None = None,
    trust_remote_code: bool = False,
    say: Say = to_stderr,
) -> Loaded:
    """A base in `precision`, with the adapter in `adapter` on it where one is named.

    `compute` is the dtype of the arithmetic of a 4-bit base ("bf16", "fp16" or "fp32"). With
    `unpacked` a 4-bit base is turned into plain matrices of that dtype at once: the same numbers
    as bitsandbytes unpacks in every step, so the same losses, faster, in more memory. Where memory
    is too short for that it stays packed. With `turn` (rank, world) only every world-th layer is
    loaded, from the rank-th on, and the others have no memory.
    Raises BaseError when the base does not exist, cannot be reached or does not fit, RunError when
    the adapter is not there. Only safetensors are read, of either.
    """
    import_libraries(lambda: read_ahead(name, device))
    import torch

    base = resolve(name)
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "device_map": {"": device}}
    options["use_safetensors"] = True  # a pickle can run code when it is read
    if precision == "nf4":
        from transformers import BitsAndBytesConfig

        options["dtype"] = dtypes[compute]
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtypes[compute],
        )
    else:
        options["dtype"] = dtypes[precision]
    with _quiet_bars(), _said(base, trust_remote_code):
        place = place_of(base, say)
        if turn is None:
            model = _fitting(
                base, precision, device, lambda: _from(place, options, ahead.taken(place, device))
            )
        else:
            options["device_map"] = device_map(place, device, *turn, trust_remote_code)
            with not_dispatched():
                model = _fitting(base, precision, device, lambda: _from(place, options))
        if unpacked and precision == "nf4":
            packed, model = model, _unpacked(model, dtypes[compute], say)
            if model is None:
                del packed  # half of it is unpacked, and in the way
                model = _fitting(base, precision, device, lambda: _from(place, options))
    tokenizer = _counted.pop(name, None) if adapter is None and not trust_remote_code else None
    if tokenizer is None:
        tokenizer = tokenizer_of(name, adapter, trust_remote_code=trust_remote_code, say=say)
    if adapter is not None:
        from peft import PeftModel

        if not (adapter / WEIGHTS).is_file():  # PEFT would look for a pickle
            raise damaged(adapter, f"it has no {WEIGHTS}")
        with few_threads():
            model = PeftModel.from_pretrained(model, str(adapter))
        model.eval()
    return Loaded(model, tokenizer, device, place)


def read_ahead(name: str, device: str) -> None:
    """Begins to read a base that lies on this machine onto a GPU; `load` takes it from there.

    Not one of a hub: which of its versions is meant is asked over the network, by who loads it. Nor
    in one process of several, each of which has a card of its own.
    """
    of_hub = name.count("/") == 1 and not Path(name).is_dir()
    if of_hub or not device.startswith("cuda") or "LOCAL_RANK" in os.environ:
        return
    folder = _lying(resolve(name))
    if folder is not None:
        ahead.begin(folder, device)


@uncollected()
def tokenizer_of(
    name: str, adapter: Path | None, *, trust_remote_code: bool = False, say: Say = to_stderr
) -> Any:
    """The tokenizer that lies beside an adapter, else that of the base `name`."""
    from transformers import AutoTokenizer

    if adapter is not None and (adapter / "tokenizer_config.json").is_file():
        return AutoTokenizer.from_pretrained(str(adapter))
    return load_tokenizer(name, trust_remote_code=trust_remote_code, say=say)


def local_counter(name: str) -> Callable[[str], int] | None:
    """The base's own token counter where its tokenizer lies on this machine; without torch."""
    folder = _lying(resolve(name))
    if folder is None:
        return None
    path = folder / "tokenizer.json"
    return _counter(path, path.stat().st_mtime_ns) if path.is_file() else None


@uncollected()
def counter_ahead(name: str, device: str) -> Callable[[str], int] | None:
    """As `local_counter`, for who loads the base onto `device` next: counts with the tokenizer that
    `load` takes over then, as a large one takes a second to read. With torch."""
    import_libraries(lambda: read_ahead(name, device))
    folder = _lying(resolve(name))
    if folder is None or not (folder / "tokenizer.json").is_file():
        return None
    _counted[name] = tokenizer_of(name, None)
    gc.freeze()  # all of this stays: Python would go through it when it looks for garbage again
    return _counting(_counted[name].backend_tokenizer)


def _lying(base: Base) -> Path | None:
    """Where a base lies, or will lie, on this machine; None for one of a hub."""
    if base.kind == "hub":
        return None
    if base.kind == "embedded":
        try:
            return folder_of(base)
        except BaseError:  # its package is not here
            return None
    folder = Path(base.name).expanduser()
    return mapped_folder(folder) if is_qwen1(base) else folder


@lru_cache(maxsize=2)
def _counter(path: Path, written: int) -> Callable[[str], int]:
    """Of one tokenizer.json, `written` at that time; a large one takes a second to read."""
    from tokenizers import Tokenizer

    return _counting(Tokenizer.from_file(str(path)))


def _counting(tokenizer: Any) -> Callable[[str], int]:
    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return count


def _from(place: str, options: dict[str, Any], read: dict[str, Any] | None = None) -> Any:
    """The model in `place`, of the tensors that were `read` of it ahead where there are some."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING as KINDS
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    usual = partial(AutoModelForCausalLM.from_pretrained, place, **options)
    if not read or options["trust_remote_code"]:
        return usual()
    config = AutoConfig.from_pretrained(place)
    kind = KINDS.get(type(config), None)
    if kind is None or config.get_text_config() is not config:  # a part of a larger model
        return usual()
    if (Path(place) / "generation_config.json").is_file():
        options = {**options, "generation_config": GenerationConfig.from_pretrained(place)}
    model = kind.from_pretrained(None, config=config, state_dict=read, **options)
    model.name_or_path = model.config.name_or_path = place  # an adapter names its base by it
    return model


def _unpacked(model: Any, dtype: Any, say: Say) -> Any:
    """The 4-bit model with plain matrices; None where memory is too short for it."""
    import torch

    try:
        return model.dequantize(dtype)
    except torch.OutOfMemoryError:
        say("Memory is too short to unpack the 4-bit base: it stays packed, and steps take longer.")
    return None


def _fitting(base: Base, precision: Precision, device: str, work: Callable[[], Any]) -> Any:
    """What `work` loads. Raises BaseError, with what may fit, where memory is too short for it."""
    import torch

    try:
        return work()
    except (torch.OutOfMemoryError, MemoryError):
        pass
    except RuntimeError as error:
        if "out of memory" not in str(error).lower() and "can't allocate" not in str(error):
            raise
    packed = (
        "load it with --precision nf4, or "
        if device.startswith("cuda") and precision != "nf4"
        else ""
    )
    raise BaseError(
        f"The memory of {device} is too short to load {base.name} in {precision}.",
        f"Close what else uses it, {packed}take a smaller model with --base; "
        "`kefu plan --base NAME` says what each needs.",
    )


@contextmanager
def _quiet_bars() -> Iterator[None]:
    from transformers.utils import logging

    was = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was:
            logging.enable_progress_bar()


@contextmanager
def _said(base: Base, trusted: bool) -> Iterator[None]:
    """Turns what transformers raises for a bad base into a sentence with its remedy."""
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" in str(error) and not trusted:
            raise BaseError(
                f"The base {base.name} brings Python code of its own, which kefu does not run "
                "unasked.",
                "Read that code, then set `trust_remote_code = true` in kefu.toml. " + offline(),
            ) from None
        raise BaseError(
            f"The base {base.name} cannot be loaded: {_first(error)}.", offline()
        ) from None
    except (OSError, ImportError, KeyError, RuntimeError, EOFError, SafetensorError) as error:
        if "out of memory" in str(error).lower():
            raise BaseError(
                f"The base {base.name} needs more memory than there is.",
                "Close what else uses it, take --precision nf4 or a smaller base. One that was "
                "trained over several GPUs opens where one GPU holds it.",
            ) from None
        raise BaseError(
            f"The base {base.name} cannot be loaded: {_first(error)}.",
            f"Check its name and the network. {offline()}",
        ) from None


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
