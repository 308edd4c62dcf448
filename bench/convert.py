"""How long the conversion of an embedded base takes, by kefu and by transformers alone.

    python bench/convert.py [--base gemma-3-270m] [--fast]

Reads the GGUF of the base's package into a folder, by kefu's reader and (without --fast) by
transformers', each in a process of its own, and compares the folders byte for byte. Then reads the
tokenizer as transformers writes it and as kefu does. One JSON line, in seconds; the tokenizer's are
of the processor.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WAYS = ("read_here", "read_by_transformers")


def one(base: str, way: str, folder: Path) -> None:
    """Converts in this process; prints the seconds beside those of the imports."""
    begun = time.time()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert torch and AutoModelForCausalLM and AutoTokenizer
    from kefu.plan.bases import resolve
    from kefu.weights import embedded

    imported = time.time()
    path = embedded._gguf(resolve(base))
    found = time.time()
    made = getattr(embedded, way)(path)
    read = time.time()
    for part in made:
        part.save_pretrained(folder)
    done = time.time()
    parts = {"package": found - imported, "read": read - found, "written": done - read}
    line = {"imports": imported - begun, **parts, "conversion": done - imported}
    print(json.dumps({k: round(v, 1) for k, v in line.items()}), flush=True)


def tokenizers(folder: Path) -> None:
    """How long the tokenizer in `folder` takes to be read, as it is and as kefu writes it."""
    from transformers import AutoTokenizer

    from kefu.weights import save_tokenizer

    kept = folder / "kept"
    save_tokenizer(AutoTokenizer.from_pretrained(folder), kept)
    (kept / "config.json").write_bytes((folder / "config.json").read_bytes())
    found = {}
    for name, place in (("as_usual", folder), ("as_kefu_writes_it", kept)):
        begun = time.process_time()
        AutoTokenizer.from_pretrained(place)
        found[name] = round(time.process_time() - begun, 2)
    print(json.dumps(found), flush=True)


def child(base: str, way: str, folder: Path) -> dict[str, object]:
    words = [sys.executable, __file__, "--base", base, "--one", way, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="gemma-3-270m")
    parser.add_argument("--fast", action="store_true", help="kefu's reader alone")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.one:
        way, folder = said.one[0], Path(said.one[1])
        if way == "tokenizers":
            tokenizers(folder)
        else:
            one(said.base, way, folder)
        return
    told: dict[str, object] = {"base": said.base}
    with tempfile.TemporaryDirectory() as place:
        for way in WAYS[: 1 if said.fast else 2]:
            told[way] = child(said.base, way, Path(place) / way)
        if not said.fast:
            here, there = (Path(place) / way for way in WAYS)
            names = sorted(p.name for p in here.iterdir())
            same = names == sorted(p.name for p in there.iterdir()) and not any(
                filecmp.cmpfiles(here, there, names, shallow=False)[1:]
            )
            told["same_bytes"] = same
        told["tokenizer"] = child(said.base, "tokenizers", Path(place) / WAYS[0])
    told["load_average"] = [round(x, 1) for x in os.getloadavg()]
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
