"""scale: many runs at once, and large exams, through Ray, on one machine or on a cluster.

`sweep` looks for better numbers than the plan's (`resume_sweep` goes on with one that was stopped),
`matrix` trains a folder of FAQs, `evaluate` puts an exam to one run in many workers. The only room
that knows Ray, and that late; what a worker does is what `jobs` does everywhere.
"""

from .examining import evaluate
from .matrix import Trained, matrix
from .picture import HEAD, rows
from .sweeping import Swept, sweep
from .sweeping import resume as resume_sweep
from .trials import Trial, verdict

__all__ = [
    "HEAD",
    "Swept",
    "Trained",
    "Trial",
    "evaluate",
    "matrix",
    "resume_sweep",
    "rows",
    "sweep",
    "verdict",
]
