"""Frames between a confined child and its parent, and how the parent reads values that a captured child may forge.

Rule: pickles travel freely from parent to child; from child to parent only through `read_value`, which makes plain
values, fractions, paths, arrays, and dataclasses and enums of trusted packages, and calls nothing else.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import io
import os
import pickle
import struct
import sys
from collections.abc import Collection
from typing import Any

HEADER = struct.Struct("<cQ")
"""Kind of a frame (one byte) and the length of what follows."""

EXIT = struct.Struct("<iiQd")
"""Record of a child's state: pid, wait status (-1 while it runs), peak resident bytes, processor seconds."""

VALUE, ERROR, LIMIT, CRASH, MESSAGE, CALL = b"v", b"e", b"l", b"c", b"m", b"f"

PLAIN_CLASSES = {
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "bytearray"),
    ("builtins", "complex"),
    ("builtins", "range"),
    ("builtins", "slice"),
    ("collections", "OrderedDict"),
    ("collections", "deque"),
    ("fractions", "Fraction"),
    ("decimal", "Decimal"),
    ("pathlib", "PosixPath"),
    ("pathlib", "PurePosixPath"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
}


def write_frame(fd: int, kind: bytes, body: bytes) -> None:
    """Write one whole frame to a blocking descriptor."""
    rest = memoryview(HEADER.pack(kind, len(body)) + body)
    while rest:
        rest = rest[os.write(fd, rest) :]


def read_exactly(fd: int, size: int) -> bytes:
    """Read `size` bytes from a blocking descriptor.

    Raises:
        EOFError: the other side closed before that.
    """
    parts = bytearray()
    while len(parts) < size:
        got = os.read(fd, min(size - len(parts), 1 << 20))
        if not got:
            raise EOFError(f"{len(parts)} of {size} bytes")
        parts += got
    return bytes(parts)


class FrameBuffer:
    """Bytes as they arrive -> whole frames.

    Attributes:
        limit_bytes: a frame longer than this is refused with ValueError, before it is stored.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Add bytes; returns the frames (kind, body) that are now whole."""
        self._bytes += data
        frames: list[tuple[bytes, bytes]] = []
        while len(self._bytes) >= HEADER.size:
            kind, length = HEADER.unpack_from(self._bytes)
            if length > self.limit_bytes:
                raise ValueError(f"a frame of {length} bytes; at most {self.limit_bytes}")
            end = HEADER.size + length
            if len(self._bytes) < end:
                break
            frames.append((kind, bytes(self._bytes[HEADER.size : end])))
            del self._bytes[:end]
        return frames


class _ValueWriter(pickle.Pickler):
    def reducer_override(self, value: object) -> Any:
        """Enum members by class and value. Python 3.11.0 to 3.11.3 would send a call of getattr, which is refused."""
        if isinstance(value, enum.Enum):
            return type(value), (value.value,)
        return NotImplemented


def pack_value(value: object) -> bytes:
    """A pickle that `read_value` reads, by any version of Python."""
    packed = io.BytesIO()
    _ValueWriter(packed).dump(value)
    return packed.getvalue()


class _ValueReader(pickle.Unpickler):
    def __init__(self, body: bytes, trusted: Collection[str]) -> None:
        super().__init__(io.BytesIO(body))
        self.trusted = trusted

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) in PLAIN_CLASSES:
            return super().find_class(module_name, global_name)
        package = module_name.partition(".")[0]
        if package in self.trusted and "." not in global_name:
            # Only `encoders` is imported for the purpose: its value modules are light.
            module = sys.modules.get(module_name) or (package == "encoders" and importlib.import_module(module_name))
            found = getattr(module, global_name, None)
            if isinstance(found, type) and (dataclasses.is_dataclass(found) or issubclass(found, enum.Enum)):
                return found
        raise pickle.UnpicklingError(f"a confined process may not send {module_name}.{global_name}")


def read_value(body: bytes, trusted: Collection[str] = ("encoders",)) -> Any:
    """The value in a frame from a child.

    Args:
        body: a pickle.
        trusted: top-level packages whose dataclasses and enums may be in it.

    Raises:
        ValueError: the pickle is broken or names anything else.
    """
    try:
        return _ValueReader(body, trusted).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"unreadable value from a confined process: {error}") from None
