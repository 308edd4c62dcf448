"""Does the corpus give away by its style what an answer covers?

    python bench/style.py [PATTERN …]      # of files in bench/intents/data; one line a pattern

Covered questions and those beside should differ by what the answer says alone. Prints how long each
are, how many end with a mark, and the area under the curve by which they part when the answer is
not read at all: naive Bayes over the letters' n-grams (1 to 3), four folds by topic, after what no
reader is shown has been taken away. 0.5 gives away nothing.
"""

from __future__ import annotations

import re
import sys

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from intents import DATA, Intent, dealt, parse
from kefu.bot.cross_encoder import ENDS

FOLDS = 4


def parted(rows: list[Intent]) -> float:
    """The area, of rows that the counts have not seen."""
    asked = [
        (f"^{q.rstrip(ENDS)}$", kind, fold)
        for fold, dealt_to in enumerate(dealt(rows, FOLDS))
        for i in dealt_to
        for kind, questions in ((1, i.covered), (0, i.beside))
        for q in questions
    ]
    texts, kinds, folds = zip(*asked, strict=True)
    splits = PredefinedSplit(folds)
    model = make_pipeline(CountVectorizer(analyzer="char", ngram_range=(1, 3)), MultinomialNB())
    told = cross_val_predict(model, list(texts), list(kinds), cv=splits, method="predict_proba")
    return float(roc_auc_score(kinds, told[:, 1]))


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
