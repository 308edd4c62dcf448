"""weights: a base model by name -> model and tokenizer. The only place that loads either.

Knows nothing of FAQs, training or answers. torch and transformers are imported when a model
is loaded, not before.
"""

from .loader import Loaded, load, load_tokenizer, local_counter

__all__ = ["Loaded", "load", "load_tokenizer", "local_counter"]
