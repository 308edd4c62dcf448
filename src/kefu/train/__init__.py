"""train(plan, examples, folder) -> Run: fine-tunes a LoRA adapter and says each step.

Knows a plan and rows; nothing of exams, answers or terminals. Two engines do the same steps:
`trl_engine.py`, the one file that touches TRL, and `lean.py`, the same maths with less waiting.
`launch` starts a command in several processes; those that do not lead call `join`.
"""

from .curve import loss_text
from .many import launch
from .proof import prove
from .running import join, train
from .session import Interrupted, Look
from .trackers import tracked

__all__ = ["Interrupted", "Look", "join", "launch", "loss_text", "prove", "tracked", "train"]
