"""Names and languages as containers give them, cleaned."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from av.stream import Disposition

from encoders.sidetracks import NAME_LENGTH, clean_language, clean_name, is_part


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
