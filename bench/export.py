"""How much smaller and how faithful each export of a run is, in its own engine.

`python bench/export.py RUN [BASE.gguf]`: exports RUN as merged and as GGUF, and lets every file
answer ten trained questions greedily; BASE.gguf is a GGUF of the base for the LoRA.
Prints, for each, its size, how many answers (40 tokens) are the run's own token by token, and
how far the most likely first tokens are from the run's beliefs. Needs xllamacpp.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch

from kefu.errors import GateError
from kefu.export import export
from kefu.export.engine import opened
from kefu.export.source import open_run
from kefu.weights import load
from kefu.workspace import RunFolder

QUESTIONS = 10
MOST = 40


def main() -> None:
    run = RunFolder(Path(sys.argv[1]))
    base = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    prompt = open_run(run).prompt
    lines = run.file("examples.jsonl").read_text(encoding="utf-8").splitlines()
    lines = lines[:: max(1, len(lines) // QUESTIONS)][:QUESTIONS]
    asked = [prompt.ids(json.loads(line)["question"]) for line in lines]
    model = load(run.plan().base.value, precision="fp32", adapter=run.adapter).model
    told, beliefs = [], []
    for ids in asked:
        with torch.inference_mode():
            out = model.generate(
                torch.tensor([ids]),
                do_sample=False,
                max_new_tokens=MOST,
                eos_token_id=prompt.terminator,
            )
            beliefs.append(torch.log_softmax(model(torch.tensor([ids])).logits[0, -1], -1))
        told.append([i for i in out[0, len(ids) :].tolist() if i != prompt.terminator])
    del model
    rows = []
    with tempfile.TemporaryDirectory() as work:
        to = Path(work)
        files: list[tuple[Path, Path | None]] = []
        for name in ("f16", "q8_0", "q4_k_m"):
            try:
                export(run, "gguf", to / name, types=(name,))
            except GateError as error:
                print(f"{name}: {error}")
            files += [(p, None) for p in (to / name).glob("*.gguf")]
        if base is not None:
            export(run, "gguf", to / "lora", lora=True, base=base)
            files += [(base, p) for p in (to / "lora").glob("*.gguf")]
        for path, lora in sorted(files):
            same, far = 0, 0.0
            with opened(path, lora) as llama:
                for ids, ours, belief in zip(asked, told, beliefs, strict=True):
                    answer = llama.complete(ids, MOST)
                    got = [i for i in answer["tokens"] if i != prompt.terminator]
                    same += got == ours
                    for top in answer["completion_probabilities"][0]["top_logprobs"]:
                        far = max(far, abs(top["logprob"] - float(belief[top["id"]])))
            made = lora or path
            rows.append((made.name, made.stat().st_size, same, len(asked), round(far, 4)))
    print(f"{'file':32} {'MB':>8} {'same':>8} {'furthest':>9}")
    for name, size, same, of, far in rows:
        print(f"{name:32} {size / 1e6:8.1f} {same:4}/{of:<3} {far:9.4f}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
