"""intents: what customers ask anywhere, in many wordings, grouped by what they want.

A corpus of the project's own (`data/*.txt`, Apache-2.0), in Traditional Chinese, written without
sight of any FAQ or exam. From it a base learns before any owner's FAQ that very different words
can ask for one thing, and very similar words for different things. Torch-free; holds no answers.
"""

from .corpus import Intent, dealt, intents, parse

__all__ = ["Intent", "dealt", "intents", "parse"]
