"""exam: divides an FAQ into what is trained and what is asked, and keeps exams as files.

Knows nothing of models or of marking (see `score`): an exam is data, made from the FAQ
and from questions that the project ships, by rules that a seed decides entirely.
"""

from .division import split
from .file import read, write
from .hand_overs import training_hand_overs
from .likeness import apart

__all__ = ["apart", "read", "split", "training_hand_overs", "write"]
