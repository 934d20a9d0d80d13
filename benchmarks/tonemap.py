"""`python -m benchmarks tonemap CLIP…`: how operators bring the light of HDR clips to a screen of standard range.

Frames spread over each clip are read as light (cd/m2, BT.2020), given to each operator, and compared with that light.
All operators share diffuse white (203 cd/m2), the fitting into BT.709's gamut and the display gamma with the product,
so that only the curve, and what it is applied to, differs. The first row is the product's.

\b
- middle: mean difference in codes (of 255) from what an HDR screen shows, of pixels from 5 to 100 cd/m2: faces, rooms;
- highlights: standard deviation of luma codes of what is brighter than diffuse white: what is left of clouds and lamps;
- clipped: share of these that became as white as can be;
- hue: mean turn of hue in degrees (Oklab) of pixels that have one;
- structure: mean correlation, in blocks of 8x8, between the logarithm of light and the code of luma.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import click
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from rich.console import Console
from rich.table import Table

from benchmarks.environment import write_results
from encoders.demux import open_source
from encoders.media import HLG, PQ
from encoders.tonemap import (
    BT2020_TO_BT709,
    DISPLAY_GAMMA,
    LUMA_709,
    LUMA_2020,
    PEAK_NITS,
    WHITE_NITS,
    fit_gamut,
    hlg_to_nits,
    pq_to_nits,
    roll_off,
)

Array = npt.NDArray[np.float64]
Operator = Callable[[Array], Array]
"""Light (cd/m2, BT.2020, shape (n, 3)) to BT.709 codes, 0 to 1."""

FRAMES = 8
LONG_SIDE = 640
MIDDLE_NITS = (5.0, 100.0)
AS_WHITE_AS_CAN_BE = 254 / 255
BLOCK = 8
LEAST_CHROMA = 0.02
"""Oklab chroma below which a pixel is called grey."""
LEAST_SHARE = 0.002
"""Of a clip's pixels; measures of fewer are left out."""


def codes_of(linear: Array) -> Array:
    """BT.709 codes of linear BT.2020 light, 1 being white."""
    fitted: Array = fit_gamut(linear @ BT2020_TO_BT709.T) ** (1 / DISPLAY_GAMMA)
    return fitted


def by_largest(curve: Callable[[Array], Array]) -> Operator:
    """A curve (light to light, cd/m2) applied to the largest of R, G and B, which keeps hues."""

    def operator(nits: Array) -> Array:
        brightest = np.maximum(nits.max(axis=1, keepdims=True), 1e-6)
        return codes_of(nits * (curve(brightest) / brightest) / WHITE_NITS)

    return operator


def by_channel(curve: Callable[[Array], Array]) -> Operator:
    """A curve applied to each channel, as a camera's film would."""
    return lambda nits: codes_of(curve(nits) / WHITE_NITS)


def cut_off(nits: Array) -> Array:
    """No curve: what is brighter than white is white."""
    return np.minimum(nits, WHITE_NITS)


def reinhard(nits: Array) -> Array:
    """Extended Reinhard, white at the peak. Source: Reinhard et al., "Photographic Tone Reproduction", 2002, eq. 4."""
    light, peak = nits / WHITE_NITS, PEAK_NITS / WHITE_NITS
    rolled: Array = WHITE_NITS * np.clip(light * (1 + light / peak**2) / (1 + light), 0, 1)
    return rolled


def hable(nits: Array) -> Array:
    """Hable's film curve. Source: FFmpeg's libavfilter/vf_tonemap.c."""

    def film(x: Array) -> Array:
        shaped: Array = (x * (0.15 * x + 0.05) + 0.004) / (x * (0.15 * x + 0.5) + 0.06) - 0.02 / 0.3
        return shaped

    peak = np.array(PEAK_NITS / WHITE_NITS)
    return WHITE_NITS * np.clip(film(nits / WHITE_NITS) / film(peak), 0, 1)


def nits_to_pq(nits: Array) -> Array:
    """PQ codes of light. Source: SMPTE ST 2084, equation 5.2."""
    power = np.clip(nits / 10_000, 0, 1) ** 0.1593017578125
    codes: Array = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    return codes


def eetf(nits: Array) -> Array:
    """Source: ITU-R BT.2390-10, 5.4.1, without lift of black."""
    top = nits_to_pq(np.array(PEAK_NITS))
    most = nits_to_pq(np.array(WHITE_NITS)) / top
    code = np.clip(nits_to_pq(nits) / top, 0, 1)
    knee = 1.5 * most - 0.5
    t = np.clip((code - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * most
    return pq_to_nits(np.where(code < knee, code, spline) * top)


def bt2446a(nits: Array) -> Array:
    """Source: ITU-R BT.2446-1, 4: method A, for a screen of 203 cd/m2 instead of 100."""
    coded = np.clip(nits / PEAK_NITS, 0, 1) ** (1 / 2.4)
    luma = coded @ LUMA_2020
    p_hdr, p_sdr = (1 + 32 * (peak / 10_000) ** (1 / 2.4) for peak in (PEAK_NITS, WHITE_NITS))
    perceived = np.log1p((p_hdr - 1) * luma) / np.log(p_hdr)
    bent = np.where(
        perceived <= 0.7399,
        1.0770 * perceived,
        np.where(perceived < 0.9909, -1.1510 * perceived**2 + 2.7811 * perceived - 0.6302, 0.5 * perceived + 0.5),
    )
    shown = (p_sdr**bent - 1) / (p_sdr - 1)
    scale = shown / (1.1 * np.maximum(luma, 1e-9))
    blue, red = (scale * (coded[:, i] - luma) / weight for i, weight in ((2, 1.8814), (0, 1.4746)))
    shown = shown - np.maximum(0.1 * red, 0)
    r, b = shown + 1.4746 * red, shown + 1.8814 * blue
    g = (shown - LUMA_2020[0] * r - LUMA_2020[2] * b) / LUMA_2020[1]
    return codes_of(np.clip(np.stack([r, g, b], axis=1), 0, 1) ** 2.4)


OPERATORS: Mapping[str, Operator] = {
    "Mobius, largest channel": by_largest(roll_off),
    "Mobius, per channel": by_channel(roll_off),
    "none (cut off)": by_channel(cut_off),
    "Reinhard, largest channel": by_largest(reinhard),
    "Hable, largest channel": by_largest(hable),
    "BT.2390 EETF, largest channel": by_largest(eetf),
    "BT.2446 A": bt2446a,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What an operator did to a clip; None where too few pixels are of the kind."""

    middle: float | None
    highlights: float | None
    clipped: float | None
    hue_degrees: float | None
    structure: float | None


def oklab_ab(linear_709: Array) -> Array:
    """The two colour axes of Oklab, shape (n, 2). Source: Björn Ottosson, "A perceptual color space", 2020."""
    to_lms = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    to_lms.append([0.0883024619, 0.2817188376, 0.6299787005])
    to_ab = np.array([[1.9779984951, -2.4285922050, 0.4505937099], [0.0259040371, 0.7827717662, -0.8086757660]])
    ab: Array = np.cbrt(linear_709 @ np.array(to_lms).T) @ to_ab.T
    return ab


def measure(nits: Array, codes: Array, shape: tuple[int, int, int]) -> Measures:
    """What became of the light of some pictures.

    Args:
        nits: BT.2020, shape (n, 3).
        codes: BT.709, 0 to 1, shape (n, 3).
        shape: pictures, height, width; their product is n.
    """
    luminance, luma = nits @ LUMA_2020, codes @ LUMA_709
    middle = (luminance >= MIDDLE_NITS[0]) & (luminance <= MIDDLE_NITS[1])
    bright = luminance > WHITE_NITS
    least = LEAST_SHARE * len(nits)
    plain = (np.minimum(luminance / WHITE_NITS, 1)) ** (1 / DISPLAY_GAMMA)
    before, after = oklab_ab(nits / WHITE_NITS @ BT2020_TO_BT709.T), oklab_ab(codes**DISPLAY_GAMMA)
    coloured = (np.hypot(*before.T) > LEAST_CHROMA) & (np.hypot(*after.T) > LEAST_CHROMA)
    turn = np.angle((after[:, 0] + 1j * after[:, 1]) * (before[:, 0] - 1j * before[:, 1]), deg=True)
    return Measures(
        middle=float(255 * (luma - plain)[middle].mean()) if middle.sum() > least else None,
        highlights=float(255 * luma[bright].std()) if bright.sum() > least else None,
        clipped=float((luma[bright] >= AS_WHITE_AS_CAN_BE).mean()) if bright.sum() > least else None,
        hue_degrees=float(np.abs(turn[coloured]).mean()) if coloured.sum() > least else None,
        structure=structure(np.log(np.maximum(luminance, 0.005)).reshape(shape), luma.reshape(shape)),
    )


def structure(light: Array, luma: Array) -> float | None:
    """Mean correlation within blocks that show something; None when none does."""
    count, height, width = (light.shape[0], *(side // BLOCK * BLOCK for side in light.shape[1:]))

    def blocks(pictures: Array) -> Array:
        cut = pictures[:, :height, :width].reshape(count, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
        flat = cut.transpose(0, 1, 3, 2, 4).reshape(-1, BLOCK * BLOCK)
        return np.asarray(flat - flat.mean(axis=1, keepdims=True))

    a, b = blocks(light), blocks(luma)
    shows = np.sqrt((a * a).mean(axis=1)) > 0.05
    if not shows.any():
        return None
    a, b = a[shows], b[shows]
    return float(((a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1) + 1e-12)).mean())


def read_light(clip: Path) -> tuple[Array, tuple[int, int, int]]:
    """Light of frames spread over a clip, cd/m2, shape (n, 3), and pictures, height and width.

    Raises:
        UsageError: the clip is no HDR in limited range with BT.2020's matrix.
    """
    with open_source(clip) as container:
        stream = container.streams.video[0]
        kept: list[VideoFrame] = []
        every = 1
        # Twice as sparse whenever there are twice as many as wanted: one pass, whatever the length.
        for number, frame in enumerate(container.decode(stream)):
            if number % every == 0:
                kept.append(frame)
            if len(kept) == 2 * FRAMES:
                kept, every = kept[::2], 2 * every
    transfer = int(kept[0].color_trc) if kept else 0
    if transfer not in (PQ, HLG) or int(kept[0].colorspace) != 9 or int(kept[0].color_range) == 2:
        raise click.UsageError(f"{clip} is no HDR clip (PQ or HLG, BT.2020, limited range)")
    wide, tall = kept[0].width, kept[0].height
    scale = min(1.0, LONG_SIDE / max(wide, tall))
    width, height = (max(BLOCK, round(side * scale / 2) * 2) for side in (wide, tall))
    codes = np.concatenate([_rgb(frame.reformat(width, height, "yuv444p10le")) for frame in kept])
    return (pq_to_nits(codes) if transfer == PQ else hlg_to_nits(codes)), (len(kept), height, width)


def _rgb(frame: VideoFrame) -> Array:
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)
        planes.append(rows[:, : plane.width].astype(np.float64).ravel())
    y, u, v = (planes[0] - 64) / 876, (planes[1] - 512) / 896, (planes[2] - 512) / 896
    red, blue = y + 1.4746 * v, y + 1.8814 * u
    green = (y - LUMA_2020[0] * red - LUMA_2020[2] * blue) / LUMA_2020[1]
    codes: Array = np.clip(np.stack([red, green, blue], axis=1), 0, 1)
    return codes


def write_strip(path: Path, pictures: Mapping[str, Array], shape: tuple[int, int, int]) -> None:
    """The middle picture of every operator below each other, in the table's order."""
    count, height, width = shape
    rows = [each.reshape(count, height, width, 3)[count // 2] for each in pictures.values()]
    frame = av.VideoFrame.from_ndarray(np.rint(255 * np.concatenate(rows)).astype(np.uint8), "rgb24")
    frame.save(str(path))


@click.command(help=__doc__)
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
@click.option(
    "--pictures", type=click.Path(file_okay=False, path_type=Path), help="Folder for a PNG strip of each clip."
)
def command(clips: tuple[Path, ...], json_path: Path | None, pictures: Path | None) -> None:
    """All operators on all clips."""
    console, results = Console(width=140), {}
    for clip in clips:
        nits, shape = read_light(clip)
        shown = {name: operator(nits) for name, operator in OPERATORS.items()}
        results[clip.stem] = {name: asdict(measure(nits, codes, shape)) for name, codes in shown.items()}
        table = Table(clip.stem, *(name.replace("_", ", ") for name in Measures.__slots__))
        for name, row in results[clip.stem].items():
            table.add_row(name, *("-" if value is None else f"{value:.3f}" for value in row.values()))
        console.print(table)
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            write_strip(pictures / f"{clip.stem}.png", shown, shape)
    if json_path:
        write_results(json_path, "tonemap", results)
