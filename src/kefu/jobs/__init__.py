"""jobs: the work behind the commands; each calls the rooms below in order.

Prints nothing and never exits: the command line and the studio are two faces of it. torch comes
in only where something is trained or answers.
"""

from .advising import advice_on
from .again import Again, again, settings_of
from .examining import Answerer, answered_by, evaluate
from .exporting import Parity, export, over_llama
from .preparing import Prepared, check_faq, init, open_faq, prepare, wordings_for
from .runs import compare_runs, how_far, let_out, loss_curve, report_of, summary
from .training import joined, launched, on_gpus, processes, resume, settle, take_up, train
from .trying import PARTS, Standing, attempt, judges

__all__ = [
    "PARTS",
    "Again",
    "Answerer",
    "Parity",
    "Prepared",
    "Standing",
    "advice_on",
    "again",
    "answered_by",
    "attempt",
    "check_faq",
    "compare_runs",
    "evaluate",
    "export",
    "how_far",
    "init",
    "joined",
    "judges",
    "launched",
    "let_out",
    "loss_curve",
    "on_gpus",
    "open_faq",
    "over_llama",
    "prepare",
    "processes",
    "report_of",
    "resume",
    "settings_of",
    "settle",
    "summary",
    "take_up",
    "train",
    "wordings_for",
]
