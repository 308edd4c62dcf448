"""jobs: the work behind the commands; each calls the rooms below in order.

Prints nothing and never exits: the command line and the studio are two faces of it. torch comes
in only where something is trained or answers.
"""

from .examining import evaluate
from .preparing import Prepared, check_faq, init, open_faq, prepare
from .runs import compare_runs, let_out, loss_curve, report_of, summary
from .training import resume, settle, train

__all__ = [
    "Prepared",
    "check_faq",
    "compare_runs",
    "evaluate",
    "init",
    "let_out",
    "loss_curve",
    "open_faq",
    "prepare",
    "report_of",
    "resume",
    "settle",
    "summary",
    "train",
]
