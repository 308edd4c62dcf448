"""Do ten good rows beat a hundred bad ones? Two files about the same ten answers, one exam.

    python bench/good_pairs.py [--faq FAQ] [--rows 10] [--copies 10] [--steps 40]

The good file: each row's question and half of its wordings. The bad one: each row's question ten
times over, with another politeness around it, and in two of the ten an outdated figure in the
answer. Both are trained for the same steps without wordings by rule, and asked the other half of
the wordings, every question answered. What it does not show: which of the two faults of the bad
file does the harm; and the sample has few questions. Prints one line a file, with what `check`
says of it.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import Counter
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

from kefu import exam as exams
from kefu import jobs
from kefu.plan import probe
from kefu.records import ExamQuestion, Faq
from kefu.settings import Settings
from kefu.workspace import Workspace

POLITE = (
    "{}", "請問{}", "{}謝謝", "您好，{}", "想請問{}", "{}，急",
    "不好意思，{}", "{}呢", "請教{}", "你好{}",
)  # fmt: skip
OUTDATED = (3, 7)
"""Which copies of a row have another figure in their answer."""


def bad(faq: Faq, copies: int) -> Faq:
    """Each question so many times with hardly another letter; some with an outdated answer."""
    made = []
    for pair in faq.pairs:
        bare = pair.question.rstrip("？?")
        for i in range(copies):
            old = re.sub(r"\d", lambda d: str((int(d[0]) + 1) % 10), pair.answer)
            text = POLITE[i % len(POLITE)].format(bare)
            answer = old if i % 10 in OUTDATED else pair.answer
            question = pair.question if i == 0 else text
            made.append(replace(pair, question=question, answer=answer, wordings=()))
    return replace(faq, pairs=tuple(made))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faq", help="An FAQ with wordings; without it kefu's sample.")
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--base", default="gemma-3-270m")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, as_file(files("kefu")) as package:
        workspace = Workspace(Path(work))
        settings = Settings(base=said.base)
        found = jobs.open_faq(workspace, settings, said.faq or str(package / "templates/faq.csv"))
        chosen = [p for p in found.pairs if len(p.wordings) > 1][: said.rows]
        kept = [replace(p, wordings=p.wordings[: len(p.wordings) // 2]) for p in chosen]
        good = replace(found, pairs=tuple(kept))
        asked = [
            ExamQuestion(text, "reworded", p.answer, p.question)
            for p in chosen
            for text in p.wordings[len(p.wordings) // 2 :]
        ]
        exam = Path(work) / "exam.jsonl"
        exams.write(exam, asked)
        for name, faq in (("good", good), ("bad", bad(good, said.copies))):
            levels = Counter(f.level for f in jobs.check_faq(faq, settings))
            prepared = jobs.prepare(
                faq, settings, probe(), hold_out=False, wordings=0, steps=said.steps
            )
            run = jobs.train(workspace, prepared)
            folder = workspace.run(run.name)
            bot = jobs.settle(folder, 1.0)
            report = jobs.evaluate(folder, exam=exam, bot=bot, controls=False)
            right = report.candidates[0].overall.right
            rows = sum(len(p.phrasings) for p in faq.pairs)
            print(
                f"{name}: {len(faq.pairs)} rows, {rows} phrasings, loss {run.last_loss:.4f}, "
                f"right {right} of {len(asked)}; check says {dict(levels)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
