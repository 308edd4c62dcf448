"""Makes the warm adapter again: a base learns from the corpus of intents what one thing is.

    python bench/warm.py --out FOLDER [--all] [--steps 60] [--batch 512] [--rank 16] …

Supervised contrast over `bench/intents` on the state where the answer begins, in kefu's own prompt:
wordings of one intent and its answer together, all other intents and the near-misses apart. A batch
holds whole topics, so that siblings are each other's counter-examples. Without --all every fifth
topic is kept aside (`dealt`) and judged in pseudo-FAQs of about 40 intents with 4 wordings and the
answer in the index, the other wordings and the near-misses asked. Prints one JSON line a judgement;
writes the adapter to --out, in bf16. --corpus reads the blocks of a folder instead of kefu's own.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from intents import Intent, dealt, intents, parse
from kefu.weights.warm import start
from packing import auc, kept

BASE = "gemma-3-270m"
MATRICES = [f"{m}_proj" for m in ("q", "k", "v", "o", "gate", "up", "down")]
PARTS, ASIDE = 5, 0
INDEXED, FAQ_SIZE = 4, 40


def corpus(folder: Path | None) -> tuple[Intent, ...]:
    if folder is None:
        return intents()
    return tuple(
        i for f in sorted(folder.glob("*.txt")) for i in parse(f.read_text("utf-8"), f.name)
    )


def pseudo_faqs(aside: Sequence[Intent], size: int = FAQ_SIZE) -> list[list[Intent]]:
    """FAQs of about `size` intents, of whole topics."""
    topics: dict[str, list[Intent]] = {}
    for intent in aside:
        topics.setdefault(intent.topic, []).append(intent)
    faqs: list[list[Intent]] = [[]]
    for topic in sorted(topics, key=lambda t: random.Random(t).random()):
        if len(faqs[-1]) >= size:
            faqs.append([])
        faqs[-1] += topics[topic]
    if len(faqs) > 1 and len(faqs[-1]) < size // 2:
        faqs[-2] += faqs.pop()
    return faqs


def indexed(intent: Intent) -> tuple[list[str], list[str]]:
    """(the wordings that an owner would give, those that customers ask)."""
    first, *rest = intent.wordings
    random.Random(first).shuffle(rest)
    return [first, *rest[: INDEXED - 1]], rest[INDEXED - 1 :]


def cheapest_cut(lengths: Sequence[int]) -> int:
    """Where to cut rising lengths, so that two portions padded to their longest are smallest."""
    n = len(lengths)
    return min(range(n), key=lambda i: i * lengths[i - 1] + (n - i) * lengths[-1])


class Reader:
    """The base with an adapter, and the states where answers begin."""

    def __init__(self, said: argparse.Namespace) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import set_seed

        from kefu.prompt import Prompt
        from kefu.weights import load

        self.device = "cuda:0" if torch.cuda.is_available() else "cpu"
        loaded = load(said.base, precision="bf16", device=self.device)
        self.prompt = Prompt(loaded.tokenizer, "plain")
        set_seed(said.seed)
        targets: Any = "all-linear"
        layers = list(range(said.layers)) if said.layers else None
        if layers or said.targets:
            targets = said.targets or MATRICES
        config = LoraConfig(
            r=said.rank,
            lora_alpha=2 * said.rank,
            lora_dropout=said.dropout,
            target_modules=targets,
            layers_to_transform=layers,
            task_type="CAUSAL_LM",
        )
        self.model = get_peft_model(loaded.model, config)
        self.inner = self.model.get_base_model()
        self._ids: dict[str, list[int]] = {}

    def states(self, texts: Sequence[str]) -> torch.Tensor:
        """(n, d) in float32. In two portions by length: answers are far longer than questions."""
        rows = [self._ids.setdefault(t, self.prompt.ids(t)) for t in texts]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        cut = cheapest_cut([len(rows[i]) for i in order])
        parts = [part for part in (order[:cut], order[cut:]) if part]
        found = torch.cat([self._padded([rows[i] for i in part]) for part in parts])
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return found[back.to(found.device)]

    def _padded(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Padded on the right, where a causal model does not look."""
        width = max(map(len, rows))
        width = -(-width // 8) * 8
        ids = torch.tensor([[*r, *[0] * (width - len(r))] for r in rows], device=self.device)
        at = torch.tensor([len(r) - 1 for r in rows], device=self.device)
        with torch.autocast(self.device.split(":")[0], torch.bfloat16):
            out = self.inner.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        return out[torch.arange(len(rows), device=self.device), at].float()

    @torch.no_grad()
    def all_states(self, texts: Sequence[str], size: int = 256) -> torch.Tensor:
        self.model.eval()
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found = torch.cat(
            [
                self.states([texts[i] for i in order[s : s + size]])
                for s in range(0, len(order), size)
            ]
        )
        back = torch.empty_like(found)
        back[torch.tensor(order, device=found.device)] = found
        self.model.train()
        return back


def judge(reader: Reader, faqs: Sequence[Sequence[Intent]]) -> dict[str, float]:
    """Nearest neighbours in the states: the share right, and how near-misses stand apart."""
    right, total = 0, 0
    sure: list[float] = []
    gap: list[float] = []
    wrong: list[float] = []
    near: list[float] = []
    near_gap: list[float] = []
    for faq in faqs:
        known, owners, asked, truth, misses = [], [], [], [], []
        for n, intent in enumerate(faq):
            first, rest = indexed(intent)
            first += [intent.answer] if intent.answer else []
            known += first
            owners += [n] * len(first)
            asked += rest
            truth += [n] * len(rest)
            misses += list(intent.near)
        states = reader.all_states([*known, *asked, *misses]).cpu()
        unit = torch.nn.functional.normalize(states - states[: len(known)].mean(0), dim=-1)
        index, rest_states = unit[: len(known)], unit[len(known) :]
        like = rest_states @ index.T
        best = torch.full((like.shape[0], len(faq)), -1.0).scatter_reduce(
            1, torch.tensor(owners).expand_as(like), like, "amax"
        )
        top = best.topk(2)
        first_of = top.indices[:, 0]
        margin = top.values[:, 0] - top.values[:, 1]
        n = len(asked)
        good = first_of[:n] == torch.tensor(truth)
        right += int(good.sum())
        total += n
        sure += top.values[:n, 0][good].tolist()
        gap += margin[:n][good].tolist()
        wrong += top.values[:n, 0][~good].tolist()
        near += top.values[n:, 0].tolist()
        near_gap += margin[n:].tolist()
    return {
        "right": round(100 * right / max(1, total), 1),
        "asked": total,
        "auc_near": round(auc(sure, near), 3),
        "auc_near_gap": round(auc(gap, near_gap), 3),
        "auc_wrong": round(auc(sure, wrong), 3),
        "kept_at_5": round(100 * kept(sure, near, 0.05) * right / max(1, total), 1),
    }


def batches(
    train: Sequence[Intent], size: int, each: int, dice: random.Random
) -> Iterator[tuple[list[str], list[int]]]:
    """Endless batches of about `size` questions of whole topics; near-misses belong to nobody."""
    topics: dict[str, list[int]] = {}
    for n, intent in enumerate(train):
        topics.setdefault(intent.topic, []).append(n)
    while True:
        groups = list(topics.values())
        dice.shuffle(groups)
        texts: list[str] = []
        owners: list[int] = []
        for group in groups:
            for n in group:
                intent = train[n]
                mine = dice.sample(intent.wordings, min(each, len(intent.wordings)))
                mine += [intent.answer] if intent.answer else []
                texts += mine
                owners += [n] * len(mine)
                texts += intent.near
                owners += [-1] * len(intent.near)
            if len(texts) >= size:
                yield texts, owners
                texts, owners = [], []


def contrast(
    states: torch.Tensor, owners: torch.Tensor, temperature: float, form: str, hard: float
) -> torch.Tensor:
    """`nearest`: at least one friend near, as train/contrast.py; `all`: every friend (Khosla)."""
    unit = torch.nn.functional.normalize(states, dim=-1)
    near = unit @ unit.T / temperature
    itself = torch.eye(len(owners), dtype=torch.bool, device=near.device)
    mine = owners >= 0
    friends = (owners.unsqueeze(1) == owners.unsqueeze(0)) & ~itself & mine.unsqueeze(1)
    if hard:  # near-misses weigh as if each stood there more than once
        near = near + hard * (~mine).float().unsqueeze(0)
    near = near.masked_fill(itself, -1e9)
    norm = torch.logsumexp(near, 1)
    if form == "nearest":
        good = torch.logsumexp(near.masked_fill(~friends, -1e9), 1)
    else:
        good = (near * friends).sum(1) / friends.sum(1).clamp_min(1)
    asked = friends.any(1)
    return (norm - good)[asked].mean()


def descend(
    loss: torch.Tensor, optimizer: torch.optim.Optimizer, said: argparse.Namespace, step: int
) -> None:
    """One optimizer step: the rate warms up for 6 % of the steps, and ends at zero by a cosine."""
    share = min(1.0, step / max(1, said.steps * 0.06))
    for group in optimizer.param_groups:
        group["lr"] = said.rate * share * 0.5 * (1 + math.cos(math.pi * step / said.steps))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def train(said: argparse.Namespace) -> None:
    everything = corpus(said.corpus)
    aside = [] if said.all else dealt(everything, PARTS)[ASIDE]
    kept_aside = {intent.topic for intent in aside}
    learnt = [i for i in corpus(said.learn or said.corpus) if i.topic not in kept_aside]
    faqs = pseudo_faqs(aside) if aside else []
    reader = Reader(said)
    if said.onward:
        start(reader.model, said.base)
    weights = [p for p in reader.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=said.rate, weight_decay=said.decay)
    dice = random.Random(said.seed)
    sample = [w for i in learnt for w in i.wordings[:2]]
    centre = reader.all_states(sample).mean(0)
    begun = time.monotonic()

    def tell(step: int, loss: float) -> None:
        line = {"name": said.name, "step": step, "loss": round(loss, 4)}
        line["seconds"] = round(time.monotonic() - begun)
        if faqs:
            line |= judge(reader, faqs)
        print(json.dumps(line, ensure_ascii=False), flush=True)

    tell(0, math.nan)
    feed = batches(learnt, said.batch, said.each, dice)
    mean = 0.0
    for step in range(1, said.steps + 1):
        texts, owners = next(feed)
        states = reader.states(texts) - centre
        who = torch.tensor(owners, device=states.device)
        loss = contrast(states, who, said.temperature, said.form, said.hard)
        descend(loss, optimizer, said, step)
        mean = float(loss.detach()) if step == 1 else 0.9 * mean + 0.1 * float(loss.detach())
        if step % said.every == 0 or step == said.steps:
            tell(step, mean)
    if said.out:
        save(reader, said)


def save(reader: Reader, said: argparse.Namespace) -> None:
    """PEFT's own form, in bf16, without this machine's path."""
    said.out.mkdir(parents=True, exist_ok=True)
    for p in reader.model.parameters():
        if p.requires_grad:
            p.data = p.data.to(torch.bfloat16)
    reader.model.save_pretrained(str(said.out))
    (said.out / "README.md").unlink(missing_ok=True)
    path = said.out / "adapter_config.json"  # for plain PEFT; kefu reads the matrices alone
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = said.base
    if isinstance(config.get("target_modules"), list):
        config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="warm")
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--learn", type=Path, help="learn from this folder, judge by --corpus")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--onward", action="store_true", help="from the adapter that kefu brings")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--each", type=int, default=8, help="wordings of an intent in a batch")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--layers", type=int, default=0, help="only the first so many layers")
    parser.add_argument("--targets", nargs="*")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--decay", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--temperature", type=float, default=0.05)
    parser.add_argument("--hard", type=float, default=0.0)
    parser.add_argument("--form", choices=("nearest", "all"), default="nearest")
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--seed", type=int, default=42)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
