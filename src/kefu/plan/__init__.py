"""plan: computes every number of a run from the FAQ and the machine, each with its reason.

Never imports torch and never reads weights: what it says of a model, it computes from the
model's config. What the run then really does is the business of `train`.
"""

from .bases import catalogue
from .job import YOURS
from .machine import probe
from .maker import make
from .reader import read_by, reranker, rows_base

__all__ = ["YOURS", "catalogue", "make", "probe", "read_by", "reranker", "rows_base"]
