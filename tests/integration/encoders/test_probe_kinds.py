"""The probe on containers and streams that archives hold beside the common ones."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from clips import tone, write_clip

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
