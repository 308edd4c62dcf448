"""How long the conversion of an embedded base takes, by kefu and by transformers alone.

    python bench/convert.py [--base gemma-3-270m] [--fast]

Reads the GGUF of the base's package into a folder, by kefu's reader and (without --fast) by
transformers', each in a process of its own, and compares the folders byte for byte. One JSON line.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="gemma-3-270m")
    parser.add_argument("--fast", action="store_true", help="kefu's reader alone")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.one:
        one(said.base, said.one[0], Path(said.one[1]))
        return
    told: dict[str, object] = {"base": said.base}
    with tempfile.TemporaryDirectory() as place:
        for way in WAYS[: 1 if said.fast else 2]:
            words = [sys.executable, __file__, "--base", said.base, "--one", way]
            words.append(str(Path(place) / way))
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr[-2000:])
            told[way] = json.loads(done.stdout.strip().splitlines()[-1])
        if not said.fast:
            here, there = (Path(place) / way for way in WAYS)
            names = sorted(p.name for p in here.iterdir())
            same = names == sorted(p.name for p in there.iterdir()) and not any(
                filecmp.cmpfiles(here, there, names, shallow=False)[1:]
            )
            told["same_bytes"] = same
    told["load_average"] = [round(x, 1) for x in os.getloadavg()]
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
