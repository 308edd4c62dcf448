"""jobs: the work behind the commands; each calls the rooms below in order.

Prints nothing and never exits: the command line and the studio are two faces of it. torch comes
in only where something is trained or answers.
"""

from .advising import advice_on
from .again import Again, again, settings_of
from .asking import let_go, reply
from .children import start_again, start_exam, start_export, start_training, stop
from .drafts import CELLS, accept, cells, draft, draft_of, mend, sample_draft
from .examining import Answerer, answered_by, evaluate
from .exporting import Compared, Parity, export, over_llama
from .preparing import (
    Prepared,
    check_faq,
    init,
    open_faq,
    prepare,
    proposals,
    stops,
    wordings_for,
)
from .runs import compare_runs, let_out, loss_curve, refused, report_of, summary
from .thresholds import set_threshold
from .training import joined, launched, on_gpus, processes, resume, settle, take_up, train
from .trying import PARTS, Standing, attempt, judges
from .watching import Progress, progress

__all__ = [
    "CELLS",
    "PARTS",
    "Again",
    "Answerer",
    "Compared",
    "Parity",
    "Prepared",
    "Progress",
    "Standing",
    "accept",
    "advice_on",
    "again",
    "answered_by",
    "attempt",
    "cells",
    "check_faq",
    "compare_runs",
    "draft",
    "draft_of",
    "evaluate",
    "export",
    "init",
    "joined",
    "judges",
    "launched",
    "let_go",
    "let_out",
    "loss_curve",
    "mend",
    "on_gpus",
    "open_faq",
    "over_llama",
    "prepare",
    "processes",
    "progress",
    "proposals",
    "refused",
    "reply",
    "report_of",
    "resume",
    "sample_draft",
    "set_threshold",
    "settings_of",
    "settle",
    "start_again",
    "start_exam",
    "start_export",
    "start_training",
    "stop",
    "stops",
    "summary",
    "take_up",
    "train",
    "wordings_for",
]
