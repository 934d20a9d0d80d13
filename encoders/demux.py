"""Opening a source safely: by content and an allow-list, one local file, nothing else.

Rule: whoever decodes a source opens it with `open_source`. The file's name says nothing; containers that name other
files (playlists, concat scripts, manifests) and pictures posing as videos are refused before they are parsed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from encoders.errors import Damaged, FarmError, ForbiddenFormat, NotAVideo, ResourceExceeded

_WITH_PICTURE = (
    "mov matroska mpegts mpeg avi flv kux live_flv ogg asf asf_o mxf gxf rm nut ivf dv wtv nsv nuv yuv4mpegpipe "
    "pva ty lxf dhav vc1test"
)
ANIMATIONS = ("gif", "apng")
"""Demuxers of pictures that may move; of those that do not, `probe` says that they are no videos."""
BARE = ("h264", "hevc", "vvc", "obu", "m4v", "mpegvideo", "vc1", "cavsvideo", "dnxhd")
"""Elementary streams of pictures: without times, or without an index (`Copy.ORDER`, `Copy.INDEX`)."""
_SOUND_ONLY = (
    "mp3 aac ac3 eac3 flac wav w64 aiff caf amr ape wv tta au dts truehd "
    "loas mlp dtshd mpc mpc8 tak oma dsf voc qcp iff amrnb amrwb gsm"
)
ALLOWED_DEMUXERS = (*f"{_WITH_PICTURE} {_SOUND_ONLY}".split(), *BARE, *ANIMATIONS)
"""FFmpeg demuxers that read one file and no other. Not in it: hls, dash, concat, imf, image2 and the picture pipes,
playlists, subtitles, devices, network.
Source: libavformat 62, read for uses of `io_open` and `avformat_open_input`."""

SAFE_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(ALLOWED_DEMUXERS),
    # MOV data references name other files; both are off by default, and said here in case that changes.
    "enable_drefs": "0",
    "use_absolute_path": "0",
}

MEDIA_ERRORS = (av.FFmpegError, ValueError, IndexError)
"""What reading and decoding damaged media raises. IndexError: PyAV's flush at the end of a file in which FFmpeg found
further streams on the way (`InputContainer.demux`, PyAV 18.1); every packet has been given out by then."""

MAX_PIXELS = 8192 * 8192
"""Decoders refuse larger frames before they allocate them."""

_TEXT_FORMATS = (
    (b"ffconcat", "an FFmpeg concat script"),
    (b"#EXTM3U", "an HLS playlist"),
    (b"<MPD", "a DASH manifest"),
    (b"<SmoothStreamingMedia", "a Smooth Streaming manifest"),
    (b"[playlist]", "a playlist"),
    (b"v=0\r\n", "a session description"),
    (b"v=0\n", "a session description"),
)
_OTHER_FILES = (
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"%PDF", "a PDF document"),
    (b"#!", "a script"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
)
_PICTURE_BRANDS = (b"heic", b"heix", b"heim", b"mif1", b"avif")
"""Major brands of still pictures. Source: ISO/IEC 23008-12, 10; AV1 Image File Format 1.1."""
_PIECES = (b"moof", b"sidx", b"styp", b"emsg", b"prft")
"""Boxes that begin a media segment. Source: ISO/IEC 23000-19, 7.3.2.3."""
_SNIFFED_BYTES = 4096

_SEEK_BACK_S = (Fraction(0), Fraction(1, 2), Fraction(2), Fraction(10), Fraction(60))

WHAT_TO_DO = "Upload the video itself, as MP4, MOV, MKV, WebM or MPEG-TS for example."


def open_source(path: Path, **options: str) -> InputContainer:
    """Open a local media file for reading; close it, or use it as a context manager.

    Args:
        options: of the demuxer, besides those that keep it safe.

    Raises:
        NotAVideo: empty, or no media file that is read here; the detail says what it looks like.
        ForbiddenFormat: a playlist, script or manifest; nothing that it names was opened.
        Damaged: a media file whose headers cannot be read.
        ResourceExceeded: its headers ask for more memory than there is.
    """
    head = _head(path)
    if not head:
        raise NotAVideo(f"The file is empty. {WHAT_TO_DO}")
    refuse_text(head)
    if head[8:12] in _PICTURE_BRANDS and head[4:8] == b"ftyp":
        raise NotAVideo(f"The file is {looks_like(head)}, not a video. {WHAT_TO_DO}")
    try:
        name, safe = f"file:{path.absolute()}", options | SAFE_OPTIONS
        container = av.open(name, "r", options=safe, metadata_errors="replace", buffer_size=1 << 18)
    except (av.FFmpegError, ValueError) as error:
        raise _open_error(error, head) from error
    return container


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_SNIFFED_BYTES)


def refuse_text(head: bytes) -> None:
    """Refuse by the first bytes what names other files, wherever FFmpeg's own probing would have sent it.

    Raises:
        ForbiddenFormat: a playlist, script or manifest.
    """
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, name in _TEXT_FORMATS:
        if text.startswith(magic) or (magic.startswith(b"<") and text.startswith(b"<?xml") and magic in text):
            raise ForbiddenFormat(f"The file is {name}, which only names other files; none was opened. {WHAT_TO_DO}")


def looks_like(head: bytes) -> str | None:
    """What a file that is no video seems to be, by its first bytes; None if unknown."""
    text = head.lstrip()
    lowered = text[:64].lower()
    for magic, name in _OTHER_FILES:
        if head.startswith(magic) or (magic.startswith(b"<") and lowered.startswith(magic.lower())):
            return name
    if head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS:
        return "a HEIF or AVIF picture"
    return "a WebP picture" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def _open_error(error: Exception, head: bytes) -> FarmError:
    seems = looks_like(head)
    if seems is not None:
        return NotAVideo(f"The file is {seems}, not a video. {WHAT_TO_DO}")
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return ResourceExceeded("The file's headers ask for more memory than one source may have. Export it again.")
    if isinstance(error, av.error.ArgumentError):  # the demuxer is not on the list
        return ForbiddenFormat(f"This kind of file is not taken. {WHAT_TO_DO}")
    if head[4:8] in _PIECES:
        return Damaged(
            "The file is a piece of a stream without the stream's beginning (its initialisation segment). "
            "Join all of its pieces, or export it again as one file."
        )
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide") or head[:4] in (b"\x1aE\xdf\xa3", b"RIFF"):
        return Damaged(
            "The file's index is missing or broken, as after an upload or export that stopped early. Export it again."
        )
    return NotAVideo(f"The file is no media file that is read here. {WHAT_TO_DO}")


def packets_from(container: InputContainer, stream: Stream, key_pts: int) -> Iterator[Packet[Any]]:
    """Packets of one track from a key frame on, the end's flushing packet included.

    Seeking goes by decoding times or file positions in many containers, and may land behind the key frame; then it
    goes back further until a key frame at or before the wanted one comes first.

    Args:
        key_pts: presentation time of a key frame, ticks of the stream.

    Returns:
        Packets that start with a key frame at `key_pts` or before it; none at all when no seek finds one: decode from
        the file's beginning then.
    """
    for back_s in _SEEK_BACK_S:
        back = int(back_s / (stream.time_base or Fraction(1, 1000)))
        try:
            container.seek(key_pts - back, stream=stream)
        except MEDIA_ERRORS:
            continue
        packets = container.demux(stream)
        try:
            first = next((packet for packet in packets if packet.is_keyframe and packet.size), None)
        except MEDIA_ERRORS:
            continue
        if first is not None and first.pts is not None and first.pts <= key_pts:
            yield first
            try:
                yield from packets
            except MEDIA_ERRORS:
                return
            return


def read_packets(container: InputContainer, streams: list[Stream]) -> Iterator[Packet[Stream]]:
    """Packets in file order, until the end or until the container cannot be read on: what came before still counts.

    Raises:
        ResourceExceeded: a packet asks for more memory than there is.
    """
    if not streams:
        return  # PyAV takes none for all
    try:
        for packet in container.demux(streams):
            if packet.size:
                yield packet
    except av.error.MemoryError as error:
        raise ResourceExceeded("A packet of the file asks for more memory than one source may have.") from error
    except MEDIA_ERRORS:
        return
