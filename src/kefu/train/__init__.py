"""train(plan, examples, folder) -> Run: fine-tunes a LoRA adapter and says each step.

Knows a plan and rows; nothing of exams, answers or terminals. Two engines do the same steps:
`trl_engine.py`, the one file that touches TRL, and `lean.py`, the same maths with less waiting.
"""

from .curve import loss_text
from .session import Interrupted, train

__all__ = ["Interrupted", "loss_text", "train"]
