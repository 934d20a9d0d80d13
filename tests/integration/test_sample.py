"""The demo's clip is a real one: counted pictures, sound that lasts as long, movement, scene cuts."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from gateway.sample import write_sample


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "clip.mp4"
    write_sample(path, seconds=11, width=320, height=180, rate=Fraction(12))
    return path


def test_pictures_and_sound_last_as_long_as_asked(clip: Path) -> None:
    with av.open(str(clip)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, video.average_rate) == (320, 180, 12)
        assert (audio.rate, audio.layout.name) == (48_000, "stereo")
        decoded = list(container.decode(video))
        assert [frame.pts * frame.time_base for frame in decoded] == [Fraction(n, 12) for n in range(132)]
        assert audio.duration is not None
        assert abs(audio.duration * audio.time_base - 11) < Fraction(1, 20)


def test_the_picture_moves_and_is_cut_every_ten_seconds(clip: Path) -> None:
    with av.open(str(clip)) as container:
        luma = [frame.to_ndarray(format="gray").astype(int) for frame in container.decode(video=0)]
    change = [float(np.abs(b - a).mean()) for a, b in itertools.pairwise(luma)]
    assert min(change) > 1
    assert int(np.argmax(change)) == 119  # between the last picture of the tenth second and the first of the eleventh


def test_each_second_begins_with_a_beep(clip: Path) -> None:
    with av.open(str(clip)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    for second in range(1, 10):
        beep = np.abs(sound[second * 48_000 + 2_000 : second * 48_000 + 4_000]).max()
        quiet = np.abs(sound[second * 48_000 + 20_000 : second * 48_000 + 40_000]).max()
        assert beep > 3 * quiet
