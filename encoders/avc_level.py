"""The H.264 level of a rendition, from its size, rate and caps alone: so it is the same for every segment of it.

Encoders left alone may choose by content or per session, and then the segments of one rendition would need different
init segments. Pure; standard library only.

Source: ITU-T H.264 (08/2021), table A-1 and A.3.3; High profile multiplies MaxBR and MaxCPB by 1.25 (table A-2).
"""

from __future__ import annotations

from fractions import Fraction

REFERENCES = 4
"""Reference frames that renditions may use; every preset in use keeps to it."""

_TABLE = (
    # level_idc, macroblocks a second, macroblocks a frame, macroblocks of references, kbit/s, kbit of buffer
    (10, 1_485, 99, 396, 64, 175),
    (11, 3_000, 396, 900, 192, 500),
    (12, 6_000, 396, 2_376, 384, 1_000),
    (13, 11_880, 396, 2_376, 768, 2_000),
    (20, 11_880, 396, 2_376, 2_000, 2_000),
    (21, 19_800, 792, 4_752, 4_000, 4_000),
    (22, 20_250, 1_620, 8_100, 4_000, 4_000),
    (30, 40_500, 1_620, 8_100, 10_000, 10_000),
    (31, 108_000, 3_600, 18_000, 14_000, 14_000),
    (32, 216_000, 5_120, 20_480, 20_000, 20_000),
    (40, 245_760, 8_192, 32_768, 20_000, 25_000),
    (42, 522_240, 8_704, 34_816, 50_000, 62_500),
    (50, 589_824, 22_080, 110_400, 135_000, 135_000),
    (51, 983_040, 36_864, 184_320, 240_000, 240_000),
    (52, 2_073_600, 36_864, 184_320, 240_000, 240_000),
    (60, 4_177_920, 139_264, 696_320, 240_000, 240_000),
    (61, 8_355_840, 139_264, 696_320, 480_000, 480_000),
)
_HIGHEST = 62


def choose_level(width: int, height: int, fps: Fraction, maxrate_bps: int, bufsize_bits: int) -> int:
    """The lowest level_idc (31 is level 3.1) that holds a rendition in High profile with `REFERENCES` references.

    Level 4.1 is not told from 4.2 here: all that it adds to 4.0 is rate that no ladder asks for.
    """
    wide, tall = -(-width // 16), -(-height // 16)
    blocks = wide * tall
    for level, per_second, per_frame, references, kbps, kbits in _TABLE:
        if (
            blocks <= per_frame
            and max(wide, tall) ** 2 <= 8 * per_frame
            and blocks * fps <= per_second
            and blocks * REFERENCES <= references
            and maxrate_bps <= 1250 * kbps
            and bufsize_bits <= 1250 * kbits
        ):
            return level
    return _HIGHEST
