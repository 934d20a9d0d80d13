"""What FFmpeg says is heard within a block only, and goes where it went before otherwise."""

from __future__ import annotations

import av.logging
import pytest

from encoders import medialog


def test_each_block_hears_its_own_messages_once_more_if_repeated() -> None:
    heard = []
    for _ in range(2):
        with medialog.listening() as said:
            av.logging.log(av.logging.WARNING, "codec", "the same")
            av.logging.log(av.logging.INFO, "codec", "less")
        heard.append(list(said))
    assert heard == [[(av.logging.WARNING, "codec", "the same")]] * 2
    av.logging.log(av.logging.ERROR, "codec", "outside")
    assert said == heard[-1]
    assert av.logging.get_level() is None


def test_errors_still_go_to_stderr_when_they_did(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(medialog, "_otherwise", medialog._otherwise)
    medialog.log_to_stderr()
    try:
        with medialog.listening() as said:
            av.logging.log(av.logging.ERROR, "codec", "within")
            av.logging.log(av.logging.WARNING, "codec", "a trifle")
        av.logging.log(av.logging.ERROR, "codec", "outside\n")
    finally:
        av.logging.set_level(None)
    assert len(said) == 2
    told = capfd.readouterr().err
    assert "[codec] within" in told
    assert "outside" in told
    assert "a trifle" not in told
