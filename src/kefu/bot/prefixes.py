"""States of sequences that begin alike, where the beginnings are read once.

A row of an FAQ is four times as long as a question about it. What attention needs of a row, its
keys and values in each layer, is kept, so that a question costs its own tokens only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

ROOM = 96 * 2**20
"""Bytes that are kept: about 60 rows of an FAQ with a base of 270M parameters."""
TOGETHER = {"cpu": 16, "cuda": 256}
"""Sequences that are computed side by side."""
Kept = list[tuple[torch.Tensor, torch.Tensor]]
"""For each layer keys and values (heads, tokens, d) of one beginning, in half precision."""


class Prefixes:
    """The beginnings that one model, with one adapter, has read. Those that were not used for the
    longest time give way."""

    def __init__(self, room: int = ROOM) -> None:
        self.room, self.bytes = room, 0
        self._kept: OrderedDict[tuple[int, ...], Kept] = OrderedDict()

    def states(
        self,
        model: Any,
        openings: Sequence[Sequence[int]],
        closings: Sequence[Sequence[int]],
        device: str,
    ) -> torch.Tensor:
        """The decoder's last state after each opening with its closing, (n, d) in float32."""
        both = [(tuple(first), last) for first, last in zip(openings, closings, strict=True)]
        size = TOGETHER["cuda" if device.startswith("cuda") else "cpu"]
        parts = [both[start : start + size] for start in range(0, len(both), size)]
        return torch.cat([self._some(model, part, device) for part in parts])

    @torch.inference_mode()
    def _some(
        self, model: Any, both: Sequence[tuple[tuple[int, ...], Sequence[int]]], device: str
    ) -> torch.Tensor:
        from transformers import DynamicCache

        keys, closings = [key for key, _ in both], [last for _, last in both]
        kept = self._beginnings(model, list(dict.fromkeys(keys)), device)
        before, after = max(map(len, keys)), max(map(len, closings))
        past, dtype = DynamicCache(), next(model.parameters()).dtype
        for layer in range(len(kept[keys[0]])):
            states = (
                torch.stack([_left(kept[key][layer][which], before) for key in keys])
                for which in (0, 1)
            )
            past.update(*(part.to(device, dtype) for part in states), layer)
        ids = [[*ids, *[0] * (after - len(ids))] for ids in closings]
        seen = [
            [0] * (before - len(key)) + [1] * (len(key) + len(own)) + [0] * (after - len(own))
            for key, own in zip(keys, closings, strict=True)
        ]
        places = [list(range(len(key), len(key) + after)) for key in keys]
        out = model.get_decoder()(
            input_ids=torch.tensor(ids, device=device),
            attention_mask=torch.tensor(seen, device=device),
            position_ids=torch.tensor(places, device=device),
            past_key_values=past,
            use_cache=True,
        ).last_hidden_state
        ends = torch.tensor([len(ids) - 1 for ids in closings], device=device)
        found: torch.Tensor = out[torch.arange(len(keys), device=device), ends].float()
        return found

    def _beginnings(
        self, model: Any, keys: Sequence[tuple[int, ...]], device: str
    ) -> dict[tuple[int, ...], Kept]:
        """What is kept of each beginning, those that are new among them."""
        new = [key for key in keys if key not in self._kept]
        if new:
            made = _read(model, new, device)
            self._kept.update(zip(new, made, strict=True))
            self.bytes += sum(map(_bytes, made))
        found = {key: self._kept[key] for key in keys}
        for key in keys:
            self._kept.move_to_end(key)
        while self.bytes > self.room and len(self._kept) > 1:
            self.bytes -= _bytes(self._kept.popitem(last=False)[1])
        return found


def _read(model: Any, keys: Sequence[tuple[int, ...]], device: str) -> list[Kept]:
    """Reads beginnings side by side, padded on the right, where a causal model does not look."""
    from transformers import DynamicCache

    width = max(map(len, keys))
    ids = torch.tensor([[*key, *[0] * (width - len(key))] for key in keys], device=device)
    past = DynamicCache()
    model.get_decoder()(input_ids=ids, past_key_values=past, use_cache=True)
    layers = [(layer.keys.half(), layer.values.half()) for layer in past.layers]
    return [
        [(k[n, :, : len(key)].clone(), v[n, :, : len(key)].clone()) for k, v in layers]
        for n, key in enumerate(keys)
    ]


def _left(values: torch.Tensor, width: int) -> torch.Tensor:
    """Padded on the left to `width` tokens (heads, width, d)."""
    return torch.nn.functional.pad(values, (0, 0, width - values.shape[1], 0))


def _bytes(kept: Kept) -> int:
    return int(sum(k.nbytes + v.nbytes for k, v in kept))
