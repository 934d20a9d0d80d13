"""A device that dies in the middle of an asset: its segment is redone elsewhere, and the asset shows no trace of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.gpu import Gpu, proven_fake
from media_clips import PROFILE, decoded, even_times, probed, read_number, write_clip

from encoders.backends.base import BackendName
from encoders.backends.nverrors import DeviceFault
from encoders.backends.registry import encoder_id_of
from encoders.media import MediaInfo
from encoders.package import package_asset
from encoders.plan import Plan, plan_asset
from encoders.segment import SegmentResult, encode_segment
from encoders.verify_asset import verify_asset

FRAMES = 90


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MediaInfo]:
    path = tmp_path_factory.mktemp("source") / "clip.mp4"
    write_clip(path, even_times(FRAMES), options={"g": "15", "bf": "2"}, tags={"colorspace": 1})
    return path, probed(path)


def shown(folder: Path, rendition: str) -> list[int]:
    media = sorted((folder / rendition).glob("*.m4s"))
    stream = (folder / rendition / "init.mp4").read_bytes() + b"".join(path.read_bytes() for path in media)
    return [read_number(luma) for _, luma in decoded(stream)]


def check_asset(source: tuple[Path, MediaInfo], plan: Plan, media: Path, results: list[SegmentResult]) -> None:
    """The asset is packaged and passes its own verification, and the independent one where that is at hand."""
    for name in (rendition.name for rendition in plan.renditions):
        parts = [part for result in results for part in result.renditions if part.name == name]
        assert len({part.init_sha256 for part in parts}) == 1, "one init segment for the whole rendition"
        assert shown(media, name) == list(range(FRAMES))
    manifest = package_asset(plan, source[1], results, [], media, media)
    verify_asset(plan, manifest, media, media)
    verifier = os.environ.get("REELMILL_VERIFIER")
    if verifier:
        command = [sys.executable, "-m", "assay", str(source[0]), "--hls", str(media / "master.m3u8")]
        command += ["--dash", str(media / "manifest.mpd"), "--brief"]
        done = subprocess.run(command, cwd=verifier, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_hybrid_dies_and_the_cpu_finishes_its_segment(source: tuple[Path, MediaInfo], tmp_path: Path) -> None:
    with proven_fake(Gpu(fails={"Decode": [0] * 40 + [719]})):
        plan = plan_asset(source[1], PROFILE, 1, encoder_id_of("hybrid", PROFILE.video.preset))
        first, second, third = plan.segments
        results = [encode_segment(*source, plan, first, tmp_path, BackendName.HYBRID)]
        with pytest.raises(DeviceFault, match="719"):
            encode_segment(*source, plan, second, tmp_path, BackendName.HYBRID)

        assert encoder_id_of("cpu", PROFILE.video.preset) == plan.encoder, "the same encoder goes on"
        results.append(encode_segment(*source, plan, second, tmp_path, BackendName.CPU))
        results.append(encode_segment(*source, plan, third, tmp_path, BackendName.HYBRID))

    check_asset(source, plan, tmp_path, results)


def test_nvenc_dies_for_good_and_every_segment_is_redone_by_the_next_encoder(
    source: tuple[Path, MediaInfo], tmp_path: Path
) -> None:
    with proven_fake(Gpu(fails={"Encode": [0] * 80 + [20]})):
        plan = plan_asset(source[1], PROFILE, 1, encoder_id_of("nvenc", PROFILE.video.preset))
        begun = encode_segment(*source, plan, plan.segments[0], tmp_path / "given-up", BackendName.NVENC)
        with pytest.raises(DeviceFault):
            encode_segment(*source, plan, plan.segments[1], tmp_path / "given-up", BackendName.NVENC)
        # Other parameter sets: nothing of the first encoder's may be kept, and by its asset key nothing can be.
        again = plan_asset(source[1], PROFILE, 1, encoder_id_of("hybrid", PROFILE.video.preset))
        assert again.asset_key != plan.asset_key
        results = [
            encode_segment(*source, again, segment, tmp_path / "asset", BackendName.HYBRID)
            for segment in again.segments
        ]

    assert begun.renditions[0].parameter_sets_sha256 != results[0].renditions[0].parameter_sets_sha256
    check_asset(source, again, tmp_path / "asset", results)


def test_an_asset_by_nvenc_alone_is_whole(source: tuple[Path, MediaInfo], tmp_path: Path) -> None:
    with proven_fake(Gpu(fails={"CreateEncoder": [21]})):
        plan = plan_asset(source[1], PROFILE, 1, encoder_id_of("nvenc", PROFILE.video.preset))
        results = [
            encode_segment(*source, plan, segment, tmp_path, BackendName.NVENC) for segment in reversed(plan.segments)
        ]

    check_asset(source, plan, tmp_path, results)
