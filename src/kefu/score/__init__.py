"""score: marks answers, examines bots, and says what the marks mean. The measuring instrument.

Three things come through this door:

- facts: `facts(text, names)` and `names_of(faq)`, what a customer would act on;
- marks: `Marker(faq).mark(asked, reply)` for one answer, `examine(answer, exam, faq)` for all;
  `FactFilter` and `pieces` keep facts that the FAQ does not have out of free text as it grows;
- reports: `report(...)` from verdicts, `compare(a, b)`, `gate(report, previous)`, and
  `pictures` (as_text, as_markdown, as_html, sentence), which show one; `mcnemar`, their test.

Knows no models and no bots: it is handed a callable. Torch-free.
"""

from . import pictures
from .examining import examine
from .extraction import facts
from .listing import names_of
from .marking import Marker
from .reporting import compare, gate, report
from .sentences import Language
from .showing import FactFilter, pieces
from .significance import mcnemar

__all__ = [
    "FactFilter",
    "Language",
    "Marker",
    "compare",
    "examine",
    "facts",
    "gate",
    "mcnemar",
    "names_of",
    "pictures",
    "pieces",
    "report",
]
