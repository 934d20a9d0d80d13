"""What a confined child of the fuzzer does with mutated files: probe, decode everything, encode the start of some.

Many files to one child: a fork for each would cost more than most of them. Whoever asks looks at a batch that did not
end well one by one, so that a finding belongs to one file and no limit is shared.
"""

from __future__ import annotations

import resource
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
from av.container import InputContainer

from encoders.backends import registry
from encoders.backends.base import BackendName
from encoders.demux import MEDIA_ERRORS, open_source, read_packets
from encoders.errors import FarmError, Fault
from encoders.ladder import Profile, Rung, VideoSettings
from encoders.limits import check_limits
from encoders.media import MediaInfo
from encoders.plan import plan_asset
from encoders.probe import probe_source
from encoders.sample import prepare
from encoders.segment import encode_segment

MAX_FRAMES = 3000
MAX_PIXELS_DECODED = 400_000_000
"""A file's decoding ends after so many frames or pixels (200 frames of 1080p): more of the same finds nothing new."""
PROFILE = Profile(
    name="fuzz",
    description="",
    rungs=(Rung(name="72p", short_side=72, crf=30, maxrate_bps=1_000_000, bufsize_bits=2_000_000),),
    video=VideoSettings(preset="ultrafast", gop_s=0.5, media_segment_s=0.5, segment_s=0.5),
)
"""The cheapest encoding that still lays out a grid, decodes on it, scales, encodes and verifies."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at one file found; what is refused has a `code`.

    Attributes:
        encoded: output frames of its first segment, encoded and verified; 0 where nobody asked for it.
    """

    pictures: int = 0
    sounds: int = 0
    declared: int = 0
    encoded: int = 0
    peak_bytes: int = 0
    took_s: float = 0.0
    code: str = ""
    fault: Fault | None = None
    detail: str = ""


def examine_batch(files: Sequence[tuple[Path, bool]], scratch: Path) -> list[Seen]:
    """Look at files one after the other; refusals are values here.

    Args:
        files: each with whether its first segment is encoded too.
        scratch: a folder in which this process may write.
    """
    return [_look(path, encode, scratch) for path, encode in files]


def _look(path: Path, encode: bool, scratch: Path) -> Seen:
    begin = time.monotonic()
    try:
        seen = examine(path, scratch if encode else None)
    except FarmError as error:
        took_s = time.monotonic() - begin
        return Seen(code=error.code, fault=error.fault, detail=error.detail, took_s=took_s)
    return seen


def examine(path: Path, scratch: Path | None = None) -> Seen:
    """Probe a file, then decode all of it, as far as it goes; with `scratch`, encode its first segment there.

    Raises:
        FarmError: the file is refused, at whichever step.
    """
    begin = time.monotonic()
    info = probe_source(path, "0" * 64)
    wanted = {track.stream for track in info.audio} | ({info.video.stream} if info.video else set())
    pictures = sounds = pixels = 0
    with closing(open_source(path)) as container:
        for frame in islice(_frames(container, wanted), MAX_FRAMES):
            if isinstance(frame, av.VideoFrame):
                pictures += 1
                pixels += frame.width * frame.height
            else:
                sounds += 1
            if pixels > MAX_PIXELS_DECODED:
                break
    encoded = _encode_start(path, info, scratch) if scratch is not None else 0
    return Seen(
        pictures=pictures,
        sounds=sounds,
        declared=info.video.frames if info.video else 0,
        encoded=encoded,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        took_s=time.monotonic() - begin,
    )


def _encode_start(path: Path, info: MediaInfo, scratch: Path) -> int:
    """Frames of the first segment, encoded as a worker does it, verification included."""
    check_limits(info, PROFILE)
    plan = plan_asset(info, PROFILE, 1, registry.encoder_id_of(BackendName.CPU, PROFILE.video.preset))
    if not plan.segments:
        return 0
    folder = Path(tempfile.mkdtemp(dir=scratch))
    try:
        return encode_segment(path, info, plan, plan.segments[0], folder).frames
    finally:
        shutil.rmtree(folder)


def _frames(container: InputContainer, wanted: Collection[int]) -> Iterator[object]:
    """All frames of some streams, in file order, then what the decoders still hold."""
    streams = [
        stream
        for stream in container.streams
        if stream.index in wanted and isinstance(stream, av.VideoStream | av.AudioStream)
    ]
    for stream in streams:
        prepare(stream)
    for packet in read_packets(container, [*streams]):
        with suppress(*MEDIA_ERRORS):
            yield from packet.decode()
    for stream in streams:
        with suppress(*MEDIA_ERRORS):
            yield from stream.decode(None)
