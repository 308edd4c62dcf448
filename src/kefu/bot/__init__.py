"""bot: Bot.open(run) answers questions, in one of four modes, or hands them to a person.

Knows a finished run folder; nothing of exams or of how a run was made. `calibrate` sets how
sure a bot must be before it answers, from questions that were held out of training. `over` is a
bot whose model somebody else has loaded, `foreign` one whose model another engine runs, `Shelf` the
bots of many runs on one base; `faq_now` is a run's FAQ file as it is today.
"""

from .book import faq_now
from .bot import Bot
from .calibration import best_threshold, calibrate
from .sharing import Shelf, foreign, over

__all__ = ["Bot", "Shelf", "best_threshold", "calibrate", "faq_now", "foreign", "over"]
