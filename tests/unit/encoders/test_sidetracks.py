"""Names and languages as containers give them, cleaned; when a sound track starts."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from sound_clips import noise, write_sound

from encoders.sidetracks import NAME_LENGTH, clean_language, clean_name, is_part, read_sound
from encoders.timeline import Packets


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Director's cut", "Director's cut"),
        ("two\nlines\tand\x00nul", "two lines and nul"),
        ("bad \ufffd\ufffd bytes", "bad bytes"),
        ("Ünïcödé 日本", "Ünïcödé 日本"),
        ("x" * 5000, "x" * NAME_LENGTH),
        ("  ", None),
        ("", None),
        (None, None),
    ],
)
def test_names_become_one_printable_line(text: str | None, clean: str | None) -> None:
    assert clean_name(text) == clean


@pytest.mark.parametrize(
    ("code", "clean"),
    [
        ("eng", "eng"),
        ("DE", "de"),
        ("pt-BR", "pt-br"),
        ("und", None),
        ("", None),
        (None, None),
        ("../..", None),
        ("e", None),
        ("x" * 40, None),
        ("日本", None),
        ("1a", None),
    ],
)
def test_languages_are_codes_or_nothing(code: str | None, clean: str | None) -> None:
    assert clean_language(code) == clean


@pytest.mark.parametrize(
    ("container", "disposition", "part"),
    [
        ("mov,mp4,m4a,3gp,3g2,mj2", Disposition.dependent, True),
        ("mov,mp4,m4a,3gp,3g2,mj2", Disposition.dependent | Disposition.default, True),
        ("mov,mp4,m4a,3gp,3g2,mj2", Disposition.default, False),
        ("mpegts", Disposition.dependent, False),
    ],
)
def test_loudspeakers_of_immersive_audio_are_no_tracks(container: str, disposition: Disposition, part: bool) -> None:
    stream: Any = SimpleNamespace(disposition=disposition)
    assert is_part(stream, container) is part


@pytest.mark.parametrize(("codec", "start_s"), [("wmalossless", Fraction(1, 2)), ("wmav2", Fraction(7, 10))])
def test_sound_starts_with_its_first_packet_where_frames_come_late(
    codec: str, start_s: Fraction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_sound(tmp_path / "x.mkv", noise(1.0), codec="pcm_s16le", block=9600, start_s=Fraction(1, 2))

    def under_the_next_time(container: Any, stream: Any) -> Any:
        frame = next(container.decode(stream))
        frame.pts += 200
        return frame

    monkeypatch.setattr("encoders.sidetracks.sample_sound", under_the_next_time)
    monkeypatch.setattr("encoders.sidetracks.codec_name", lambda _: codec)
    times = np.arange(500, 1500, 200)
    flags = np.zeros(5, bool)
    packets = Packets(pts=times, duration=np.full(5, 200), key=~flags, discard=flags, hidden=flags, corrupt=flags)
    with av.open(str(source)) as container:
        warnings: list[str] = []
        track = read_sound(source, container.streams.audio[0], packets, warnings)
    assert track is not None
    assert not warnings
    assert (track.start_s, track.end_s) == (start_s, Fraction(3, 2))
