"""The scaling kernel: it compiles for every architecture that the farm meets, and does what swscale does.

The comparison runs the kernel's own text on a CPU (tests/fakes/scale_on_host.cpp). What a GPU computes differs from
that by the order of float additions only; `reelmill doctor` compares the two on the device itself.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.reformatter import VideoReformatter
from fakes import nvrtc

from encoders.backends.scale import KERNEL_SOURCE, ScalePlan, Surface, plan_scaling, plan_slot

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
"""Turing, Ampere (data centre and desktop), Ada, Hopper, Blackwell (data centre and desktop)."""
HOST_SOURCE = Path(__file__).parents[1] / "fakes" / "scale_on_host.cpp"
Picture = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def on_host(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernel as a shared library for the CPU."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler on this machine")
    library = tmp_path_factory.mktemp("kernel") / "scale.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-Wno-int-to-pointer-cast", "-o", str(library)]
    subprocess.run([*command, str(HOST_SOURCE)], check=True)
    return ctypes.CDLL(str(library))


def test_compiles_for_every_architecture(tmp_path: Path) -> None:
    """By NVRTC when its library is installed, else by nvcc."""
    compiler = nvrtc.find()
    if compiler is None:
        pytest.skip("neither NVRTC's library nor nvcc is on this machine")
    for architecture in ARCHITECTURES:
        compiler(KERNEL_SOURCE, architecture, tmp_path)


def scale(
    library: ctypes.CDLL, plan: ScalePlan, luma: Picture, chroma: Picture, deep: bool, size_bytes: int
) -> Picture:
    """Run a plan on the CPU; returns the whole slot."""
    table = plan.table(plan.constants.ctypes.data)
    output = np.zeros(size_bytes, np.uint8)
    library.scale_ladder_on_host(
        ctypes.c_void_p(table.ctypes.data),
        ctypes.c_int(plan.planes.size),
        ctypes.c_uint64(luma.ctypes.data),
        ctypes.c_uint64(chroma.ctypes.data),
        ctypes.c_int(luma.strides[0]),
        ctypes.c_int(chroma.strides[0]),
        ctypes.c_int(2),
        ctypes.c_int(1),
        ctypes.c_int(deep),
        ctypes.c_uint64(output.ctypes.data),
        ctypes.c_int(plan.blocks),
        ctypes.c_int(plan.shared_bytes),
    )
    return output


def natural_picture(width: int, height: int, seed: int) -> av.VideoFrame:
    """A picture with gradients, edges, fine texture and noise, as NV12."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    rings = 110 + 70 * np.sin((x - width / 3) ** 2 / (4 * width) + (y - height / 2) ** 2 / (3 * height))
    grain = rng.normal(0, 8, (height, width))
    bars = 30 * ((x // 7 + y // 5) % 2)
    rgb = np.stack([rings + grain, rings * 0.7 + bars + 20, 255 - rings + grain], axis=2).clip(0, 255).astype(np.uint8)
    return av.VideoFrame.from_ndarray(rgb, format="rgb24")


def swscale(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """FFmpeg's scaler at its most exact, planar.

    Without accurate_rnd its planar SIMD code is 57 to 59 dB from its own C code; and its SIMD code for NV12 dithers the
    chroma of deep sources otherwise than its C code does.
    """
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format.name, time_base=Fraction(1, 25)
    )
    scaler = graph.add("scale", f"{width}:{height}:flags=bicubic+accurate_rnd+bitexact")
    planar = graph.add("format", "yuv420p")
    sink = graph.add("buffersink")
    source.link_to(scaler)
    scaler.link_to(planar)
    planar.link_to(sink)
    graph.configure()
    graph.push(frame)
    pulled = graph.pull()
    assert isinstance(pulled, av.VideoFrame)
    return pulled


def planes_of(frame: av.VideoFrame) -> list[Picture]:
    """Rows of each plane as FFmpeg holds them, with its pitch, as bytes."""
    return [
        np.frombuffer(plane, np.uint8)[: plane.line_size * plane.height].reshape(plane.height, plane.line_size)
        for plane in frame.planes
    ]


def psnr(a: Picture, b: Picture) -> float:
    """Peak signal to noise ratio of 8-bit planes, dB."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


RUNGS_1080 = [(426, 240), (640, 360), (854, 480), (1280, 720)]


@pytest.mark.parametrize(
    ("source", "rungs", "pixel_format", "planar"),
    [
        ((1920, 1080), RUNGS_1080, "nv12", False),
        ((1920, 1080), RUNGS_1080, "p010le", False),
        ((853, 479), [(426, 240), (640, 360), (852, 478)], "nv12", True),
        ((1001, 563), [(334, 188), (250, 140)], "p010le", True),
        ((608, 1080), [(240, 426), (360, 640)], "nv12", False),
        ((640, 360), [(640, 360), (1280, 720)], "nv12", False),
        # A rendition of the source's own size, deep and planar: nothing but a narrowing of samples.
        ((1280, 720), [(854, 480), (1280, 720)], "p010le", True),
        # Pixels that are not square: only one direction changes.
        ((720, 576), [(768, 432), (1024, 576)], "nv12", True),
        ((1440, 1080), [(1920, 1080)], "p010le", False),
        # Steeper than any two rungs are from each other.
        ((1920, 1080), [(128, 72)], "p010le", False),
    ],
)
def test_swscale_s_result_to_60_db(
    on_host: ctypes.CDLL, source: tuple[int, int], rungs: list[tuple[int, int]], pixel_format: str, planar: bool
) -> None:
    frame = VideoReformatter().reformat(natural_picture(*source, seed=7), format=pixel_format)
    luma, chroma = planes_of(frame)
    layout = plan_slot(rungs, planar=planar)
    plan = plan_scaling(*source, layout.surfaces)

    slot = scale(on_host, plan, luma, chroma, pixel_format != "nv12", layout.size_bytes)

    for surface in layout.surfaces:
        reference = swscale(frame, surface.width, surface.height)
        for name, ours, wanted in zip("YUV", planes_in(slot, surface), planes_of(reference), strict=True):
            measured = psnr(ours, wanted[:, : ours.shape[1]])
            assert measured >= 60, f"{surface.width}x{surface.height} {name}"


def planes_in(slot: Picture, surface: Surface) -> list[Picture]:
    """Y, U and V of one rendition."""
    y = slot[surface.offset : surface.chroma_offset].reshape(surface.height, surface.width)
    chroma = slot[surface.chroma_offset : surface.offset + surface.size_bytes]
    if surface.planar:
        return [y, *chroma.reshape(2, surface.height // 2, surface.width // 2)]
    uv = chroma.reshape(-1, surface.width)
    return [y, uv[:, 0::2], uv[:, 1::2]]
