"""Qwen-7B's own checkpoint (`model_type: qwen`) -> the same model as a Qwen2 folder, made once.

The mapping renames and splits tensors and computes nothing, so that it is exact: `c_attn` holds
q, k and v one after the other; of the two MLP inputs `w2` goes through SiLU and is the gate, and
`w1` is "up". Source: the model's published description (Qwen technical report, 2023, section 2.3;
its config and module names). Shards are read and written one by one, so a 7B needs the memory of
one shard. `use_dynamic_ntk` and `use_logn_attn` matter only beyond `seq_length`; that is where
the mapped model's positions end.

Runs no code of the checkpoint, and does not read pickles.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from ..errors import BaseError
from .embedded import Say, cache_folder

if TYPE_CHECKING:
    from ..plan.bases import Base

LAYOUT = 1
"""Of the mapped folder: a cache of another layout is not used."""
RANKS = "qwen.tiktoken"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205)))
"""Tokens that follow the ranks, in this order."""
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where a text is cut before bytes are joined: a fact of the format, published with it."""
_NAMES = {
    "attn.c_proj.weight": ("self_attn.o_proj.weight",),
    "mlp.w1.weight": ("mlp.up_proj.weight",),
    "mlp.w2.weight": ("mlp.gate_proj.weight",),
    "mlp.c_proj.weight": ("mlp.down_proj.weight",),
    "ln_1.weight": ("input_layernorm.weight",),
    "ln_2.weight": ("post_attention_layernorm.weight",),
    **{
        f"attn.c_attn.{part}": tuple(f"self_attn.{x}_proj.{part}" for x in "qkv")
        for part in ("weight", "bias")
    },
}
_OUTER = {
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.ln_f.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}
_BUFFERS = re.compile(r"(rotary_emb\.inv_freq|attn\.(masked_)?bias)$")
"""Tables that some checkpoints hold beside their weights; transformers computes them."""


def is_qwen1(base: Base) -> bool:
    """Whether this base is in Qwen-7B's own format."""
    return base.shape.model_type == "qwen"


def mapped_folder(source: Path) -> Path:
    """Where the mapped model of the checkpoint in `source` is, or will be.

    Named by the sizes and times of its files: a checkpoint that changed is mapped anew.
    """
    digest = hashlib.sha256(str(source.resolve()).encode())
    for path in (source / "config.json", source / RANKS, *sorted(source.glob("*.safetensors"))):
        if path.is_file():
            state = path.stat()
            digest.update(f"{path.name}:{state.st_size}:{state.st_mtime_ns}\n".encode())
    return cache_folder() / "bases" / f"qwen1-{digest.hexdigest()[:16]}-{LAYOUT}"


def as_qwen2(source: Path, say: Say) -> Path:
    """The folder of the Qwen2 model that the checkpoint in `source` is, mapped now if needed.

    Raises BaseError where the checkpoint is incomplete, pickled, or not what its config says.
    """
    folder = mapped_folder(source)
    if folder.is_dir():
        return folder
    shards = _shards(source)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                say(f"mapping {source.name} onto Qwen2 once (a minute or two for a 7B)")
                _map(source, shards, folder)
    except OSError as error:
        raise BaseError(
            f"The base {source} cannot be mapped into {folder}: {error}.",
            "It needs as much room as its weights. Set KEFU_CACHE to a folder with more room.",
        ) from None
    return folder


def downloaded(name: str) -> Path:
    """The folder of a Qwen-7B of the hub, its weights, config and ranks only; no code."""
    from huggingface_hub import snapshot_download

    wanted = ["*.safetensors", "*.safetensors.index.json", "config.json", RANKS]
    return Path(snapshot_download(name, allow_patterns=wanted))


def _shards(source: Path) -> tuple[Path, ...]:
    index = source / "model.safetensors.index.json"
    found = tuple(sorted(source.glob("*.safetensors")))
    if index.is_file():
        try:
            named = sorted(
                set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            )
        except (ValueError, KeyError, AttributeError):
            raise BaseError(f"{index} cannot be read.", "Fetch the model again.") from None
        missing = [n for n in named if not (source / n).is_file()]
        if missing:
            raise BaseError(
                f"The base {source} lacks {', '.join(missing)}.", "Fetch the missing files."
            )
        return tuple(source / n for n in named)
    if found:
        return found
    if any(source.glob("*.bin")):
        raise BaseError(
            f"The weights of {source} are pickled (.bin), and a pickle can run code when it is "
            "read; kefu does not read it.",
            "Fetch the model's safetensors files, or convert: load each .bin with "
            "`torch.load(FILE, weights_only=True)` and write it with "
            "`safetensors.torch.save_file(tensors, NAME)`.",
        )
    raise BaseError(f"The folder {source} holds no safetensors file.", "Fetch the model again.")


def config_of(theirs: dict[str, Any]) -> Any:
    """Their config in Qwen2's words. Raises BaseError where Qwen2 has no word for it."""
    from transformers import Qwen2Config

    if not theirs.get("no_bias", True):
        raise BaseError(
            "This Qwen has biases on its output projections (`no_bias` is false), which the "
            "Qwen2 architecture has no place for.",
            "Take Qwen/Qwen-7B as it was published, or a Qwen2 or Qwen3 base.",
        )
    if float(theirs.get("rotary_pct", 1.0)) != 1.0:
        raise BaseError(
            f"This Qwen turns only a part of each head (`rotary_pct` is {theirs['rotary_pct']}).",
            "Take Qwen/Qwen-7B as it was published, or a Qwen2 or Qwen3 base.",
        )
    heads = theirs["num_attention_heads"]
    return Qwen2Config(
        vocab_size=theirs["vocab_size"],
        hidden_size=theirs["hidden_size"],
        intermediate_size=theirs["intermediate_size"] // 2,  # theirs counts w1 and w2 together
        num_hidden_layers=theirs["num_hidden_layers"],
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=theirs.get("kv_channels") or theirs["hidden_size"] // heads,
        max_position_embeddings=theirs.get("seq_length", 2048),
        rms_norm_eps=theirs.get("layer_norm_epsilon", 1e-6),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": float(theirs.get("rotary_emb_base", 10000)),
        },
        use_sliding_window=False,
        tie_word_embeddings=bool(theirs.get("tie_word_embeddings", False)),
        bos_token_id=None,
        eos_token_id=None,
    )


def renamed(name: str) -> tuple[str, ...]:
    """Qwen2's names for a tensor: three where it is to be split into equal parts along axis 0.

    None at all for a table that is computed anew; KeyError for a tensor that Qwen-7B does not have.
    """
    if name in _OUTER:
        return (_OUTER[name],)
    found = re.fullmatch(r"transformer\.h\.(\d+)\.(.+)", name)
    if found and found[2] in _NAMES:
        return tuple(f"model.layers.{found[1]}.{new}" for new in _NAMES[found[2]])
    if _BUFFERS.search(name):
        return ()
    raise KeyError(name)


def _tensors(path: Path) -> Iterator[tuple[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dict)
                new = renamed(name)
                if new:
                    # Copies: tensors that share their memory are not written.
                    parts = [part.clone() for part in file.get_tensor(name).chunk(len(new))]
                    yield from zip(new, parts, strict=True)
    except KeyError as error:
        raise BaseError(
            f"{path.name} holds a tensor {error}, which a Qwen-7B does not have.",
            "Name a folder with Qwen-7B as it was published; a quantised copy does not do.",
        ) from None
    except SafetensorError as error:
        raise BaseError(f"{path} cannot be read: {error}.", "Fetch that file again.") from None


def _map(source: Path, shards: tuple[Path, ...], folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, GenerationConfig

    words = tokenizer_of(source / RANKS)
    try:
        config = config_of(json.loads((source / "config.json").read_text(encoding="utf-8")))
    except (KeyError, ValueError, TypeError) as error:
        raise BaseError(
            f"The config.json of {source} is not a Qwen-7B's: {error}.", "Fetch the model again."
        ) from None
    config.eos_token_id = words.eos_token_id
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        wanted.pop("lm_head.weight")
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        places: dict[str, str] = {}
        for number, shard in enumerate(shards, start=1):
            name = f"model-{number:05}-of-{len(shards):05}.safetensors"
            held = {n: t for n, t in _tensors(shard) if n in wanted}
            for n, tensor in held.items():
                if tuple(tensor.shape) != wanted[n]:
                    raise BaseError(
                        f"In {shard.name} the tensor for {n} has the shape {tuple(tensor.shape)}; "
                        f"by config.json it is {wanted[n]}.",
                        "config.json and weights are of different models: fetch both again.",
                    )
                config.dtype = tensor.dtype
            save_file(held, work / name, metadata={"format": "pt"})
            places |= dict.fromkeys(held, name)
        absent = sorted(wanted.keys() - places.keys())
        if absent:
            raise BaseError(
                f"The base {source} lacks {len(absent)} of its {len(wanted)} tensors, "
                f"{absent[0]} for one.",
                "Fetch the model again, all shards of it.",
            )
        index = {"metadata": {}, "weight_map": places}
        (work / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
        config.architectures = ["Qwen2ForCausalLM"]
        config.save_pretrained(work)
        GenerationConfig(eos_token_id=words.eos_token_id).save_pretrained(work)
        words.save_pretrained(work)
        work.replace(folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def tokenizer_of(ranks: Path) -> Any:
    """The tokenizer that a file of `base64 rank` lines describes, with Qwen's special tokens.

    tiktoken joins any two neighbours whose union has a rank, the lowest rank first; as merges that
    is every way to cut every token in two, by the rank of the whole.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
    from tokenizers import pre_tokenizers as cut
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    known = _ranks(ranks)
    letters = bytes_to_unicode()

    def spelt(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = []
    for token in sorted(known, key=known.__getitem__):
        halves = ((token[:i], token[i:]) for i in range(1, len(token)))
        both = [(a, b) for a, b in halves if a in known and b in known]
        both.sort(key=lambda ab: (known[ab[0]], known[ab[1]]))
        merges += [(spelt(a), spelt(b)) for a, b in both]
    made = Tokenizer(
        models.BPE({spelt(t): rank for t, rank in known.items()}, merges, ignore_merges=True)
    )
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = cut.Sequence(
        [
            cut.Split(Regex(WORDS), behavior="isolated"),
            cut.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=SPECIAL[0], clean_up_tokenization_spaces=False
    )


def _ranks(path: Path) -> dict[bytes, int]:
    try:
        lines = [line.split() for line in path.read_bytes().splitlines() if line.strip()]
        found = {base64.b64decode(token, validate=True): int(rank) for token, rank in lines}
    except FileNotFoundError:
        raise BaseError(
            f"The base {path.parent} holds no {RANKS}, its tokenizer.", "Fetch that file too."
        ) from None
    except (ValueError, binascii.Error):
        raise BaseError(
            f"{path} is no list of tokens and ranks.", "Fetch that file again."
        ) from None
    # The special tokens follow the ranks: a gap would shift every one of them.
    whole = sorted(found.values()) == list(range(len(found)))
    if not whole or any(bytes([b]) not in found for b in range(256)):
        raise BaseError(f"{path} is incomplete.", "Fetch that file again.")
    return found
