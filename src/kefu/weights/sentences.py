"""A model that turns texts into vectors: only for the exam's control, never for the bot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import BaseError


def sentence_encoder(name: str, *, trust_remote_code: bool = False) -> Callable[..., Any]:
    """The callable of a sentence-transformers model: texts -> unit vectors (texts, d), float32.

    `name` is a folder or an id of the model hub. Raises BaseError without the package, and when
    there is no such model or it cannot be reached.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise BaseError(
            "`embedder` is set in kefu.toml, and the package sentence-transformers is not here.",
            "Install it: `pip install 'kefu[embedder]'`. Or take `embedder` out.",
        ) from None
    try:
        model = SentenceTransformer(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise BaseError(
            f"The sentence-transformers model {name} cannot be loaded: {error}",
            "Set `embedder` in kefu.toml to a folder that holds one, or take it out.",
        ) from None

    def encode(texts: Sequence[str]) -> Any:
        return model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)

    return encode
