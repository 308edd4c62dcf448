"""The FAQ room: from any file to pairs, and from pairs to what is wrong with them."""

from .reader import read

__all__ = ["read"]
