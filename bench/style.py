"""Does the corpus give away by its style what an answer covers?

    python bench/style.py [PATTERN …]      # of files in bench/intents/data; one line a pattern

Covered questions and those beside should differ by what the answer says alone. Prints how long each
are, how many end with a mark, and the area under the curve by which they part when the answer is
not read at all: naive Bayes over the letters' n-grams (1 to 3), four folds by topic, after what no
reader is shown has been taken away. 0.5 gives away nothing.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Iterator

from intents import DATA, Intent, dealt, parse
from kefu.bot.cross_encoder import ENDS
from packing import auc

FOLDS = 4
MOST = 10_000
"""Questions of a kind that are compared, as each is with each."""


def grams(text: str) -> Iterator[str]:
    text = f"^{text.rstrip(ENDS)}$"
    for n in (1, 2, 3):
        yield from (text[i : i + n] for i in range(len(text) - n + 1))


def parted(rows: list[Intent]) -> float:
    """The area, of rows that the counts have not seen."""
    folds = dealt(rows, FOLDS)
    high: list[float] = []
    low: list[float] = []
    for fold in folds:
        seen = [i for other in folds if other is not fold for i in other]
        counts = [
            Counter(g for i in seen for q in questions(i) for g in grams(q))
            for questions in (lambda i: i.covered, lambda i: i.beside)
        ]
        logs = [math.log(c.total() + len(c)) for c in counts]

        def tell(text: str, counts: list[Counter[str]] = counts, logs: list[float] = logs) -> float:
            found = [math.log(counts[0][g] + 1) - math.log(counts[1][g] + 1) for g in grams(text)]
            return sum(found) - len(found) * (logs[0] - logs[1])

        high += [tell(q) for i in fold for q in i.covered]
        low += [tell(q) for i in fold for q in i.beside]
    return auc(high[:: 1 + len(high) // MOST], low[:: 1 + len(low) // MOST])


def main() -> None:
    for pattern in sys.argv[1:] or ["*.txt"]:
        files = sorted(DATA.glob(pattern))
        rows = [i for f in files for i in parse(f.read_text("utf-8"), f.name)]
        line = f"{pattern}: {len(rows)} rows"
        for name in ("covered", "beside"):
            texts = [q for i in rows for q in getattr(i, name)]
            letters = sum(map(len, texts)) / len(texts)
            marked = 100 * sum(bool(re.search(r"[?？!！。]$", q)) for q in texts) / len(texts)
            line += f"; {name} {letters:.1f} letters, {marked:.0f} % with a mark"
        print(f"{line}; by letters alone {parted(rows):.2f}", flush=True)


if __name__ == "__main__":
    main()
