"""PyNvVideoCodec 2.2.4 as far as the GPU lanes use it, with the quirks that were seen in the real extension.

Decoding is FFmpeg's and encoding x264's, on "device" memory that is host memory. Quirks: unknown keyword arguments
are dropped, a lower-case preset is not found, `cq` zeroes the rates, timestamps are a counter of the inputs, a decoder
keeps four pictures back and recycles its buffers with the next call, session exhaustion is code 21 or 10, and a decoder
on a machine without a device ends the process.
"""

from __future__ import annotations

import ctypes
import os
import sys
from enum import IntEnum
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from fakes import gpu

__version__ = "2.2.4"
DECODER_DELAY = 4
POISON = 0xCD


class PyNvVCException(Exception):
    """As in the library: a direct subclass of Exception."""


class PyNvVCExceptionUnsupported(Exception):
    """As in the library: not a subclass of the other."""


def _fail(function: str, code: int) -> None:
    if code:
        raise PyNvVCException(f"{function} : \nError code : {code}\nError Type : scripted\nat /project/x.cpp:1\n")


class cudaVideoCodec(IntEnum):
    """Source: the extension's members."""

    MPEG2 = 1
    H264 = 4
    HEVC = 8
    VP9 = 10
    AV1 = 11


class cudaVideoChromaFormat(IntEnum):
    """The library's members are named by digits; code takes them by value."""

    Monochrome = 0
    YUV420 = 1
    YUV422 = 2
    YUV444 = 3


_NAMES = {
    cudaVideoCodec.H264: "h264",
    cudaVideoCodec.HEVC: "hevc",
    cudaVideoCodec.VP9: "vp9",
    cudaVideoCodec.AV1: "av1",
}


class PacketData:
    """One packet; the caller keeps what `bsl_data` points to."""

    def __init__(self) -> None:
        self.bsl = self.bsl_data = self.pts = self.dts = self.duration = self.key = self.decode_flag = 0


def GetDecoderCaps(
    gpuid: int, codec: cudaVideoCodec, chromaformat: cudaVideoChromaFormat, bitdepth: int
) -> dict[str, int]:
    """Sizes and engines; no engines for what NVDEC does not take."""
    _fail("GetDecoderCaps", gpu.present.note("GetDecoderCaps", codec=codec, bitdepth=bitdepth))
    chroma = {0: "400", 1: "420", 2: "422", 3: "444"}[int(chromaformat)]
    known = f"{_NAMES.get(codec)}/{bitdepth}/{chroma}" in gpu.present.decodes
    engines = gpu.present.decode_engines if known else 0
    return {"num_decoder_engines": engines, "width_max": 8192 * known, "height_max": 8192 * known, "mb_num_max": 262144}


def GetEncoderCaps(gpuid: int = 0, codec: str = "h264") -> dict[str, int]:
    """Opens a session for the while."""
    _fail("PyNvEncoderCaps", gpu.present.note("GetEncoderCaps", codec=codec))
    if not gpu.present.encodes:
        _fail("PyNvEncoderCaps", 2)
    if codec not in gpu.present.encodes:
        _fail("PyNvEncoderCaps", 12)
    return {
        "num_encoder_engines": gpu.present.encode_engines,
        "num_max_bframes": gpu.present.max_b_frames,
        "width_max": 4096,
        "height_max": 4096,
        "width_min": 145,
        "height_min": 49,
    }


class CAIMemoryView:
    """A plane of a decoded picture."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.dataptr = array.ctypes.data
        self.shape = array.shape
        self.stride = tuple(stride // array.itemsize for stride in array.strides)


class DecodedFrame:
    """NV12 or P016 in a buffer that the next Decode() takes back."""

    def __init__(self, buffer: npt.NDArray[np.uint8], width: int, height: int, deep: bool, pts: int) -> None:
        samples = buffer.view(np.uint16) if deep else buffer
        self.timestamp = pts
        luma = width * height
        self._planes = [
            CAIMemoryView(samples[:luma].reshape(height, width, 1)),
            CAIMemoryView(samples[luma : luma * 3 // 2].reshape(height // 2, width // 2, 2)),
        ]
        self.format = 5 if deep else 3

    def cuda(self) -> list[CAIMemoryView]:
        return self._planes

    def getPTS(self) -> int:
        return self.timestamp


class PyNvDecoder:
    """FFmpeg's decoder behind the library's interface."""

    def __init__(self, codec: cudaVideoCodec) -> None:
        name = _NAMES[codec]
        self._context = av.CodecContext.create("libdav1d" if name == "av1" else name, "r")
        self._context.thread_count = 1
        self._reformat = VideoReformatter()
        self._waiting: list[av.VideoFrame] = []
        self._decoded = 0
        self._lent: list[npt.NDArray[np.uint8]] = []
        self._spare: list[npt.NDArray[np.uint8]] = []

    def Decode(self, packet: PacketData) -> list[DecodedFrame]:
        _fail("HandlePictureDecode", gpu.present.note("Decode", bsl=packet.bsl))
        for buffer in self._lent:
            buffer[:] = POISON
        self._spare, self._lent = self._lent + self._spare, []
        if packet.bsl:
            fed = av.Packet(ctypes.string_at(packet.bsl_data, packet.bsl))
            fed.pts, fed.dts = packet.pts, packet.dts
            self._feed(fed)
            ready = max(0, len(self._waiting) - DECODER_DELAY)
        else:
            self._feed(None)
            ready = len(self._waiting)
        return [self._lend(self._waiting.pop(0)) for _ in range(ready)]

    def _feed(self, packet: av.Packet | None) -> None:
        try:
            for frame in self._context.decode(packet):  # type: ignore[arg-type]
                if self._decoded != gpu.present.drops_picture:
                    self._waiting.append(frame)
                self._decoded += 1
        except av.FFmpegError as error:
            sys.stderr.write(f"concealed: {error}\n")

    def _lend(self, frame: av.VideoFrame) -> DecodedFrame:
        deep = "10" in frame.format.name
        native = self._reformat.reformat(frame, format="p010le" if deep else "nv12")
        planes = [
            np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : frame.width * (1 + deep)]
            for plane in native.planes
        ]
        packed = np.concatenate([plane.reshape(-1) for plane in planes])
        buffer = next((spare for spare in self._spare if spare.size == packed.size), None)
        if buffer is None:
            buffer = np.empty_like(packed)
        else:
            self._spare = [spare for spare in self._spare if spare is not buffer]
        buffer[:] = packed ^ 8 if gpu.present.wrong_pixels else packed
        self._lent.append(buffer)
        return DecodedFrame(buffer, frame.width, frame.height, deep, frame.pts or 0)


def CreateDecoder(
    gpuid: int = 0, codec: cudaVideoCodec = cudaVideoCodec.H264, cudastream: int = 0, usedevicememory: bool = False
) -> PyNvDecoder:
    """Ends the process without a device, as the real one does."""
    code = gpu.present.note("CreateDecoder", codec=codec, cudastream=cudastream)
    if not gpu.present.devices or gpu.present.vanishes_before == "CreateDecoder":
        sys.stdout.write("[FATAL] no CUDA device\n")
        sys.stdout.flush()
        os._exit(1)
    _fail("CreateDecoder", code)
    assert usedevicememory, "frames would be copied to the host"
    if not any(known.startswith(f"{_NAMES[codec]}/") for known in gpu.present.decodes):
        raise PyNvVCExceptionUnsupported("Codec not supported on this GPU")
    return PyNvDecoder(codec)


_KNOWN = {
    "codec",
    "preset",
    "tuning_info",
    "rc",
    "bitrate",
    "maxbitrate",
    "vbvbufsize",
    "vbvinit",
    "cq",
    "multipass",
} | {*("gop", "idrperiod", "bf", "lookahead", "aq", "fps", "gpu_id", "constqp")}


class _Reconfigure:
    """As structEncodeReconfigureParams."""

    averageBitrate = maxBitRate = vbvBufferSize = vbvInitialDelay = targetQuality = 0


def _encoder_of(settings: dict[str, str], quality: int) -> tuple[str, dict[str, str]]:
    """FFmpeg's encoder that stands for NVENC's, and its options."""
    gop = settings["gop"]
    if settings["codec"] == "hevc":
        parameters = f"keyint={gop}:scenecut=0:open-gop=0:bframes=0:pools=none:frame-threads=1:log-level=none:info=0"
        return "libx265", {"preset": "ultrafast", "crf": str(quality), "forced-idr": "1", "x265-params": parameters}
    return "libx264", {
        "preset": "ultrafast",
        "crf": str(quality),
        "bf": settings.get("bf", "0"),
        "forced-idr": "1",
        "x264-params": f"keyint={gop}:scenecut=0:open-gop=0:b-pyramid=0:annexb=1",
    }


class PyNvEncoder:
    """x264 or x265 behind the library's interface; AV1 is not faked."""

    def __init__(self, width: int, height: int, settings: dict[str, str]) -> None:
        self.width, self.height, self.settings = width, height, settings
        self.rates = _Reconfigure()
        if "cq" not in settings:
            self.rates.maxBitRate = int(settings.get("maxbitrate", 0))
        self._inputs = 0
        self._reused = False
        self._reformat = VideoReformatter()
        self._context: av.VideoCodecContext | None = None
        gpu.present.open_sessions += 1

    def __del__(self) -> None:
        gpu.present.open_sessions -= 1

    def _open(self, global_header: bool = False) -> av.VideoCodecContext:
        quality = int(self.settings.get("cq", 28)) + (3 if self._reused and gpu.present.forgetful else 0)
        name, options = _encoder_of(self.settings, quality)
        context = av.CodecContext.create(name, "w")
        assert isinstance(context, av.VideoCodecContext)
        numerator, denominator = (int(part) for part in self.settings["fps"].split("/"))
        planar = self.settings["codec"] != "h264"
        context.width, context.height, context.pix_fmt = self.width, self.height, "yuv420p" if planar else "nv12"
        context.time_base = Fraction(denominator, numerator)
        context.thread_count = 1
        context.gop_size = int(self.settings["gop"])
        context.options = options
        if global_header:
            context.flags |= 0x400000
        context.open()
        return context

    def Encode(self, frame: Any, flags: int = 0) -> list[dict[str, Any]]:
        _fail("NvEncoder::DoEncode", gpu.present.note("Encode", flags=flags))
        if not hasattr(frame, "cuda"):
            raise RuntimeError("incorrect usage of CPU input buffer")
        picture = av.VideoFrame.from_ndarray(self._fetch(frame.cuda()), format="nv12")
        picture.pts = self._inputs
        if self.settings["codec"] != "h264":
            picture = self._reformat.reformat(picture, format="yuv420p")
            picture.pts = self._inputs
        picture.pict_type = av.video.frame.PictureType.I if flags & 3 else av.video.frame.PictureType.NONE
        self._inputs += 1
        self._context = self._context or self._open()
        return self._wrap(self._context.encode(picture))

    def _fetch(self, planes: list[Any]) -> npt.NDArray[np.uint8]:
        out = []
        for plane, shape in zip(
            planes, [(self.height, self.width, 1), (self.height // 2, self.width // 2, 2)], strict=True
        ):
            view = plane.__cuda_array_interface__
            tight = (shape[1] * shape[2], shape[2], 1)
            if view["shape"] != shape or view["typestr"] != "|u1" or view["strides"] not in (None, tight):
                raise RuntimeError("Invalid strides")
            size = shape[0] * shape[1] * shape[2]
            out.append(np.frombuffer(ctypes.string_at(view["data"][0], size), np.uint8).reshape(shape[0], -1))
        return np.concatenate(out)

    def EndEncode(self) -> list[dict[str, Any]]:
        _fail("NvEncoder::EndEncode", gpu.present.note("EndEncode"))
        if self._context is None:
            return []
        out = self._wrap(self._context.encode(None))
        self._context, self._reused = None, True
        return out

    def _wrap(self, packets: list[av.Packet]) -> list[dict[str, Any]]:
        return [
            {"data": bytes(packet), "timestamp": int(packet.pts or 0), "picture_type": 3 if packet.is_keyframe else 0}
            for packet in packets
        ]

    def GetSequenceParams(self) -> bytes:
        extradata = self._open(global_header=True).extradata
        return bytes(extradata or b"")

    def GetEncodeReconfigureParams(self) -> _Reconfigure:
        return self.rates

    def Reconfigure(self, params: _Reconfigure) -> None:
        _fail("Reconfigure", gpu.present.note("Reconfigure", max_bps=params.maxBitRate, vbv_bits=params.vbvBufferSize))


def CreateEncoder(width: int, height: int, fmt: str, usecpuinputbuffer: bool, **kwargs: Any) -> PyNvEncoder:
    """Drops what it does not know; counts sessions."""
    code = gpu.present.note("CreateEncoder", width=width, height=height, **kwargs)
    _fail("CreateEncoder", code)
    assert fmt == "NV12"
    assert not usecpuinputbuffer
    if not gpu.present.devices or not gpu.present.encodes:
        _fail("NvEncoder::LoadNvEncApi", 2)
    if gpu.present.open_sessions >= gpu.present.sessions:
        _fail("NvEncoder::OpenEncodeSessionEx", gpu.present.session_error)
    settings = {name: str(value) for name, value in kwargs.items() if name in _KNOWN}
    if settings.get("codec") not in gpu.present.encodes:
        raise PyNvVCExceptionUnsupported("Codec not supported")
    if settings.get("preset", "P4")[0] != "P":
        sys.stderr.write(f"{settings['preset']} not found. Using default\n")
    return PyNvEncoder(width, height, settings)
