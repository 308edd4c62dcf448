"""recall: finds the rows of an FAQ whose wording is nearest to a question.

Lexical only: it counts shared characters and words and knows nothing of meaning. It
knows nothing of models, exams or runs either.
"""

from .index import Hit, Index
from .text import normalise

__all__ = ["Hit", "Index", "normalise"]
