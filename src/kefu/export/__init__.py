"""export: a finished run -> files that answer the same elsewhere, with a model card.

Knows nothing of exams: whether an export answers as the run does is asked by whoever called it.
torch is imported only by the forms that touch weights.
"""

from .door import FORMS, Exported, Form, answering, export
from .engine import Llama, check_name, opened

__all__ = [
    "FORMS",
    "Exported",
    "Form",
    "Llama",
    "answering",
    "check_name",
    "export",
    "opened",
]
