"""intents: what customers ask anywhere, in many wordings, grouped by what they want.

A corpus of the project's own (`data/*.txt`, Apache-2.0), in Traditional Chinese and some English,
written without sight of any FAQ or exam. From it a base learns before any owner's FAQ that very
different words can ask for one thing, very similar words for different things, and what answers
look like. Torch-free.
"""

from .corpus import Intent, dealt, intents, parse

__all__ = ["Intent", "dealt", "intents", "parse"]
