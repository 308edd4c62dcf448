"""The output head of a model, where its logits are nothing but hidden state times weight."""

from __future__ import annotations

from typing import Any


def frozen_head(model: Any) -> tuple[Any, float] | None:
    """The head's weight and soft cap, where the model's logits are just that; else None."""
    import torch

    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear or head.bias is not None or head.weight.requires_grad:
        return None
    config = model.config.get_text_config()
    for odd in ("logit_scale", "logits_scaling", "output_multiplier", "lm_head_multiplier"):
        if getattr(config, odd, None) not in (None, 1, 1.0):
            return None
    return head.weight, float(getattr(config, "final_logit_softcapping", None) or 0.0)
