"""The probe on containers and streams that archives hold beside the common ones."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from uuid import UUID

import av
import pytest
from clips import tone, write_clip

from encoders.containers.asf import HEADER, refuse_protected
from encoders.errors import Encrypted
from encoders.probe import probe_source


@pytest.mark.parametrize(("muxer", "codec", "demuxer"), [("voc", "pcm_u8", "voc"), ("latm", "aac", "loas")])
def test_sound(muxer: str, codec: str, demuxer: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    with av.open(str(path), "w", format=muxer, options={"strict": "experimental"}) as output:
        stream = output.add_stream(codec, rate=48_000, options={"strict": "experimental"})
        stream.layout = "stereo"
        resampler = av.AudioResampler(format=stream.format, layout="stereo", rate=48_000)
        for block in tone(Fraction(0), Fraction(2)):
            for frame in resampler.resample(block):
                output.mux(stream.encode(frame))
        output.mux(stream.encode())
    info = probe_source(path, "0" * 64)
    [sound] = info.audio
    assert (info.container, sound.channels) == (demuxer, 2)
    assert float(info.duration_s) == pytest.approx(2, abs=0.05)


def test_a_bare_stream_of_pictures_without_prediction(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "x",
        times=range(50),
        rate=Fraction(25),
        time_base=Fraction(1, 25),
        size=(352, 288),
        codec="dnxhd",
        pixel_format="yuv422p",
        container="dnxhd",
        codec_options={"profile": "dnxhr_sq"},
    )
    video = probe_source(path, "0" * 64).video
    assert video is not None
    assert (video.codec, video.frames, video.frame_rate) == ("dnxhd", 50, 25)


@pytest.mark.parametrize("kind", ["2211B3FB-BD23-11D2-B4B7-00A0C955FC6E", "298AE614-2622-4C17-B935-DAE07EE9289C"])
def test_windows_media_that_is_protected_is_refused(kind: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.wmv", codec="wmv2", codec_options={}, container="asf")
    assert probe_source(path, "0" * 64).video is not None
    data = bytearray(path.read_bytes())
    body = b"".join((4).to_bytes(4, "little") + field for field in (b"abcd", b"DRM\0", b"key\0", b"url\0"))
    extra = UUID(kind).bytes_le + (24 + len(body)).to_bytes(8, "little") + body
    data[16:24] = (int.from_bytes(data[16:24], "little") + len(extra)).to_bytes(8, "little")
    data[24:28] = (int.from_bytes(data[24:28], "little") + 1).to_bytes(4, "little")
    at = 30 + int.from_bytes(data[46:54], "little")  # after the first of the header's objects
    data[at:at] = extra
    path.write_bytes(data)
    with pytest.raises(Encrypted, match="Windows Media DRM"):
        probe_source(path, "0" * 64)


def test_a_header_of_nonsense_ends(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for body in (b"", bytes(100), b"\xff" * 4000):
        path.write_bytes(HEADER + (1 << 60).to_bytes(8, "little") + bytes(6) + body)
        refuse_protected(path)
