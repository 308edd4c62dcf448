"""advise(evidence) -> Advice: why an exam fell short, from what the run left behind.

A pure function from records to records: no model is asked, nothing is read or written. What it
cannot see: why a question is missed that has none of the marks it knows. It then says that the
base is the likeliest cause that is left, which is a conclusion by exclusion.
"""

from .advice import advise
from .nouns import Advice, Evidence

__all__ = ["Advice", "Evidence", "advise"]
