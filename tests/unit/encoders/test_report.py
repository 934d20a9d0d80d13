"""What `asset.json` says of renditions and damage comes from the segments' own measures."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from asset_clips import small_asset

from encoders.report import damage_report, measures_of, picture_report
from encoders.segment import Luma, RenditionSegment, SegmentResult
from encoders.tracks import read_track
from encoders.verify import SEGMENT_CHECKS


def result(index: int, frames: int, misfits: dict[str, float], concealed: int = 0) -> SegmentResult:
    renditions = tuple(
        RenditionSegment(
            name=name,
            init_sha256="",
            parameter_sets_sha256="",
            codec="avc1.64000C",
            media=(),
            compared_frames=frames if name == "90p" else 1,
            worst_misfit=misfit,
        )
        for name, misfit in misfits.items()
    )
    return SegmentResult(
        index=index,
        frames=frames,
        renditions=renditions,
        luma=Luma(mean=100 + index, darkest=50 - index, brightest=150 + index, flat_frames=index),
        worst_misfit=max(misfits.values()),
        encode_s=1.5,
        warnings=(),
        concealed_frames=concealed,
    )


SEGMENTS = [result(0, 100, {"90p": 1.25, "180p": 2.0}), result(1, 40, {"90p": 3.126, "180p": 0.5}, concealed=7)]


def test_each_rendition_has_its_own_worst_misfit_and_its_checks(tmp_path: Path) -> None:
    plan, _, _, media = small_asset(tmp_path, fps=Fraction(30))
    small, large = (picture_report(read_track(media / name, name), plan, SEGMENTS, 4) for name in ("90p", "180p"))
    assert (small.compared_frames, small.worst_misfit) == (140, 3.13)
    assert (large.compared_frames, large.worst_misfit) == (2, 2.0)
    assert large.verified == SEGMENT_CHECKS
    assert large.encoder == plan.encoder
    assert small.size_bytes < large.size_bytes


def test_records_of_earlier_versions_have_no_misfit_for_each_rendition(tmp_path: Path) -> None:
    plan, _, _, media = small_asset(tmp_path, fps=Fraction(30))
    assert picture_report(read_track(media / "90p", "90p"), plan, [], 4).worst_misfit is None


def test_damage_is_counted_over_the_asset() -> None:
    damage = damage_report(SEGMENTS)
    assert damage is not None
    assert (damage.concealed_frames, damage.share) == (7, 0.05)
    assert damage_report([]) is None


def test_measures_are_over_the_asset() -> None:
    found = measures_of(SEGMENTS, [])
    assert found["luma_mean"] == pytest.approx(100.29)
    assert (found["luma_darkest"], found["luma_brightest"], found["flat_frames"]) == (49, 151, 1)
    assert (found["worst_misfit"], found["encode_cpu_s"]) == (3.13, 3.0)
