"""A model with the quicker parts of fused.py and blocks.py, which can be taken out again.

Each part is held against the base's own where it is made. Here the model is, as a whole: a fault
that is small in one part may be large behind all of them, and what was trained through it would be
worth nothing in the model as everybody else computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .blocks import fuse_blocks
from .fused import ATTENTION, Replaced, fuse_attention, fuse_norms

FAR = 0.1
"""How far the states of a row may lie from those of the base's own code, by their norms: rounding
moves them by a hundredth, another function by far more."""


class Quick:
    """`model` in bf16, quicker from here on until `take_out`; as it came where that is not sound.

    `ids` is a row to try it on. `apart` says whether the model has to be told where rows begin (see
    `fuse_attention`).
    """

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        self.model, self.apart = model, False
        self.attention = model.config._attn_implementation
        self.replaced = Replaced(model)
        due = self._states(ids)
        fuse_norms(model, torch.bfloat16, self.replaced)
        self.apart = fuse_attention(model)
        fuse_blocks(model, torch.bfloat16, self.replaced)
        if not float((self._states(ids) - due).norm()) <= FAR * float(due.norm()):
            self.take_out()
            self.replaced, self.apart = Replaced(model), False

    def put_in(self) -> None:
        if self.apart:
            self.model.set_attn_implementation(ATTENTION)
        self.replaced.put_in()

    def take_out(self) -> None:
        """The model is as it came from here on."""
        self.replaced.take_out()
        if self.apart:
            self.model.set_attn_implementation(self.attention)

    @torch.no_grad()
    def _states(self, ids: Sequence[int]) -> torch.Tensor:
        """What the decoder makes of a row, (n, d) in fp32."""
        device, training = self.model.device, self.model.training
        edges = torch.tensor([0, len(ids)], device=device, dtype=torch.int32)
        rows = {"cu_seq_lens_q": edges, "max_length_q": len(ids)} if self.apart else {}
        self.model.eval()
        with torch.autocast(device.type, torch.bfloat16):
            out = self.model.get_decoder()(
                input_ids=torch.tensor([list(ids)], device=device),
                position_ids=torch.arange(len(ids), device=device)[None],
                use_cache=False,
                **rows,
            )
        self.model.train(training)
        states: torch.Tensor = out.last_hidden_state[0].float()
        return states
