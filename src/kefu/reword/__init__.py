"""reword: fills up the other wordings of each FAQ row, by rules or by asking a model.

Knows letters, words and common topics of customer service; knows nothing of training, of
exams or of how a bot answers. Every wording that leaves this room was checked against the
whole FAQ (see `checks`).
"""

from .ask import endpoint
from .engine import Rewording, filled, reword

__all__ = ["Rewording", "endpoint", "filled", "reword"]
