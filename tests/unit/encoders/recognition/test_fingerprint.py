"""A fingerprint's form in bytes, and what is no fingerprint."""

from __future__ import annotations

import numpy as np
import pytest
from pretend_films import film, fingerprint, marks

from encoders.recognition.fingerprint import Fingerprint, FingerprintInvalid, fingerprint_of
from encoders.recognition.sound import encode_words


def test_that_bytes_bring_back_the_value() -> None:
    one = fingerprint(1, samples=6, sound=9)
    again = Fingerprint.from_bytes(one.to_bytes())
    assert np.array_equal(again.pictures, one.pictures)
    assert np.array_equal(again.sound, one.sound)


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: b"", lambda data: b"x" + data[1:]])
def test_that_broken_bytes_are_refused(spoil) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FingerprintInvalid):
        Fingerprint.from_bytes(spoil(fingerprint(1, samples=2, sound=2).to_bytes()))


def test_that_another_version_is_refused() -> None:
    data = bytearray(fingerprint(1, samples=2, sound=2).to_bytes())
    data[4] += 1
    with pytest.raises(FingerprintInvalid, match="another version"):
        Fingerprint.from_bytes(bytes(data))


def test_that_records_without_marks_give_an_empty_fingerprint() -> None:
    assert fingerprint_of(["", ""], "").empty


@pytest.mark.parametrize(("pictures", "sound"), [(["AAAA"], ""), (["%"], ""), ([], "AAA=")])
def test_that_marks_of_another_form_are_refused(pictures: list[str], sound: str) -> None:
    with pytest.raises(FingerprintInvalid):
        fingerprint_of(pictures, sound)


def test_that_words_come_back() -> None:
    words = np.array([1, 2**32 - 1], np.uint32)
    assert fingerprint_of([], encode_words(words)).sound.tolist() == [1, 2**32 - 1]


def test_that_samples_must_rise() -> None:
    rows = marks(film(1, 2))
    with pytest.raises(ValueError, match="rise"):
        Fingerprint(pictures=rows[::-1].copy(), sound=np.zeros(0, np.uint32))
