"""An asset as the farm's media core makes it, of a clip whose frames say their number."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from media_clips import PROFILE, even_times, probed, write_clip
from sound_clips import noise, write_sound

from encoders.audio import encode_audio
from encoders.backends.registry import encoder_id_of
from encoders.package import package_asset
from encoders.plan import plan_asset
from encoders.recognition.sound import HEARD
from encoders.segment import encode_segment


def write_source(folder: Path, frames: int, fps: Fraction) -> Path:
    """A clip of numbered frames with sound."""
    pictures = write_clip(folder / "pictures.mp4", even_times(frames, fps), rate=fps)
    sound = write_sound(folder / "sound.mp4", noise(float(frames / fps)), codec="aac")
    source = folder / "source.mp4"
    with av.open(str(source), "w") as out, av.open(str(pictures)) as left, av.open(str(sound)) as right:
        # All tracks first: the muxer writes its header with the first packet.
        tracks = [(container, out.add_stream_from_template(container.streams[0])) for container in (left, right)]
        for container, copy in tracks:
            for packet in container.demux(container.streams[0]):
                if packet.dts is not None:
                    packet.stream = copy
                    out.mux(packet)
    return source


def numbered_asset(folder: Path, frames: int, fps: Fraction) -> dict[str, tuple[str, bytes]]:
    """Every file of the asset: path -> (kind, bytes). Segments are made one by one, as workers do."""
    source = write_source(folder, frames, fps)
    info = probed(source)
    plan = plan_asset(info, PROFILE, 2, encoder_id_of("cpu", PROFILE.video.preset))
    media, out = folder / "media", folder / "out"
    segments = [encode_segment(source, info, plan, segment, media) for segment in plan.segments]
    sounds = [encode_audio(source, info, plan, rendition, media) for rendition in plan.audio]
    kinds = {file.path: file.kind for file in package_asset(plan, info, segments, sounds, media, out).files}
    return {
        path.relative_to(root).as_posix(): (
            kinds.get(path.relative_to(root).as_posix(), "MEDIA"),
            path.read_bytes(),
        )
        for root in (media, out)
        for path in root.rglob("*.*")
        if path.is_file() and path.name != HEARD
    }
