"""Does it pay to end training early on held-out wordings?

    python bench/early_stop.py FAQ [--exam EXAM.jsonl] [--seeds 1] [--looks 6] [--allowed 0.02 1]

Trains once for each seed with looks at held-out wordings, but to the end, and keeps the adapter of
every look. Then the exam is put to evenly spread ones of them. Prints a JSON line an adapter: its
step, its share of held-out wordings, the loss, right and wrong on reworded questions; then, for
several patiences, where training would have ended and what its best adapter was worth beside the
last; and what the looks cost, as a share of the time between them. `--exam` as in bench/seeds.py.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faq", type=Path)
    parser.add_argument("--exam", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--looks", type=int, default=6, help="adapters that take the exam")
    parser.add_argument("--allowed", type=float, nargs="+", default=[0.02, 1])
    parser.add_argument("--thorough", default="normal")
    parser.add_argument("--base", default="gemma-3-270m")
    parser.add_argument("--work", type=Path, default=Path("bench-early"))
    said = parser.parse_args()
    for seed in said.seeds:
        one(said, seed)


def one(said: argparse.Namespace, seed: int) -> None:
    from kefu import jobs
    from kefu.bot import Bot, calibrate
    from kefu.plan import probe
    from kefu.records import Choice
    from kefu.settings import Settings
    from kefu.train.watch import Watch
    from kefu.workspace import Workspace

    workspace = Workspace(said.work / f"seed-{seed}")
    settings = Settings(seed=seed, base=said.base, thorough=said.thorough)
    faq = jobs.open_faq(workspace, settings, str(said.faq))
    prepared = jobs.prepare(faq, settings, probe(), hold_out=said.exam is None)
    forever = Choice(10**6, "The bench's: every look is taken, and none ends the training.")
    prepared = replace(prepared, plan=replace(prepared.plan, patience=forever))
    name = "early"
    adapters = workspace.runs_folder / f"{name}-adapters"
    spent = [0.0]
    kept_look = Watch.look

    def look(self: Watch, step: int, loss: float) -> bool:
        begun = time.monotonic()
        over = kept_look(self, step, loss)
        spent[0] += time.monotonic() - begun
        if self.session.held_out is not None:
            self.session.model.save_pretrained(str(adapters / str(step)))
        return over

    Watch.look = look  # type: ignore[method-assign]
    begun = time.monotonic()
    jobs.train(workspace, prepared, name=name)
    trained = time.monotonic() - begun
    Watch.look = kept_look  # type: ignore[method-assign]
    folder = workspace.run(name)
    looks = {s.step: s for s in folder.steps() if s.held_out is not None}
    told: dict[str, Any] = {
        "seed": seed, "steps": prepared.plan.steps.value, "looks": len(looks),
        "train_seconds": round(trained), "share_of_looks": round(spent[0] / trained, 3),
        "held_out": {n: round(s.held_out or 0, 3) for n, s in looks.items()},
    }  # fmt: skip
    print(json.dumps(told), flush=True)
    places = sorted(looks)
    chosen = {places[round(i * (len(places) - 1) / (said.looks - 1))] for i in range(said.looks)}
    chosen.add(max(places, key=lambda n: (looks[n].held_out or 0, n)))
    for step in sorted(chosen):
        bot = Bot.open(folder, adapter=adapters / str(step))
        for allowed in said.allowed:
            calibrate(bot, prepared.split.held_out, allowed)
            for file in folder.file("exam").glob("*.jsonl"):
                file.unlink()  # replies of another adapter
            report = jobs.evaluate(folder, exam=said.exam, bot=bot, controls=False)
            kinds = {t.kind: t for t in report.candidates[0].tallies}
            line = {
                "seed": seed, "step": step, "allowed": allowed,
                "held_out": round(looks[step].held_out or 0, 3),
                "loss": round(looks[step].loss, 4),
                **{
                    kind: f"{t.right}/{t.asked}, {t.wrong} wrong" for kind, t in kinds.items()
                },
            }  # fmt: skip
            print(json.dumps(line, ensure_ascii=False), flush=True)
    every = places[0]
    for patience in (2, 3, 4, 6):
        best, since, at, end = -1.0, 0, 0, places[-1]
        for step in places:
            right = looks[step].held_out or 0.0
            if right > best:
                since = step
            if right >= best:
                best, at = right, step
            if step - since >= patience * every:
                end = step
                break
        spared = 1 - end / places[-1]
        print(
            f"seed {seed}: patience {patience * every} steps: ends at {end} of {places[-1]} "
            f"({spared:.0%} spared), keeps the adapter of step {at} ({best:.3f} held out)",
            flush=True,
        )


if __name__ == "__main__":
    main()
