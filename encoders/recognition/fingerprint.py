"""What is known of a video's pictures and sound, in little: the value, and its form in bytes."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from encoders.errors import FarmError, Fault
from encoders.recognition.pictures import HASH_BYTES, VIEWS

Words = npt.NDArray[np.uint32]
PictureMarks = npt.NDArray[np.void]
"""Rows of `PICTURE`."""
PICTURE = np.dtype([("sample", "<u4"), ("hashes", "u1", (len(VIEWS), HASH_BYTES))])
"""One sampled picture: its place on the asset's clock, and the hashes of its views."""
VERSION = 1
"""Of views, hash and rates: fingerprints of different versions are not compared."""
_HEAD = struct.Struct("<4sHHII")
_MAGIC = b"RMfp"


class FingerprintInvalid(FarmError):
    """Bytes that are no fingerprint of this version; the video must be processed again before it can be registered."""

    code = "fingerprint_invalid"
    fault = Fault.CALLER


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fingerprint:
    """What a video is recognised by.

    Attributes:
        pictures: rows of `PICTURE`, by rising sample; pictures that show nothing (black, flat) are missing.
        sound: chromaprint words of the default track, `sound.WORDS_PER_S` a second from the asset's time 0.
    """

    pictures: PictureMarks
    sound: Words

    def __post_init__(self) -> None:
        if self.pictures.dtype != PICTURE or self.sound.dtype != np.uint32:
            raise ValueError(f"{self!r}: rows of PICTURE and uint32 are wanted")
        if np.any(np.diff(self.pictures["sample"].astype(np.int64)) <= 0):
            raise ValueError("samples must rise")

    def __repr__(self) -> str:
        return f"Fingerprint({len(self.pictures)} pictures, {len(self.sound)} words of sound)"

    @property
    def empty(self) -> bool:
        """Whether there is nothing to compare."""
        return not len(self.pictures) and not len(self.sound)

    @classmethod
    def nothing(cls) -> Fingerprint:
        """Of what shows and plays nothing."""
        return cls(pictures=np.zeros(0, PICTURE), sound=np.zeros(0, np.uint32))

    def to_bytes(self) -> bytes:
        """The form that is stored."""
        head = _HEAD.pack(_MAGIC, VERSION, len(VIEWS), len(self.pictures), len(self.sound))
        return head + self.pictures.tobytes() + self.sound.astype("<u4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Fingerprint:
        """What `to_bytes` made.

        Raises:
            FingerprintInvalid: it is of another version, or broken.
        """
        if len(data) < _HEAD.size:
            raise FingerprintInvalid("the fingerprint is cut off: process the video again")
        magic, version, views, pictures, words = _HEAD.unpack_from(data)
        if magic != _MAGIC or version != VERSION or views != len(VIEWS):
            raise FingerprintInvalid("the fingerprint is of another version of the farm: process the video again")
        split = _HEAD.size + pictures * PICTURE.itemsize
        if len(data) != split + words * 4:
            raise FingerprintInvalid("the fingerprint is cut off: process the video again")
        try:
            return cls(
                pictures=np.frombuffer(data[_HEAD.size : split], PICTURE),
                sound=np.frombuffer(data[split:], "<u4").astype(np.uint32),
            )
        except ValueError as error:
            raise FingerprintInvalid(f"the fingerprint is broken ({error}): process the video again") from None


def fingerprint_of(picture_marks: Iterable[str], sound_marks: str) -> Fingerprint:
    """Put together what the records of an asset's tasks hold.

    Args:
        picture_marks: of the segments in order (`PictureListener.marks`).
        sound_marks: of the default sound rendition (`sound.encode_words`).

    Raises:
        FingerprintInvalid: a record of another version.
    """
    try:
        rows = [np.frombuffer(base64.b64decode(marks, validate=True), PICTURE) for marks in picture_marks if marks]
        words = np.frombuffer(base64.b64decode(sound_marks, validate=True), "<u4").astype(np.uint32)
        pictures = np.concatenate(rows) if rows else np.zeros(0, PICTURE)
        return Fingerprint(pictures=pictures, sound=words)
    except (binascii.Error, ValueError) as error:
        raise FingerprintInvalid(f"a record's marks are of another version of the farm ({error})") from None
