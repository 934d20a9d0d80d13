"""What quality is measured on: the pictures before encoding, kept without loss, and the encodes that are made of them.

The pictures of a rung are made by the farm's own reader, grid, filters and scaler, so that only the encoder's loss is
measured, and every encode of a rung begins with the very same pictures.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg

from encoders.backends.base import SegmentRequest
from encoders.backends.cpu import read_on_grid
from encoders.backends.frames import FrameReader
from encoders.backends.painter import Painter
from encoders.backends.x264 import x264_options
from encoders.confine import Confiner
from encoders.ladder import Profile, Rendition
from encoders.media import MediaInfo
from encoders.plan import Grid, Plan, Segment, plan_asset, plan_segments
from encoders.probe import probe_source
from encoders.segment import encode_segment
from encoders.timing import FrameClock
from encoders.tuning import Tuning

LOSSLESS = {"preset": "ultrafast", "qp": "0", "x264-params": "threads=1"}
"""A tenth to a half of raw pictures, and quick to write and read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A source laid out, and where the pictures of its rungs are."""

    source: Path
    info: MediaInfo
    plan: Plan
    grid: Grid
    folder: Path

    def pictures(self, rendition: str) -> Path:
        """The file that holds a rung's pictures."""
        return self.folder / f"{rendition}.mkv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One encode of one rung.

    Attributes:
        bps: of the pictures, without the container.
        cpu_s: user time that the encode took.
    """

    path: Path
    bps: float
    cpu_s: float


def open_clip(
    confiner: Confiner, source: Path, profile: Profile, folder: Path, skip_s: float = 0.0, length_s: float | None = None
) -> Clip:
    """Probe a source, lay out an excerpt of it as the farm would lay out all of it, and write its rungs' pictures.

    Args:
        folder: gets one file for each rung.
        skip_s: where the excerpt begins; whole segments must not be cut of it then.
        length_s: of the excerpt; None for all.
    """
    source = source.resolve()
    info = confiner.run(probe_source, source, "0" * 64, readable=[source])
    plan = plan_asset(info, profile, len(os.sched_getaffinity(0)), "x264")
    if plan.grid is None:
        raise ValueError(f"{source.name} has no picture")
    first = min(round(Fraction(skip_s) * plan.grid.fps), plan.grid.frames - 1)
    frames = plan.grid.frames - first
    if length_s is not None:
        frames = min(frames, max(1, round(Fraction(length_s) * plan.grid.fps)))
    span = Segment(index=0, start=first, end=first + frames, first_media=0)
    grid = replace(plan.grid, frames=first + frames)
    plan = replace(plan, grid=grid, segments=plan_segments(grid, profile.video, len(os.sched_getaffinity(0))))
    folder.mkdir(parents=True, exist_ok=True)
    confiner.run(write_pictures, source, info, plan, span, folder, readable=[source], writable=[folder])
    return Clip(source=source, info=info, plan=plan, grid=grid, folder=folder)


def write_pictures(source: Path, info: MediaInfo, plan: Plan, span: Segment, folder: Path) -> None:
    """Write the pictures of `span` as `<rung>.mkv` for every rung, without loss; runs confined."""
    grid, video = plan.grid, info.video
    if grid is None or video is None:
        raise ValueError("no picture")
    painter = Painter(video, plan.renditions)
    request = SegmentRequest(source=source, video=video, plan=plan, segment=span)
    outputs = []
    for each in plan.renditions:
        container = av.open(str(folder / f"{each.name}.mkv"), "w")
        stream = container.add_stream("libx264", rate=grid.fps, options=LOSSLESS)
        stream.width, stream.height, stream.pix_fmt = each.width, each.height, "yuv420p"
        outputs.append((container, stream))
    with FrameReader(source, video, 1) as reader:
        for number, frame in read_on_grid(request, FrameClock.of(video, grid), reader):
            for (container, stream), picture in zip(outputs, painter.paint(frame), strict=True):
                picture.pts, picture.time_base, picture.pict_type = number - span.start, 1 / grid.fps, 0
                container.mux(stream.encode(picture))
    for container, stream in outputs:
        container.mux(stream.encode(None))
        container.close()


def encode_cut(confiner: Confiner, clip: Clip, renditions: Sequence[Rendition], out: Path) -> dict[str, Encoded]:
    """Encode all segments as the farm's workers do, and join them as a player does.

    Args:
        renditions: the plan's, perhaps with another quality.
        out: a folder of its own.
    """
    out.mkdir(parents=True)
    plan = replace(clip.plan, renditions=tuple(renditions))
    cpu_s = 0.0
    for segment in plan.segments:
        result = confiner.run(
            encode_segment, clip.source, clip.info, plan, segment, out, readable=[clip.source], writable=[out]
        )
        cpu_s += result.encode_s
    encoded = {}
    for each in renditions:
        parts = sorted((out / each.name).glob("*.m4s"))
        path = out / f"{each.name}.mp4"
        path.write_bytes(b"".join(part.read_bytes() for part in [out / each.name / "init.mp4", *parts]))
        encoded[each.name] = Encoded(path=path, bps=_picture_bps(path, clip.grid.fps), cpu_s=cpu_s)
    return encoded


def encode_whole(clip: Clip, rendition: Rendition, tuning: Tuning, out: Path) -> Encoded:
    """Encode a rung's pictures in one pass by one ffmpeg process, at the settings of the farm's encoders.

    Args:
        out: the file to write.
    """
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", "-threads", "1"]
    command += ["-i", str(clip.pictures(rendition.name)), "-fps_mode", "passthrough", "-c:v", "libx264"]
    for name, value in x264_options(rendition, clip.grid, tuning, threads=1).items():
        command += [f"-{name}", value]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    # The farm leaves out x264's note of its version, which weighs in short excerpts.
    subprocess.run([*command, "-bsf:v", "filter_units=remove_types=6", str(out)], check=True)
    cpu_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    return Encoded(path=out, bps=_picture_bps(out, clip.grid.fps), cpu_s=cpu_s)


def _picture_bps(path: Path, fps: Fraction) -> float:
    with av.open(str(path)) as container:
        sizes = [packet.size for packet in container.demux(video=0) if packet.size]
    return 8 * sum(sizes) / len(sizes) * float(fps)
