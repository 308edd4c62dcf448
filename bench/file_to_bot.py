"""From the file to an examined bot: how long a person waits, and for what.

    python bench/file_to_bot.py                                   # sample FAQ, embedded base
    python bench/file_to_bot.py --apart                           # by two commands
    python bench/file_to_bot.py --pairs 1000 --base FOLDER --exposures 10 --no-eval
    python bench/file_to_bot.py ... --make TOKENIZER_FOLDER       # writes the 7B architecture first

Runs `kefu train --eval`, or apart `kefu train` and `kefu eval`, as a person does, and reads from
the run folder when each part was done. With --pairs the FAQ of a made-up shop (bench/growth.py),
else the sample. --exposures trains each answer so many times, in place of the plan's own number.
One JSON line, in seconds; `processor` is the processor time of these commands together.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from gpu import command

ROOT = Path(__file__).resolve().parents[1]


def faq(work: Path, pairs: int) -> str:
    """The FAQ's file name in `work`."""
    if not pairs:
        command(work.parent, "init", work.name)
        return "faq.csv"
    sys.path.insert(0, str(ROOT / "src"))
    from growth import faq_of
    from kefu.faq import write

    work.mkdir(parents=True, exist_ok=True)
    write(faq_of(pairs).pairs, work / "made.csv")
    return "made.csv"


def processor() -> float:
    """Seconds of processor time of the commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def written(path: Path) -> float:
    return path.stat().st_mtime


def training(run: Path, begun: float, ended: float | None) -> dict[str, float]:
    """The parts of `kefu train`; it has not `ended` where the exam goes on in it."""
    steps = [json.loads(x) for x in (run / "steps.jsonl").read_text().splitlines()]
    last_step = written(run / "steps.jsonl")
    first_step = last_step - (steps[-1]["seconds"] - steps[0]["seconds"])
    parts = {
        "to_the_plan": written(run / "plan.json") - begun,
        "to_the_end_of_the_first_step": first_step - written(run / "plan.json"),
        "steps": last_step - first_step,
        "adapter_kept": written(run / "run.json") - last_step,
        "threshold": written(run / "calibration.json") - written(run / "run.json"),
    }
    if ended is None:
        return {**parts, "train": written(run / "calibration.json") - begun}
    parts["train_exits"] = ended - written(run / "calibration.json")
    return {**parts, "train": ended - begun}


def exam(run: Path, begun: float, ended: float) -> dict[str, float]:
    """The parts of `kefu eval`: whoever answered, in the order in which they ended."""
    parts: dict[str, float] = {}
    before = begun
    for path in sorted((run / "exam").iterdir(), key=written):
        parts[f"until {path.stem}"] = written(path) - before
        before = written(path)
    parts["report"] = written(run / "report.json") - before
    parts["eval_exits"] = ended - written(run / "report.json")
    return {**parts, "eval": ended - begun}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="gemma-3-270m")
    parser.add_argument("--make", type=Path, metavar="TOKENIZER_FOLDER")
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--exposures", type=float)
    parser.add_argument("--no-eval", action="store_true")
    parser.add_argument("--apart", action="store_true", help="train and eval by a command each")
    said = parser.parse_args()
    base = str(Path(said.base).resolve()) if Path(said.base).is_dir() or said.make else said.base
    if said.make:
        from gpu import build

        build(Path(base), said.make)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place) / "shop"
        name = faq(work, said.pairs)
        told = ["--base", base, str(work / name)]
        plan: dict[str, Any] = json.loads(command(work, "plan", "--json", *told)[2])
        more: list[str] = []
        if said.exposures:
            steps = plan["steps"]["value"] * said.exposures / plan["exposures"]["value"]
            more = ["--steps", str(max(1, round(steps)))]
        together = not said.no_eval and not said.apart
        more += ["--eval"] if together else []
        spent = processor()
        begun, ended, _ = command(work, "train", "--name", "bot", *more, *told)
        run = work / "runs" / "bot"
        line: dict[str, Any] = {
            "base": base, "pairs": said.pairs, "device": plan["machine"]["name"],
            **training(run, begun, None if together else ended),
        }  # fmt: skip
        if not said.no_eval:
            began = begun + line["train"] if together else ended
            finished = ended if together else command(work, "eval", "bot")[1]
            line |= exam(run, began, finished)
            report = json.loads((run / "report.json").read_text(encoding="utf-8"))
            line["questions"] = len(report["verdicts"]) if "verdicts" in report else None
            line["whole"] = finished - begun
        line["processor"] = processor() - spent
        kept = json.loads((run / "run.json").read_text(encoding="utf-8"))
    line = {k: round(v, 2) if isinstance(v, float) else v for k, v in line.items()}
    line |= {"steps_done": kept["steps"], "planned_seconds": plan["forecast"]["seconds"]}
    line["load_average"] = [round(x, 1) for x in os.getloadavg()]
    print(json.dumps(line, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
