"""Pictures of finished renditions: single I-frames without their neighbours, or all frames from a time on.

Stills are made from what players will see, not from the source: upright, in BT.709, and cheap to decode.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
import numpy.typing as npt

from encoders.boxes import iter_boxes, read_fragments
from encoders.errors import VerificationFailed
from encoders.tracks import IFrame, Track

Rgb = npt.NDArray[np.uint8]
"""A picture: height x width x 3."""
JPEG_QUALITY = 4
"""Quantiser scale of the JPEG encoder, 2 (best) to 31. 4 shows no blocks on text and gradients at twice the size."""

_DECODERS = {"avc1": ("h264", "avcC"), "hvc1": ("hevc", "hvcC"), "av01": ("libdav1d", "av1C")}
"""Decoder and configuration box of each sample entry. FFmpeg's own "av1" decodes on GPUs only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Luma of a picture: mean and standard deviation, 0 to 255."""

    mean: float
    spread: float

    @property
    def dull(self) -> bool:
        """Black, or of one colour: a picture that tells nothing."""
        return self.mean < 32 or self.spread < 8


class Rendered:
    """Reads pictures of one finished picture rendition.

    Args:
        folder: its init and media segments.
    """

    def __init__(self, folder: Path, track: Track) -> None:
        self.track = track
        self._folder = folder
        entry = next(iter_boxes(track.description, 16))
        self._decoder_name, kind = _DECODERS[track.family]
        config = next(box for box in iter_boxes(track.description, entry.body + 78, entry.end) if box.kind == kind)
        self._config = track.description[config.body : config.end]

    def iframe(self, where: IFrame) -> av.VideoFrame:
        """Decode one I-frame, and nothing else.

        Raises:
            VerificationFailed: it does not decode.
        """
        with (self._folder / f"{where.number:05d}.m4s").open("rb") as file:
            file.seek(where.offset)
            head = file.read(where.size_bytes)
        data = head[int.from_bytes(head[:4], "big") + 8 :]  # after the moof and the head of its mdat
        decoder = self._decoder()
        try:
            frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
        except av.error.FFmpegError as error:
            raise VerificationFailed(f"rendition {self.track.name}: an I-frame does not decode: {error}") from error
        if not frames:
            raise VerificationFailed(f"rendition {self.track.name}: an I-frame gives no picture")
        return frames[0]

    def frames(self, from_s: Fraction) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        """(presentation time, frame) of every frame from the first that is shown at `from_s` or later.

        Raises:
            VerificationFailed: something does not decode.
        """
        scale = self.track.timescale
        decoder = self._decoder()
        try:
            for piece in self.track.pieces:
                if Fraction(piece.start + piece.duration, scale) <= from_s:
                    continue
                data = (self._folder / f"{piece.number:05d}.m4s").read_bytes()
                for fragment in read_fragments(data):
                    for sample in fragment.samples:
                        packet = av.Packet(data[sample.offset : sample.offset + sample.size])
                        packet.pts = sample.decode_time + sample.composition_offset - self.track.shift
                        packet.dts = sample.decode_time
                        packet.time_base = Fraction(1, scale)
                        yield from self._shown(decoder.decode(packet), from_s)
            yield from self._shown(decoder.decode(None), from_s)
        except av.error.FFmpegError as error:
            raise VerificationFailed(f"rendition {self.track.name} does not decode: {error}") from error

    def _shown(self, frames: list[av.VideoFrame], from_s: Fraction) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        for frame in frames:
            at_s = Fraction(frame.pts or 0, self.track.timescale)
            if at_s >= from_s:
                yield at_s, frame

    def _decoder(self) -> av.VideoCodecContext:
        decoder = av.CodecContext.create(self._decoder_name, "r")
        assert isinstance(decoder, av.VideoCodecContext)
        decoder.extradata = self._config
        decoder.thread_count = 1
        return decoder


def rgb(frame: av.VideoFrame, width: int, height: int) -> Rgb:
    """A decoded picture as RGB of another size."""
    scaled = frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        src_colorspace="ITU709",
        interpolation="AREA" if width < frame.width else "BICUBIC",
    )
    return np.asarray(scaled.to_ndarray(), np.uint8)


def look_of(frame: av.VideoFrame) -> Look:
    """Mean and spread of a decoded picture's luma, full scale."""
    plane = frame.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[::2, : frame.width : 2]
    full = np.clip((luma.astype(np.float32) - 16) * (255 / 219), 0, 255)
    return Look(mean=float(full.mean()), spread=float(full.std()))


def jpeg(picture: Rgb) -> bytes:
    """A picture as JPEG (JFIF: BT.601, full range)."""
    height, width, _ = picture.shape
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
    converted = frame.reformat(format="yuvj420p", dst_colorspace="ITU601", dst_color_range="JPEG")
    converted.pts = 0
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"qmin": str(JPEG_QUALITY), "qmax": str(JPEG_QUALITY), "huffman": "optimal"}
    encoder.thread_count = 1
    return b"".join(bytes(packet) for packet in [*encoder.encode(converted), *encoder.encode(None)])
