"""What stands at the head of a GGUF file, and where its tensors lie, in a moment.

`gguf` makes an array of every word of a vocabulary: 262,144 words took it eleven seconds, in which
a server whose engine had been killed answered nobody.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np

VALUES = gguf.GGUFValueType


class Head(gguf.GGUFReader):  # type: ignore[misc]
    """`gguf.GGUFReader`, but for the elements of its arrays, which it passes over.

    Raises ValueError for what is no GGUF file, OSError for what cannot be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            super().__init__(path)
        except (IndexError, KeyError) as error:
            raise ValueError(f"{path} is no GGUF file: {error}") from None

    def said(self) -> dict[str, Any]:
        """Every value by its key; of an array its length."""
        return {
            key: int(field.parts[-1][0]) if field.types[0] == VALUES.ARRAY else field.contents()
            for key, field in self.fields.items()
        }

    def _get_field_parts(
        self, orig_offs: int, raw_type: int
    ) -> tuple[int, list[Any], list[int], list[Any]]:
        if VALUES(raw_type) != VALUES.ARRAY:
            found: tuple[int, list[Any], list[int], list[Any]]
            found = super()._get_field_parts(orig_offs, raw_type)
            return found
        kind = self._get(orig_offs, np.uint32)
        count = self._get(orig_offs + 4, np.uint64)
        at = orig_offs + 12
        if VALUES(kind[0]) == VALUES.STRING:
            at = self._after(at, int(count[0]))
        else:
            at += int(count[0]) * np.dtype(self.gguf_scalar_to_np[VALUES(kind[0])]).itemsize
        return at - orig_offs, [kind, count], [], [VALUES.ARRAY, VALUES(kind[0])]

    def _after(self, at: int, count: int) -> int:
        """The place behind so many strings."""
        length = struct.Struct("<Q" if self.endianess == gguf.GGUFEndian.LITTLE else ">Q")
        head = memoryview(self.data)
        try:
            for _ in range(count):
                at += 8 + length.unpack_from(head, at)[0]
        except struct.error as error:
            raise ValueError(f"the file ends within its words ({error})") from None
        return at
