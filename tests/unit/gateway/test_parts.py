"""Cutting a file into parts, and telling whether storage holds what the client says it sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.storage.base import MAX_PARTS, MIN_PART_BYTES, Part
from gateway import errors
from gateway.parts import PartLayout, check_parts, plan_parts

DEFAULT = 10 << 20
LAYOUT = PartLayout(size_bytes=25, part_size_bytes=10)
STORED = (
    Part(number=1, size_bytes=10, etag="aa"),
    Part(number=2, size_bytes=10, etag="bb"),
    Part(number=3, size_bytes=5, etag="cc"),
)
NAMED = ((1, '"aa"'), (2, '"BB"'), (3, "cc"))


@given(size=st.integers(1, 10**13), default=st.integers(MIN_PART_BYTES, 1 << 26))
def test_the_parts_of_a_planned_layout_add_up_to_the_file_and_storage_takes_them(size: int, default: int) -> None:
    layout = plan_parts(size, None, default)
    last = layout.length_of(layout.count)
    assert (layout.count - 1) * layout.part_size_bytes + last == size
    assert 0 < last <= layout.part_size_bytes
    assert layout.count <= MAX_PARTS
    assert layout.part_size_bytes >= default


def test_a_small_file_is_one_part_whatever_the_part_size() -> None:
    assert plan_parts(100, 1_000, DEFAULT).count == 1


@pytest.mark.parametrize(
    ("size", "wanted"), [(1 << 30, MIN_PART_BYTES - 1), (MIN_PART_BYTES * 10_001, MIN_PART_BYTES), (1 << 50, 6 << 30)]
)
def test_a_part_size_that_storage_does_not_take_is_refused(size: int, wanted: int) -> None:
    with pytest.raises(errors.PartLayoutInvalid):
        plan_parts(size, wanted, DEFAULT)


@pytest.mark.parametrize("number", [0, 4, -1])
def test_a_part_outside_of_the_layout_has_no_length(number: int) -> None:
    with pytest.raises(errors.PartNumberInvalid, match="1 to 3"):
        LAYOUT.length_of(number)


def test_a_part_has_exactly_the_length_of_the_layout() -> None:
    LAYOUT.check_length(3, 5)
    with pytest.raises(errors.PartLengthInvalid, match="5 bytes"):
        LAYOUT.check_length(3, 10)


def test_all_parts_in_any_order_with_any_quoting_are_taken() -> None:
    assert check_parts(LAYOUT, NAMED[::-1], STORED[::-1]) == STORED


@pytest.mark.parametrize(
    ("named", "stored", "error", "says"),
    [
        (NAMED[:2], STORED, errors.PartsMissing, "not named: part 3"),
        (NAMED, STORED[:1], errors.PartsMissing, "not received: part 2, 3"),
        ((*NAMED, (1, "aa")), STORED, errors.PartsUnexpected, "more than once"),
        ((*NAMED, (4, "dd")), STORED, errors.PartsUnexpected, "not 4"),
        (NAMED, (*STORED[:2], Part(number=3, size_bytes=4, etag="cc")), errors.PartSizeMismatch, "part 3"),
        ((*NAMED[:2], (3, "dd")), STORED, errors.PartEtagMismatch, "part 3"),
    ],
)
def test_what_does_not_fit_is_named(
    named: tuple[tuple[int, str], ...], stored: tuple[Part, ...], error: type[errors.GatewayError], says: str
) -> None:
    with pytest.raises(error, match=says):
        check_parts(LAYOUT, named, stored)


def test_long_lists_are_cut() -> None:
    layout = PartLayout(size_bytes=1000, part_size_bytes=1)
    with pytest.raises(errors.PartsMissing, match="and 980 more"):
        check_parts(layout, [(number, "aa") for number in range(1, 1001)], ())
