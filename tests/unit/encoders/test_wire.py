"""Frames between processes, and what a value from a confined child may be made of."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders import wire
from encoders.media import Colour, ColourRange
from encoders.timeline import NO_TIME, Packets


@given(st.lists(st.tuples(st.sampled_from([wire.VALUE, wire.MESSAGE]), st.binary(max_size=50))), st.integers(1, 40))
def test_frames_come_out_as_they_went_in_however_they_are_cut(frames: list[tuple[bytes, bytes]], size: int) -> None:
    stream = b"".join(wire.HEADER.pack(kind, len(body)) + body for kind, body in frames)
    buffer = wire.FrameBuffer(1000)
    found = [frame for at in range(0, len(stream), size) for frame in buffer.feed(stream[at : at + size])]
    assert found == frames


def test_frames_too_long_are_refused_before_they_are_stored() -> None:
    with pytest.raises(ValueError, match="at most 10"):
        wire.FrameBuffer(10).feed(wire.HEADER.pack(wire.VALUE, 11))


def test_a_pipe_carries_frames() -> None:
    read_end, write_end = os.pipe()
    wire.write_frame(write_end, wire.VALUE, b"body")
    os.close(write_end)
    assert wire.read_exactly(read_end, wire.HEADER.size + 4) == wire.HEADER.pack(wire.VALUE, 4) + b"body"
    with pytest.raises(EOFError):
        wire.read_exactly(read_end, 1)
    os.close(read_end)


VALUES = [
    None,
    {"a": [1, 2.5, "three", b"four", (5,), {6}, frozenset({7})]},
    Fraction(30000, 1001),
    Path("/a/b"),
    OrderedDict(a=1),
    Colour(range=ColourRange.FULL, primaries=9),
    np.float64(2.5),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_values_and_values_of_the_media_core_are_read(value: object) -> None:
    assert wire.read_value(wire.pack_value(value)) == value


def test_arrays_are_read() -> None:
    value = np.arange(6, dtype=np.int64).reshape(2, 3)
    assert np.array_equal(wire.read_value(pickle.dumps(value)), value)
    flags = np.zeros(1, bool)
    table = Packets(
        pts=np.array([NO_TIME]), duration=np.ones(1, np.int64), key=flags, discard=flags, hidden=flags, corrupt=flags
    )
    assert wire.read_value(pickle.dumps(table)).pts.tolist() == [NO_TIME]


class _Call:
    def __init__(self, function: object, *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


@pytest.mark.parametrize(
    "value",
    [
        _Call(os.system, "true"),
        _Call(eval, "1"),
        _Call(getattr, "a", "upper"),
        _Call(wire.read_value, b""),
        _Call(pickle.loads, b""),
        Path,
        ValueError("x"),
    ],
    ids=lambda value: str(getattr(value, "call", value)),
)
def test_anything_that_calls_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="may not send"):
        wire.read_value(pickle.dumps(value))


@pytest.mark.parametrize("body", [b"", b"junk", pickle.dumps([1, 2, 3])[:-3], b"\x80\x05}\x94."[:3]])
def test_broken_pickles_are_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="unreadable"):
        wire.read_value(body)


def test_dataclasses_of_packages_that_are_not_trusted_are_refused() -> None:
    with pytest.raises(ValueError, match="may not send"):
        wire.read_value(pickle.dumps(Colour()), trusted=())


def test_enum_members_travel_without_a_call_of_getattr() -> None:
    """Python 3.11.0 to 3.11.3 pickle them as one, which a reader of a captured child's words must refuse."""
    packed = wire.pack_value((ColourRange.FULL, Colour(range=ColourRange.FULL)))
    assert b"getattr" not in packed
    assert wire.read_value(packed) == (ColourRange.FULL, Colour(range=ColourRange.FULL))
