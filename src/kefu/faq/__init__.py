"""The FAQ room: any file to pairs, what is wrong with them, and wordings back into the file."""

from .checker import check
from .reader import read
from .writer import write

__all__ = ["check", "read", "write"]
