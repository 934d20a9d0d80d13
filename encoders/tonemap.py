"""From high dynamic range and wide gamut to what every screen shows: BT.709 in standard dynamic range. Pure numpy.

Brightness is left as graded up to 61 cd/m2; above, a Mobius curve rolls highlights off so that 1000 cd/m2 becomes
white. It is applied to the largest of R, G and B, so that hues stay and no channel clips alone. Colours outside of
BT.709 move towards grey of the same luminance until they fit.

`python -m benchmarks tonemap` compares it with six others; docs/colour.md has the figures. In short: BT.2390's EETF
keeps the middle and flattens clouds, Hable and BT.2446 A keep clouds and darken the middle, per channel warm skies turn
white.

Source: SMPTE ST 2084 (PQ), ITU-R BT.2100-2 (HLG, its OOTF), BT.2408 (203 cd/m2 is white), BT.1886 (display gamma),
BT.2087 and SMPTE EG 432-1 (primaries); the curve: FFmpeg's libavfilter/vf_tonemap.c, mobius.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

WHITE_NITS = 203.0
"""Diffuse white in HDR, which becomes SDR's white. Source: ITU-R BT.2408-7, table 1."""
PEAK_NITS = 1000.0
"""The brightest that is still told from white; the level most films and all phones are graded to. One value for all,
since metadata of a source is missing, wrong or different in every segment."""
KNEE = 0.3
"""Share of white up to which nothing changes."""
DISPLAY_GAMMA = 2.4
"""Source: ITU-R BT.1886."""
BT2020_TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
"""Source: ITU-R BT.2087-0, annex 2."""
P3_TO_BT709 = np.array([[1.2249, -0.2247, -0.0002], [-0.0420, 1.0419, 0.0001], [-0.0197, -0.0786, 1.0983]])
"""D65 white. Source: SMPTE EG 432-1, by way of XYZ."""
LUMA_709 = np.array([0.2126, 0.7152, 0.0722])
LUMA_2020 = np.array([0.2627, 0.6780, 0.0593])


class Light(StrEnum):
    """What a source's codes mean."""

    PQ = "pq"
    HLG = "hlg"
    WIDE = "wide"
    """BT.2020 primaries, standard dynamic range."""
    P3 = "p3"
    """P3 primaries with D65 white, standard dynamic range."""


def to_bt709(codes: Array, light: Light) -> Array:
    """SDR BT.709 codes of R'G'B' codes, both 0 to 1, shape (n, 3)."""
    if light is Light.P3:
        linear = codes**DISPLAY_GAMMA @ P3_TO_BT709.T
    elif light is Light.WIDE:
        linear = codes**DISPLAY_GAMMA @ BT2020_TO_BT709.T
    else:
        nits = pq_to_nits(codes) if light is Light.PQ else hlg_to_nits(codes)
        brightest = np.maximum(nits.max(axis=1, keepdims=True), 1e-6)
        linear = nits * (roll_off(brightest) / brightest) / WHITE_NITS @ BT2020_TO_BT709.T
    fitted: Array = fit_gamut(linear) ** (1 / DISPLAY_GAMMA)
    return fitted


def pq_to_nits(codes: Array) -> Array:
    """Light of PQ codes, cd/m2 (ST 2084, equation 4.1)."""
    root = np.clip(codes, 0, 1) ** (1 / 78.84375)
    light: Array = 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    return light


def hlg_to_nits(codes: Array) -> Array:
    """Light of HLG codes on a display of 1000 cd/m2 (BT.2100-2, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - c) / a) + b) / 12)
    luminance = np.maximum(scene @ LUMA_2020, 1e-9)[:, None]
    light: Array = 1000 * luminance ** (1.2 - 1) * scene
    return light


def roll_off(nits: Array) -> Array:
    """Light up to `WHITE_NITS` of light up to `PEAK_NITS`: unchanged below the knee, smooth there, ever rising."""
    peak, knee = PEAK_NITS / WHITE_NITS, KNEE
    light = np.clip(nits / WHITE_NITS, 0, peak)
    a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
    b = (knee**2 - 2 * knee * peak + peak) / (peak - 1)
    curve = (b * b + 2 * b * knee + knee * knee) / (b - a) * (light + a) / (light + b)
    rolled: Array = WHITE_NITS * np.where(light <= knee, light, curve)
    return rolled


def fit_gamut(linear: Array) -> Array:
    """Linear BT.709 within 0 to 1: each colour moved towards the grey of its luminance as far as it must."""
    grey = np.clip(linear @ LUMA_709, 0, 1)[:, None]
    away = linear - grey
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        room = np.where(away > 0, (1 - grey) / away, np.where(away < 0, -grey / away, np.inf))
    fitted: Array = np.clip(grey + away * np.minimum(1, room.min(axis=1, keepdims=True)), 0, 1)
    return fitted


def hald_image(light: Light, level: int = 8) -> npt.NDArray[np.uint16]:
    """`to_bt709` as the picture that FFmpeg's haldclut filter takes: level^3 square, 16-bit RGB, red changing fastest.

    64 places a channel, interpolated by tetrahedra, miss the formula by under half a code of 8 bits on greys, and by
    half a code of luma on the most saturated colours of BT.709.
    """
    axis = np.linspace(0, 1, level * level)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    codes = to_bt709(np.stack([red.ravel(), green.ravel(), blue.ravel()], axis=1), light)
    return np.rint(codes * 65535).astype(np.uint16).reshape(level**3, level**3, 3)
