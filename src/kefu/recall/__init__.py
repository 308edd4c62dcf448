"""recall: finds the rows of an FAQ whose wording is nearest to a question.

`Index` is lexical: it counts shared characters and words and knows nothing of meaning.
`MeaningIndex` is handed the vectors of a model. Neither knows of models, exams or runs.
"""

from .index import Hit, Index
from .meaning import MeaningIndex
from .text import normalise
from .tfidf import Tfidf

__all__ = ["Hit", "Index", "MeaningIndex", "Tfidf", "normalise"]
