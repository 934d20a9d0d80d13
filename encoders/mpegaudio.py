"""How long a frame of MPEG audio says that it is: one that was cut off decodes to a burst of noise. Pure.

Source: ISO/IEC 11172-3, 2.4.2.3, and ISO/IEC 13818-3, 2.4.2.3, of the header's fields.
"""

from __future__ import annotations

CODECS = frozenset(("mp1", "mp2", "mp3"))
_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Kilobits a second by (MPEG-1, or 2 and 2.5; layer) and the header's number from 1 on."""
_RATES_HZ = (44_100, 48_000, 32_000)


def frame_bytes(head: bytes) -> int | None:
    """Bytes that a frame takes by its header; None where that says nothing: no header, or a free bit rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    number, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or number in (0, 15) or rate == 3:
        return None
    bps = 1000 * _KBPS[1 if version == 3 else 2, layer][number - 1]
    rate_hz = _RATES_HZ[rate] >> {3: 0, 2: 1, 0: 2}[version]
    if layer == 1:
        return (12 * bps // rate_hz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bps // rate_hz + padding


def cut_short(packet: bytes) -> bool:
    """Whether a packet of one of `CODECS` holds less than the frame that it begins with."""
    needed = frame_bytes(packet[:4])
    return needed is not None and len(packet) < needed
