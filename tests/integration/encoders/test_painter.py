"""What frames of every kind look like once filters have run: colours by formula, pictures upright, sizes exact."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from encoders.backends.frames import deinterlaced
from encoders.backends.painter import Painter
from encoders.ladder import Rendition
from encoders.media import Colour, ColourRange, VideoTrack
from encoders.tonemap import Light, to_bt709

WIDTH, HEIGHT, PATCH = 256, 128, 32
KR_KB = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
"""Luma weights of red and blue. Source: ITU-T H.273, table 4."""

PATCHES = np.array(
    [
        [0, 0, 0], [255, 255, 255], [128, 128, 128], [64, 64, 64], [200, 40, 40], [40, 180, 60], [50, 60, 190],
        [180, 180, 60], [60, 170, 180], [170, 70, 170], [220, 180, 150], [90, 60, 40], [30, 30, 90], [240, 240, 200],
        [100, 140, 100], [140, 100, 140], [20, 20, 20], [235, 235, 235], [190, 120, 60], [60, 120, 190], [80, 80, 20],
        [20, 80, 80], [150, 150, 150], [210, 210, 230], [120, 40, 40], [40, 120, 40], [40, 40, 120], [100, 100, 100],
        [230, 90, 60], [60, 200, 120], [90, 90, 220], [10, 40, 10],
    ]
) / 255.0  # fmt: skip


def yuv_of(rgb: np.ndarray, matrix: int) -> np.ndarray:
    """Y 0..1, Cb and Cr -0.5..0.5 of R'G'B' 0..1."""
    kr, kb = KR_KB[matrix]
    y = rgb @ np.array([kr, 1 - kr - kb, kb])
    return np.stack([y, (rgb[:, 2] - y) / (2 * (1 - kb)), (rgb[:, 0] - y) / (2 * (1 - kr))], 1)


def spread(values: np.ndarray) -> np.ndarray:
    """One value a patch as a picture of patches."""
    return np.kron(values.reshape(HEIGHT // PATCH, WIDTH // PATCH), np.ones((PATCH, PATCH)))


def yuv_frame(form: str, matrix: int, full: bool) -> VideoFrame:
    """The patches in a planar YUV format."""
    deep = 10 if "10" in form else 8
    top = (1 << deep) - 1
    scale, chroma, black = (top, top, 0) if full else (219 << deep - 8, 224 << deep - 8, 16 << deep - 8)
    y, cb, cr = yuv_of(PATCHES, matrix).T
    planes = [spread(y * scale + black), spread(cb * chroma + (1 << deep - 1)), spread(cr * chroma + (1 << deep - 1))]
    frame = VideoFrame(WIDTH, HEIGHT, form)
    for plane, values in zip(frame.planes, planes, strict=True):
        values = values[:: HEIGHT // plane.height, :: WIDTH // plane.width]
        padded = np.zeros(
            (plane.height, plane.line_size // (2 if deep > 8 else 1)), np.uint16 if deep > 8 else np.uint8
        )
        padded[:, : plane.width] = np.clip(np.rint(values), 0, top)
        plane.update(padded)
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    return stamped(frame)


def stamped(frame: VideoFrame, pts: int = 0) -> VideoFrame:
    frame.pts, frame.time_base = pts, Fraction(1, 25)
    return frame


def track(**changes: object) -> VideoTrack:
    values: dict[str, object] = {
        "stream": 0, "codec": "h264", "profile": None, "width": WIDTH, "height": HEIGHT, "pixel_format": "yuv420p",
        "bit_depth": 8, "sar": Fraction(1), "rotation": 0, "mirrored": False, "colour": Colour(), "interlaced": False,
        "time_base": Fraction(1, 25), "first_pts": 0, "end_pts": 1, "frame_rate": Fraction(25),
        "average_rate": Fraction(25), "frames": 1, "keyframe_pts": (0,),
    }  # fmt: skip
    return VideoTrack(**(values | changes))  # type: ignore[arg-type]


def rendition(width: int = WIDTH, height: int = HEIGHT) -> Rendition:
    return Rendition(
        name=f"{height}p", width=width, height=height, crf=20, maxrate_bps=10**6, bufsize_bits=10**6, mp4=False
    )


def codes_of(frame: VideoFrame) -> np.ndarray:
    """(patches, 3): Y, Cb, Cr in the middle of each patch."""
    assert frame.format.name == "yuv420p"
    rows = []
    for plane in frame.planes:
        step = PATCH * plane.width // WIDTH
        values = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:, : plane.width]
        rows.append(values[step // 2 : plane.height : step, step // 2 :: step].ravel())
    return np.stack(rows, 1).astype(float)


def due(rgb: np.ndarray) -> np.ndarray:
    """Limited-range BT.709 codes of R'G'B'."""
    y, cb, cr = yuv_of(rgb, 1).T
    return np.stack([16 + 219 * y, 128 + 224 * cb, 128 + 224 * cr], 1)


def painted(frame: VideoFrame, **changes: object) -> VideoFrame:
    return Painter(track(**changes), [rendition()]).paint(frame)[0]


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
@pytest.mark.parametrize("form", ["yuv420p", "yuv444p", "yuv422p10le", "yuv420p10le"])
def test_every_matrix_range_and_depth_becomes_bt709(form: str, matrix: int, full: bool) -> None:
    if matrix == 9:
        # BT.2020's matrix alone; its primaries are another test's subject.
        colour = Colour(primaries=1, matrix=9)
    else:
        colour = Colour()
    error = codes_of(painted(yuv_frame(form, matrix, full), colour=colour)) - due(PATCHES)
    assert np.abs(error).max() <= 2.5
    assert np.abs(error.mean(0)).max() < 0.8


@pytest.mark.parametrize("matrix", [1, 5, 6])
def test_what_lies_above_white_and_below_black_stays_there(matrix: int) -> None:
    frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
    codes = np.linspace(1, 254, len(PATCHES)).round()
    for plane, values in zip(
        frame.planes, (spread(codes), spread(0 * codes + 128), spread(0 * codes + 128)), strict=True
    ):
        values = values[:: HEIGHT // plane.height, :: WIDTH // plane.width]
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        padded[:, : plane.width] = values
        plane.update(padded)
    frame.colorspace, frame.color_range = matrix, 1
    assert np.abs(codes_of(painted(stamped(frame)))[:, 0] - codes).max() <= 1


def test_yuvj_is_full_range_whatever_the_tags_say() -> None:
    frame = yuv_frame("yuvj420p", 6, full=True)
    assert np.abs(codes_of(painted(frame)) - due(PATCHES)).max() <= 2.5


def test_the_track_speaks_where_the_frame_is_silent() -> None:
    frame = yuv_frame("yuv420p", 1, full=True)
    frame.colorspace, frame.color_range = 2, 0
    colour = Colour(range=ColourRange.FULL, matrix=1)
    assert np.abs(codes_of(painted(frame, colour=colour)) - due(PATCHES)).max() <= 2.5


@pytest.mark.parametrize("form", ["rgb24", "gbrp", "bgra", "gbrp10le"])
def test_rgb_becomes_bt709(form: str) -> None:
    rgb = np.stack([spread(channel) for channel in PATCHES.T], -1)
    frame = VideoFrame.from_ndarray(np.rint(rgb * 255).astype(np.uint8), "rgb24")
    if form != "rgb24":
        frame = VideoReformatter().reformat(frame, format=form)
    assert np.abs(codes_of(painted(stamped(frame))) - due(PATCHES)).max() <= 2.5


@pytest.mark.parametrize(
    ("primaries", "transfer", "light"), [(9, 16, Light.PQ), (9, 18, Light.HLG), (9, 14, Light.WIDE), (12, 1, Light.P3)]
)
def test_light_follows_the_formula(primaries: int, transfer: int, light: Light) -> None:
    colour = Colour(primaries=primaries, transfer=transfer, matrix=9 if primaries == 9 else 1)
    frame = yuv_frame("yuv420p10le", colour.matrix, full=False)
    error = codes_of(painted(frame, colour=colour)) - due(to_bt709(PATCHES, light))
    # Saturated patches lie at the table's kinks; a wrong order of channels would be off by tens of codes.
    assert np.abs(error).max() <= 16
    assert np.abs(error).mean() < 1.0


def corner_marked(width: int = WIDTH, height: int = HEIGHT) -> VideoFrame:
    """Grey, but its top left quarter is white and its top right one black."""
    luma = np.full((height * 3 // 2, width), 128, np.uint8)
    luma[: height // 2, : width // 2] = 235
    luma[: height // 2, width // 2 :] = 16
    frame = VideoFrame.from_ndarray(luma, "yuv420p")
    frame.colorspace, frame.color_range = 1, 1
    return stamped(frame)


@pytest.mark.parametrize(
    ("rotation", "mirrored", "white", "black"),
    [
        (0, False, (0, 0), (0, 1)),
        (90, False, (0, 1), (1, 1)),
        (180, False, (1, 1), (1, 0)),
        (270, False, (1, 0), (0, 0)),
        (0, True, (0, 1), (0, 0)),
        (90, True, (1, 1), (0, 1)),
        (270, True, (0, 0), (1, 0)),
    ],
)
def test_pictures_come_out_upright(
    rotation: int, mirrored: bool, white: tuple[int, int], black: tuple[int, int]
) -> None:
    turned = rotation in (90, 270)
    sizes = [rendition(64, 128), rendition(128, 256)] if turned else [rendition(128, 64), rendition(256, 128)]
    for picture in Painter(track(rotation=rotation, mirrored=mirrored), sizes).paint(corner_marked()):
        plane = picture.planes[0]
        luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:, : plane.width].astype(int)
        tall, wide = picture.height // 2, picture.width // 2
        quarters = luma.reshape(2, tall, 2, wide).mean((1, 3))
        assert (picture.width > picture.height) is not turned
        assert quarters[white] > 225
        assert quarters[black] < 26


def test_every_rendition_has_its_size_and_a_change_of_shape_is_followed() -> None:
    sizes = [rendition(36, 18), rendition(96, 48), rendition(192, 96)]
    painter = Painter(track(), sizes)
    for frame in (corner_marked(), corner_marked(64, 32), corner_marked(100, 50), corner_marked()):
        pictures = painter.paint(frame)
        assert [(picture.width, picture.height) for picture in pictures] == [(36, 18), (96, 48), (192, 96)]


def test_an_odd_edge_is_cut_and_nothing_else_is_touched() -> None:
    rng = np.random.default_rng(1)
    luma = rng.integers(16, 235, (129, 257), dtype=np.uint8)
    frame = VideoFrame(257, 129, "yuv420p")
    for plane in frame.planes:
        data = np.full((plane.height, plane.line_size), 128, np.uint8)
        if plane.width == 257:
            data[:, :257] = luma
        plane.update(data)
    frame.colorspace, frame.color_range = 1, 1
    picture = painted(stamped(frame), width=257, height=129)
    plane = picture.planes[0]
    got = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:128, :256]
    assert np.array_equal(got, luma[:128, :256])


@pytest.mark.parametrize("code", [3, 8, 14, 99, 191])
def test_no_colour_code_stops_a_picture(code: int) -> None:
    """Reserved ones, ones that libswscale cannot convert, ones that no table has."""
    frame = yuv_frame("yuv444p", 6, full=False)
    frame.color_primaries = frame.color_trc = frame.colorspace = code
    assert np.abs(codes_of(painted(frame)) - due(PATCHES)).max() <= 2.5


@pytest.mark.parametrize("code", [1, 3, 200])
def test_fields_become_frames_whatever_their_colour_codes_are(code: int) -> None:
    fields = [yuv_frame("yuv420p", 6, full=True) for _ in range(3)]
    for number, frame in enumerate(fields):
        frame.pts, frame.colorspace = number, code
    whole = list(deinterlaced(iter(fields), Fraction(1, 25)))
    assert [(frame.pts, int(frame.colorspace), int(frame.color_range)) for frame in whole] == [
        (number, code, 2) for number in range(3)
    ]
