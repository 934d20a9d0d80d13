"""Clips whose pictures carry closed captions, made by putting user data into encoded packets."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

POP_ON, SHOW, ERASE, ROW_15 = b"\x94\x20", b"\x94\x2f", b"\x94\x2c", b"\x94\x70"
ROLL_UP_2, NEW_LINE = b"\x94\x25", b"\x94\xad"


def odd(text: str) -> list[bytes]:
    """Text as pairs of bytes with odd parity, as CEA-608 wants them."""
    signs = [code | (0x80 if code.bit_count() % 2 == 0 else 0) for code in text.encode("ascii")]
    signs += [0x80] * (len(signs) % 2)
    return [bytes(signs[at : at + 2]) for at in range(0, len(signs), 2)]


def twice(*commands: bytes) -> list[bytes]:
    """Commands as they are sent: each one two times."""
    return [command for command in commands for _ in range(2)]


def cc_data(pairs: Mapping[int, bytes]) -> bytes:
    """User data of one picture: a pair for each field."""
    triplets = b"".join(bytes([0xFC + field - 1]) + pairs.get(field, b"\x80\x80") for field in (1, 2))
    return b"GA94\x03" + bytes([0x40 | 2, 0xFF]) + triplets + b"\xff"


def sei(pairs: Mapping[int, bytes]) -> bytes:
    """An H.264 NAL unit with a registered user data message (14496-10, D.1.6), escaped."""
    payload = b"\xb5\x00\x31" + cc_data(pairs)
    body = bytes([4, len(payload)]) + payload + b"\x80"
    for last in (0, 1, 2, 3):
        body = body.replace(b"\x00\x00" + bytes([last]), b"\x00\x00\x03" + bytes([last]))
    return b"\x00\x00\x00\x01\x06" + body


def in_picture_header(packet: bytes, pairs: Mapping[int, bytes]) -> bytes:
    """An MPEG-2 picture with user data before its first slice."""
    at = packet.index(b"\x00\x00\x01\x01")
    return packet[:at] + b"\x00\x00\x01\xb2" + cc_data(pairs) + packet[at:]


def write_captioned(
    path: Path, fields: Mapping[int, Mapping[int, bytes]], codec: str = "libx264", frames: int = 90
) -> Path:
    """A clip of 30 frames a second.

    Args:
        fields: field -> picture as it is shown -> the pair that it carries.
        codec: libx264 (with reordered pictures) or mpeg2video.
    """
    noise = np.random.default_rng(5).integers(0, 255, (64, 96, 3), np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 30)
        stream.options = {"bf": "2", "g": "30"}
        for number in range(frames + 1):
            frame = None
            if number < frames:
                frame = av.VideoFrame.from_ndarray(np.roll(noise, number, axis=1), "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 30)
            for packet in stream.encode(frame):
                shown = round(packet.pts * packet.time_base * 30)
                pairs = {field: at[shown] for field, at in fields.items() if shown in at}
                data = bytes(packet)
                data = sei(pairs) + data if codec == "libx264" else in_picture_header(data, pairs)
                new = av.Packet(data)
                new.pts, new.dts, new.time_base, new.stream = packet.pts, packet.dts, packet.time_base, stream
                new.is_keyframe = packet.is_keyframe
                out.mux(new)
    return path


def spread(pairs: list[bytes], first: int) -> dict[int, bytes]:
    """Pairs on pictures in a row, beginning with `first`."""
    return {first + number: pair for number, pair in enumerate(pairs)}
