"""Filter taps, slots and the kernel's table."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from encoders.backends.nverrors import Unsupported
from encoders.backends.scale import (
    ALIGN_BYTES,
    KERNEL_SOURCE,
    PLANE_DTYPE,
    Filter,
    plan_cascade,
    plan_scaling,
    plan_slot,
    plan_taps,
)


@pytest.mark.parametrize("kind", list(Filter))
@pytest.mark.parametrize(("source", "target"), [(1080, 240), (1081, 359), (10, 10), (4, 50), (1, 8), (3, 2), (7, 1)])
def test_taps_add_up_to_one_and_stay_inside(source: int, target: int, kind: Filter) -> None:
    taps = plan_taps(source, target, kind)

    assert taps.weights.shape == (target, taps.count)
    np.testing.assert_allclose(taps.weights.sum(axis=1), 1.0, atol=1e-6)
    assert taps.starts.min() >= 0
    assert taps.starts.max() + taps.count <= source


def test_equal_lengths_copy() -> None:
    taps = plan_taps(64, 64)

    assert np.array_equal(taps.weights[range(64), np.arange(64) - taps.starts], np.ones(64, np.float32))


def test_a_flat_signal_stays_flat_and_a_ramp_stays_a_ramp() -> None:
    taps = plan_taps(100, 25)
    ramp = np.arange(100, dtype=np.float64)
    scaled = np.array(
        [w @ ramp[s : s + taps.count] for w, s in zip(taps.weights.astype(np.float64), taps.starts, strict=True)]
    )

    np.testing.assert_allclose(scaled[3:-3], (np.arange(25) * 4 + 1.5)[3:-3], atol=1e-4)


def test_surfaces_do_not_overlap_and_are_aligned() -> None:
    layout = plan_slot([(426, 240), (640, 360), (1920, 1080)])

    for before, after in pairwise(layout.surfaces):
        assert before.offset + before.size_bytes <= after.offset
    assert all(surface.offset % ALIGN_BYTES == 0 for surface in layout.surfaces)
    assert layout.surfaces[-1].offset + layout.surfaces[-1].size_bytes <= layout.size_bytes


def test_one_entry_per_rendition_and_plane_with_blocks_behind_each_other() -> None:
    plan = plan_scaling(1920, 1080, plan_slot([(640, 360), (1280, 720)]).surfaces)

    assert plan.planes["components"].tolist() == [1, 2, 1, 2]
    assert plan.planes["width"].tolist() == [640, 320, 1280, 640]
    blocks = [20 * 45, 10 * 23, 40 * 90, 20 * 45]
    assert plan.planes["first_block"].tolist() == np.cumsum([0, *blocks[:-1]]).tolist()
    assert plan.blocks == sum(blocks)


def test_a_cascade_goes_from_the_source_down_the_ladder() -> None:
    first, second = plan_cascade(1920, 1080, plan_slot([(320, 180), (1280, 720)]))

    assert first.planes["width"].tolist() == [1280, 640]
    assert second.planes["width"].tolist() == [320, 160]
    assert second.planes["taps_x"][0] == plan_taps(1280, 320).count


def test_planar_and_interleaved_chroma() -> None:
    (planar,) = plan_slot([(64, 32)], planar=True).surfaces
    (interleaved,) = plan_slot([(64, 32)]).surfaces

    assert (planar.chroma_pitch, planar.chroma_step, planar.chroma_second) == (32, 1, 32 * 16)
    assert (interleaved.chroma_pitch, interleaved.chroma_step, interleaved.chroma_second) == (64, 2, 1)
    assert planar.size_bytes == interleaved.size_bytes == 64 * 32 * 3 // 2


def test_the_table_holds_addresses() -> None:
    plan = plan_scaling(64, 64, plan_slot([(32, 32)]).surfaces)

    table = plan.table(1 << 40).view(PLANE_DTYPE)

    assert table["weights_x"][0] == (1 << 40) + plan.planes["weights_x"][0]
    assert table["offset"][1] == 32 * 32
    assert plan.planes["weights_x"][0] == 0, "the plan itself is not changed"


def test_the_table_s_layout_is_the_kernel_s() -> None:
    body = KERNEL_SOURCE.read_text().split("struct Plane {")[1].split("};")[0]
    names = [
        name.strip()
        for line in body.splitlines()
        for name in line.split("//")[0].replace("u64", "").replace("int", "").rstrip("; ").split(",")
        if name.strip()
    ]

    assert names == list(PLANE_DTYPE.names or ())
    assert PLANE_DTYPE.itemsize == 5 * 8 + 10 * 4


def test_a_ratio_too_steep_for_shared_memory_is_refused() -> None:
    with pytest.raises(Unsupported, match="7680x4320"):
        plan_scaling(7680, 4320, plan_slot([(426, 240)]).surfaces)
