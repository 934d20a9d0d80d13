"""NVDEC: a span of a source as pictures on the device. PyAV reads the container, PyNvVideoCodec decodes.

Rule: what NVDEC cannot decode as FFmpeg would, picture for picture, it does not get (`why_not`), and a picture that
fails to come out is an error, never a held frame: the caller goes on with FFmpeg from there, which knows how to judge
damage. Pictures are valid until the next one is asked for: the decoder recycles its buffers.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import av.error
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.packet import Packet

from encoders.backends.cuda import CudaDevice
from encoders.backends.frames import FrameReader
from encoders.backends.nverrors import Unsupported, typed_errors
from encoders.backends.scaler import DevicePicture
from encoders.media import VideoTrack
from encoders.picture import FrameShape, Matrix, is_full, read_light, read_matrix

ANNEX_B_FILTER = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb", "vp9": None, "av1": None}
"""Codecs that go to NVDEC, with the filter that makes what its parser reads; a filter passes what is so already."""
LIBRARY_NAME = {"h264": "H264", "hevc": "HEVC", "vp9": "VP9", "av1": "AV1"}
CHROMA_OF_FORMAT = {"yuv420p": "420", "yuv420p10le": "420"}
"""Pixel formats that the scaling kernel reads once NVDEC has made NV12 or P016 of them; full-range ones are not among
them, since the CPU lane's conversion to limited range is not the kernel's."""
START_CODE = b"\0\0\0\1"
NV12, P016 = 3, 5
"""Members of the library's Pixel_Format."""


def why_not(video: VideoTrack, decodes: tuple[str, ...]) -> str:
    """Why a track is decoded on the CPU; empty when NVDEC does it, to the bit as FFmpeg would.

    Args:
        decodes: what this device's NVDEC was proven to take, as "codec/bit depth/chroma".
    """
    chroma = CHROMA_OF_FORMAT.get(video.pixel_format)
    if video.codec not in ANNEX_B_FILTER:
        return f"NVDEC is not given {video.codec}"
    if chroma is None:
        return f"pixel format {video.pixel_format} is converted on the CPU"
    if f"{video.codec}/{video.bit_depth}/{chroma}" not in decodes:
        return f"this GPU's NVDEC does not take {video.codec}, {video.bit_depth} bits, 4:2:0"
    if video.interlaced:
        return "interlaced pictures are deinterlaced on the CPU: NVDEC's own way cannot be chosen"
    if video.rotation or video.mirrored:
        return "the picture is turned upright on the CPU"
    if video.width % 2 or video.height % 2:
        return f"odd size {video.width}x{video.height}"
    return _why_not_colour(video)


def _why_not_colour(video: VideoTrack) -> str:
    """The kernel scales samples and converts none: what is not BT.709 in limited range already goes to the CPU."""
    shape = FrameShape(width=video.width, height=video.height, format=video.pixel_format, colour=video.colour)
    if read_light(shape) is not None:
        return "HDR and wide gamut are mapped on the CPU"
    if is_full(shape):
        return "full range is converted on the CPU"
    if read_matrix(shape) is not Matrix.BT709:
        return f"colour matrix {video.colour.matrix} is converted to BT.709 on the CPU"
    return ""


class NvDecoder:
    """One decoding session on a device, for one source.

    Args:
        library: the PyNvVideoCodec module.
        device: whose stream decodes; whoever reads the pictures uses the same stream.

    Raises:
        Unsupported, NoDevice, SessionsExhausted, DeviceFault: as the library's error says.
    """

    def __init__(self, library: Any, device: CudaDevice, codec: str) -> None:
        self._library = library
        with typed_errors(f"open NVDEC for {codec}"):
            self._session: Any = library.CreateDecoder(
                gpuid=device.index,
                codec=getattr(library.cudaVideoCodec, LIBRARY_NAME[codec]),
                cudastream=device.stream_address,
                usedevicememory=True,
            )

    def decode(self, packet: Packet[Any]) -> Iterator[tuple[int, DevicePicture]]:
        """Feed one packet with a presentation time; yields (pts, picture) for what comes out."""
        data = bytes(packet)
        # The library keeps the address only: `data` lives until Decode has returned.
        yield from self._decode(data, packet.pts or 0)

    def flush(self) -> Iterator[tuple[int, DevicePicture]]:
        """What the decoder still holds: without this the last four pictures would be lost."""
        yield from self._decode(b"", 0)

    def _decode(self, data: bytes, pts: int) -> Iterator[tuple[int, DevicePicture]]:
        fed = self._library.PacketData()
        fed.bsl = len(data)
        fed.bsl_data = _address(data) if data else 0
        fed.pts = pts
        with typed_errors("decode on the GPU"):
            frames = self._session.Decode(fed)
        for frame in frames:
            yield int(frame.getPTS()), _picture(frame)


def _address(data: bytes) -> int:
    """Where the bytes lie; valid while the object lives."""
    return int(np.frombuffer(data, np.uint8).ctypes.data)


def _picture(frame: Any) -> DevicePicture:
    """Addresses and shape of a decoded frame; planes are tight (pitch = width).

    Raises:
        Unsupported: neither NV12 nor P016.
    """
    kind = int(frame.format)
    if kind not in (NV12, P016):
        raise Unsupported(f"NVDEC gave pictures of format {frame.format}, wanted NV12 or P016")
    luma, chroma = frame.cuda()
    height, width = int(luma.shape[0]), int(luma.shape[1])
    pitch = width * (2 if kind == P016 else 1)
    return DevicePicture(
        width=width,
        height=height,
        luma=int(luma.dataptr),
        chroma=int(chroma.dataptr),
        luma_pitch=pitch,
        chroma_pitch=pitch,
        deep=kind == P016,
    )


def read_pictures(
    library: Any, device: CudaDevice, reader: FrameReader, video: VideoTrack, key_pts: int | None
) -> Iterator[tuple[int, DevicePicture]]:
    """Decode a source from a key frame on.

    Args:
        reader: of the source; its packets are used up, and it stays the caller's to close.
        key_pts: presentation time of the key frame to start at; None for the start of the file.

    Yields:
        (pts, picture) in presentation order, what the container's edit list hides left out.

    Raises:
        Unsupported: packets without times, pictures of another size, or a picture that did not come out: FFmpeg must
            judge this source.
    """
    decoder = NvDecoder(library, device, video.codec)
    due = _Due(video, from_start=key_pts is None)
    for packet in _annex_b(due.noted(sound_packets(reader, key_pts)), video.codec):
        yield from due.shown(decoder.decode(packet))
    yield from due.shown(decoder.flush())
    due.nothing_missing()


def sound_packets(reader: FrameReader, key_pts: int | None) -> Iterator[Packet[Any]]:
    """Packets up to the first that says by itself that it is damaged: NVDEC would conceal it without a word."""
    for packet in reader.packets(key_pts):
        if reader.witness is not None and reader.witness.suspects:
            raise Unsupported(f"the source is damaged at {packet.pts}; FFmpeg decodes from here")
        yield packet


def _annex_b(packets: Iterator[Packet[Any]], codec: str) -> Iterator[Packet[Any]]:
    """Packets as NVDEC's parser reads them."""
    name = ANNEX_B_FILTER[codec]
    convert: BitStreamFilterContext | None = None
    for packet in packets:
        if name is None:
            yield packet
            continue
        if convert is None:
            convert = BitStreamFilterContext(name, packet.stream)
            for first in _filtered(convert, packet):
                yield _with_sets(first, packet.stream.codec_context.extradata or b"") if codec == "h264" else first
        else:
            yield from _filtered(convert, packet)
    if convert is not None:
        yield from _filtered(convert, None)


def _filtered(convert: BitStreamFilterContext, packet: Packet[Any] | None) -> list[Packet[Any]]:
    try:
        return convert.filter(packet)
    except av.error.FFmpegError as error:
        raise Unsupported(f"a packet is damaged ({error}); FFmpeg decodes from here") from error


def _with_sets(packet: Packet[Any], avcc: bytes) -> Packet[Any]:
    """A packet with the container's parameter sets before it.

    The H.264 filter writes them before IDR pictures only, and decoding may begin at another key frame (open GOPs).
    Source: ISO/IEC 14496-15, 5.3.3.1.2 (avcC).
    """
    if avcc[:1] != b"\1":
        return packet  # in band already
    units, at, count = [], 6, avcc[5] & 31
    for _ in ("SPS", "PPS"):
        for _ in range(count):
            size = int.from_bytes(avcc[at : at + 2], "big")
            units.append(START_CODE + avcc[at + 2 : at + 2 + size])
            at += 2 + size
        count, at = avcc[at] if at < len(avcc) else 0, at + 1
    joined: Packet[Any] = Packet(b"".join(units) + bytes(packet))
    joined.pts, joined.dts = packet.pts, packet.dts
    return joined


class _Due:
    """Knows which pictures must come out, by the packets that went in."""

    def __init__(self, video: VideoTrack, *, from_start: bool) -> None:
        self._size = (video.width, video.height)
        self._from_start = from_start
        self._first: int | None = None
        self._expected: list[int] = []
        self._hidden: set[int] = set()

    def noted(self, packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
        """Note packets that are about to be decoded."""
        for packet in packets:
            if packet.pts is None:
                raise Unsupported("the container gives no presentation times; FFmpeg decodes this source")
            if self._first is None:
                self._first = packet.pts
            if packet.is_discard:
                self._hidden.add(packet.pts)
            elif self._due(packet.pts):
                heapq.heappush(self._expected, packet.pts)
            yield packet

    def _due(self, pts: int) -> bool:
        """Pictures before the key frame that decoding started at refer to what was not decoded."""
        return self._from_start or self._first is None or pts >= self._first

    def shown(self, pictures: Iterator[tuple[int, DevicePicture]]) -> Iterator[tuple[int, DevicePicture]]:
        """Pass on what is to be shown; what precedes the key frame, or is hidden, is dropped."""
        for pts, picture in pictures:
            if pts in self._hidden or not self._due(pts):
                continue
            if not self._expected or heapq.heappop(self._expected) != pts:
                raise Unsupported(f"NVDEC left out or invented a picture at {pts}; FFmpeg decodes from here")
            if (picture.width, picture.height) != self._size:
                raise Unsupported(f"pictures change to {picture.width}x{picture.height}; FFmpeg decodes from here")
            yield pts, picture

    def nothing_missing(self) -> None:
        """Called after the end: everything that went in has come out."""
        if self._expected:
            raise Unsupported(f"NVDEC left out {len(self._expected)} pictures at the end; FFmpeg decodes from here")
