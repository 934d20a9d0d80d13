"""A known clip through a backend, compared with what went in: whether a device still does what it should.

Runs in a confined child, at a worker's start, after an error of its device and from time to time. The clip is made
here, so that nothing has to be shipped and nobody can spoil it.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from encoders.backends import registry
from encoders.backends.base import BackendName
from encoders.errors import VerificationFailed
from encoders.ladder import Profile, Rung
from encoders.media import Colour, MediaInfo, VideoTrack
from encoders.plan import plan_asset
from encoders.segment import encode_segment

WIDTH, HEIGHT, FRAMES, FPS = 320, 180, 48, Fraction(24)
"""Above NVENC's least size (145x49 for H.264), two GOPs, well under a second of work. Source: NVENC application
note."""
LEAST_PSNR_DB = 30.0
"""The clip comes back at 38 to 45 dB; a device that garbles pictures stays below 20."""
PROFILE = Profile(
    name="canary",
    description="",
    rungs=(Rung(name="180p", short_side=HEIGHT, crf=18, maxrate_bps=4_000_000, bufsize_bits=8_000_000),),
)


def encode_canary(backend: str, folder: Path) -> str:
    """Encode the clip with a backend and compare.

    Returns:
        what was measured, in words.

    Raises:
        VerificationFailed: what came out is not what went in.
        FarmError: the backend could not encode.
    """
    source = folder / "canary.mp4"
    pictures = [_picture(index) for index in range(FRAMES)]
    _write(source, pictures)
    info = MediaInfo(
        container="mov,mp4,m4a,3gp,3g2,mj2",
        size_bytes=source.stat().st_size,
        sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
        video=_track(),
        audio=(),
    )
    plan = plan_asset(info, PROFILE, 1, registry.encoder_id_of(backend, PROFILE.video.preset))
    encode_segment(source, info, plan, plan.segments[0], folder, BackendName(backend), 1)
    name = plan.renditions[0].name
    media = [folder / name / "init.mp4", *sorted((folder / name).glob("*.m4s"))]
    joined = folder / "joined.mp4"
    joined.write_bytes(b"".join(path.read_bytes() for path in media))
    worst = _worst_psnr(joined, pictures)
    if worst < LEAST_PSNR_DB:
        raise VerificationFailed(
            f"{backend} gave back the canary at {worst:.1f} dB; {LEAST_PSNR_DB:.0f} dB is the least"
        )
    return f"{FRAMES} frames, worst {worst:.1f} dB"


def _picture(index: int) -> npt.NDArray[np.uint8]:
    """Luma of one frame: waves that drift, and blocks that say which frame it is."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    luma: npt.NDArray[np.uint8] = (128 + 90 * np.sin((x + 2 * y + 6 * index) / 30)).astype(np.uint8)
    for bit in range(6):
        luma[8:24, 16 + 24 * bit : 32 + 24 * bit] = 220 if index >> bit & 1 else 30
    return luma


def _write(path: Path, pictures: list[npt.NDArray[np.uint8]]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "6"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index, luma in enumerate(pictures):
            planes = np.concatenate([luma.ravel(), np.full(WIDTH * HEIGHT // 2, 128, np.uint8)])
            frame = av.VideoFrame.from_ndarray(planes.reshape(HEIGHT * 3 // 2, WIDTH), "yuv420p")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _track() -> VideoTrack:
    return VideoTrack(
        stream=0,
        codec="h264",
        profile=None,
        width=WIDTH,
        height=HEIGHT,
        pixel_format="yuv420p",
        bit_depth=8,
        sar=Fraction(1),
        rotation=0,
        mirrored=False,
        colour=Colour(primaries=1, transfer=1, matrix=1),
        interlaced=False,
        time_base=1 / (FPS * 512),
        first_pts=0,
        end_pts=FRAMES * 512,
        frame_rate=FPS,
        average_rate=FPS,
        frames=FRAMES,
        keyframe_pts=(0,),
    )


def _worst_psnr(path: Path, pictures: list[npt.NDArray[np.uint8]]) -> float:
    """Least PSNR of luma over all frames, dB. Raises VerificationFailed when frames are missing."""
    worst, count = np.inf, 0
    with av.open(str(path)) as container:
        for frame, wanted in zip(container.decode(video=0), pictures, strict=False):
            luma = frame.to_ndarray(format="yuv420p")[:HEIGHT, :WIDTH]
            error = float(np.mean((luma.astype(np.float64) - wanted) ** 2))
            worst = min(worst, 10 * np.log10(255**2 / max(error, 1e-3)))
            count += 1
    if count != len(pictures):
        raise VerificationFailed(f"the canary came back with {count} of {len(pictures)} frames")
    return float(worst)
