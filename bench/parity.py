"""Whether every export of a run answers as the run does: the exam, in each engine and two modes.

`python bench/parity.py WORKSPACE RUN [--exam FILE] [--on BASE.gguf] [--most N] [--mode M]
[--only E]`: exports RUN as adapter, merged and GGUF (f16, q8_0), with BASE.gguf (a GGUF of the
base) as a GGUF LoRA, too, and puts the run's exam, or that of FILE, to each (or to the exports E)
in PEFT, transformers or llama.cpp, in the modes M (`verbatim` and `locked`). With N at most so many
of its questions, of all kinds alike.

`same`: the reply is the run's, letter for letter; `edge`: the same row was meant, but only one of
the two was sure enough to answer; `other`: anything else; `lost`: a fact is missing, or stands
there that the run's reply has not; `apart`: in how sure they are, 0 to 1. Needs xllamacpp.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from kefu.bot import Bot
from kefu.jobs import Compared, Parity, export, over_llama
from kefu.records import Mode
from kefu.workspace import Workspace

MODES: tuple[Mode, ...] = ("verbatim", "locked")
EXPORTS = ("adapter", "merged", "f16", "q8_0", "lora")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("workspace", type=Path)
    asked.add_argument("run")
    asked.add_argument("--exam", type=Path)
    asked.add_argument("--on", type=Path)
    asked.add_argument("--most", type=int)
    asked.add_argument("--mode", action="append", choices=MODES)
    asked.add_argument("--only", action="append", choices=EXPORTS)
    given = asked.parse_args()
    run = Workspace(given.workspace.resolve()).run(given.run)
    with tempfile.TemporaryDirectory() as work:
        to = Path(work)
        which = given.only or [e for e in EXPORTS if e != "lora" or given.on]
        for form in ("adapter", "merged"):
            if form in which:
                export(run, form, to / form, check=False)
        types = tuple(e for e in which if e in ("f16", "q8_0"))
        if types:
            export(run, "gguf", to / "gguf", check=False, types=types)
        if "lora" in which:
            export(run, "gguf", to / "lora", check=False, lora=True, base=given.on)
        parities = {mode: Parity(run, given.exam, mode=mode) for mode in given.mode or MODES}
        for parity in parities.values():
            every = -(-len(parity.questions) // (given.most or len(parity.questions)))
            parity.questions = parity.questions[::every]
            away = sum(reply.handed_over for reply in parity.own)
            print(
                f"the run, {parity.mode}: {away} of {len(parity.questions)} handed over", flush=True
            )

        print(f"{'export':24} {'mode':9} asked  same  edge other  lost  apart: median, p95, most")

        def bots() -> Iterator[tuple[str, AbstractContextManager[Bot]]]:
            if "adapter" in which:
                yield "adapter (PEFT)", nullcontext(Bot.open(run, adapter=to / "adapter"))
            if "merged" in which:
                yield "merged (transformers)", nullcontext(Bot.open(run, merged=to / "merged"))
            for file in sorted((to / "gguf").glob("*.gguf")):
                yield file.name, over_llama(run, file)
            for file in (to / "lora").glob("*.gguf"):
                yield file.name, over_llama(run, given.on, file)

        for name, opened in bots():
            with opened as bot:
                for mode, parity in parities.items():
                    begun = time.monotonic()
                    rows = parity.compare(bot)
                    same, edge = sum(r.same for r in rows), sum(r.near for r in rows)
                    lost = sum(bool(r.lost) for r in rows)
                    print(
                        f"{name:24} {mode:9} {len(rows):5} {same:5} {edge:5} "
                        f"{len(rows) - same - edge:5} {lost:5}  {_apart(rows)}  "
                        f"{time.monotonic() - begun:.0f} s",
                        flush=True,
                    )
                    for row in rows:
                        if row.near:
                            sure = row.confidence_run, row.confidence_export
                            print(f"    {row.question!r}: sure by {sure[0]} and {sure[1]}")
                        elif not row.same:
                            print(f"    {row.question!r}: {row.export!r}, not {row.run!r}")


def _apart(rows: Sequence[Compared]) -> str:
    moved = sorted(abs(r.confidence_run - r.confidence_export) for r in rows)
    return f"{moved[len(moved) // 2]:.4f} {moved[int(0.95 * len(moved))]:.4f} {moved[-1]:.4f}"


if __name__ == "__main__":
    main()
