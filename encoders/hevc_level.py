"""The HEVC level of a rendition, from its size, rate and caps alone: so it is the same for every segment of it.

Pure; standard library only. Source: ITU-T H.265, tables A.8 and A.9 (Main tier), A.4.1.
"""

from __future__ import annotations

from fractions import Fraction

_TABLE = (
    # level_idc (30 x level), luma samples a picture, luma samples a second, kbit/s, kbit of buffer
    (30, 36_864, 552_960, 128, 350),
    (60, 122_880, 3_686_400, 1_500, 1_500),
    (63, 245_760, 7_372_800, 3_000, 3_000),
    (90, 552_960, 16_588_800, 6_000, 6_000),
    (93, 983_040, 33_177_600, 10_000, 10_000),
    (120, 2_228_224, 66_846_720, 12_000, 12_000),
    (123, 2_228_224, 133_693_440, 20_000, 20_000),
    (150, 8_912_896, 267_386_880, 25_000, 25_000),
    (153, 8_912_896, 534_773_760, 40_000, 40_000),
    (156, 8_912_896, 1_069_547_520, 60_000, 60_000),
    (180, 35_651_584, 1_069_547_520, 60_000, 60_000),
    (183, 35_651_584, 2_139_095_040, 120_000, 120_000),
)
_HIGHEST = 186
LEAST_CODING_BLOCK = 8
"""Pictures count in whole coding blocks."""


def choose_hevc_level(width: int, height: int, fps: Fraction, maxrate_bps: int, bufsize_bits: int) -> int:
    """The lowest general_level_idc (93 is level 3.1) of the Main tier that holds a rendition.

    Each level allows six pictures of its full size in the buffer (A.4.2), which is more than any preset keeps.
    """
    wide, tall = (-(-side // LEAST_CODING_BLOCK) * LEAST_CODING_BLOCK for side in (width, height))
    for level, per_picture, per_second, kbps, kbits in _TABLE:
        if (
            wide * tall <= per_picture
            and max(wide, tall) ** 2 <= 8 * per_picture
            and wide * tall * fps <= per_second
            and maxrate_bps <= 1000 * kbps
            and bufsize_bits <= 1000 * kbits
        ):
            return level
    return _HIGHEST
