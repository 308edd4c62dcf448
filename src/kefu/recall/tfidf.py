"""TF-IDF by scikit-learn's definition, without its import, which takes half a second more.

Gives scikit-learn's numbers in every bit (tests/test_recall.py). Knows nothing of how a text is
cut into terms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any


class Tfidf:
    """Texts as sparse unit vectors (texts, terms) in float64, over the terms of those it was
    fitted to: how often a term comes, times log((1 + texts) / (1 + texts with the term)) + 1."""

    def __init__(self, cut: Callable[[str], Iterable[str]], texts: Sequence[str]) -> None:
        """Fits to `texts`, which hold one term at least; `cut` gives the terms of a text."""
        import numpy

        self._cut = cut
        found: Counter[str] = Counter()
        for text in texts:
            found.update(set(cut(text)))
        self._place = {term: place for place, term in enumerate(sorted(found))}
        held_by = numpy.array([found[term] for term in self._place], dtype=numpy.float64)
        self._weight = numpy.log((1 + len(texts)) / (1 + held_by)) + 1

    def vectors(self, texts: Sequence[str]) -> Any:
        """A scipy CSR matrix (texts, terms); a text without known terms is a row of zeros."""
        import numpy
        from scipy.sparse import csr_matrix  # late: it takes a while

        places: list[int] = []
        counts: list[int] = []
        ends = [0]
        for text in texts:
            known = Counter(self._place[t] for t in self._cut(text) if t in self._place)
            for place, count in sorted(known.items()):
                places.append(place)
                counts.append(count)
            ends.append(len(places))
        values = numpy.array(counts, dtype=numpy.float64) * self._weight[places]
        shape = (len(texts), len(self._place))
        # A product, not a sum, which would not add one by one, as scikit-learn does.
        squared = csr_matrix((values**2, places, ends), shape) @ numpy.ones(shape[1])
        values /= numpy.repeat(numpy.sqrt(squared), numpy.diff(ends))
        return csr_matrix((values, places, ends), shape)
