"""How far a base's quicker parts lie from its own code, and what an older rule made of its norms.

    python bench/norms.py [--base gemma-3-270m]

On a processor, where norms alone are replaced (attention and kernels need a GPU). One JSON line:
norms replaced, the loss of a sentence by the base's own code and with them, how far the states lie
apart by their norms, and the same by the rule of before 29 November 2026, which took the first form
of a norm that lay within 2 % of the largest number (LOG.md, "Half of Gemma's norms").
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch

from kefu.train.fused import NEAR, Norm, Replaced, fuse_norms
from kefu.weights import load

SENTENCE = "商品的保固期是多長？本店商品提供一年免費保固，保固期內若有品質問題，免費維修或更換。"
HALF = torch.bfloat16


def older(model: Any, replaced: Replaced, now: dict[str, torch.Tensor]) -> int:
    """Replaces norms by the older rule; how many of them have another weight than `now`."""
    other = 0
    for name, module in list(model.named_modules()):
        weight = getattr(module, "weight", None)
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if not type(module).__name__.endswith("RMSNorm") or eps is None or weight is None:
            continue
        x = torch.randn(16, weight.numel(), generator=torch.Generator().manual_seed(0)).to(HALF)
        due = module(x)
        both = [Norm(scale.to(HALF), eps) for scale in (weight, 1.0 + weight.float())]
        apart = [(due - norm(x)).abs().float() for norm in both]
        taken = next(i for i, d in enumerate(apart) if d.max() <= NEAR * due.abs().max())
        other += not torch.equal(both[taken].weight, now[name])
        replaced.add(name, module, both[taken])
    return other


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="gemma-3-270m")
    loaded = load(parser.parse_args().base, precision="bf16")
    model = loaded.model.requires_grad_(False)
    ids = torch.tensor([loaded.tokenizer.encode(SENTENCE)])

    def said() -> tuple[float, torch.Tensor]:
        states = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        return float(model(input_ids=ids, labels=ids).loss), states.float()

    loss, due = said()
    line: dict[str, Any] = {"loss": round(loss, 2)}
    for rule in ("now", "older"):
        replaced = Replaced(model)
        if rule == "now":
            fuse_norms(model, HALF, replaced)
            weights = {name: own.weight for name, _, own in replaced.parts}
            line["norms"] = len(weights)
        else:
            line["norms_of_another_form"] = older(model, replaced, weights)
        loss, states = said()
        line |= {
            f"loss_{rule}": round(loss, 2),
            f"apart_{rule}": round(float((states - due).norm() / due.norm()), 4),
        }
        replaced.take_out()
    print(json.dumps(line))


if __name__ == "__main__":
    main()
