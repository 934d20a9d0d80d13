"""What an asset consists of: values that packaging returns, and the shape of `asset.json`. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from encoders.recognition.known import KnownContent

CONTENT_TYPES = {
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mpd": "application/dash+xml",
    ".mp4": "video/mp4",
    ".m4s": "video/iso.segment",
    ".jpg": "image/jpeg",
    ".vtt": "text/vtt",
    ".json": "application/json",
}
"""Source: RFC 8216 section 4, ISO/IEC 23009-1 annex C, RFC 6381, W3C WebVTT."""
ASSET_JSON = "asset.json"
ASSET_VERSION = 1
"""Of the shape of `asset.json`: raised when a field changes its meaning or goes away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetFile:
    """One file of an asset besides its init and media segments.

    Attributes:
        path: relative to the asset's folder, with "/".
        kind: HLS and DASH (the entry points), PLAYLIST, MP4_<rendition without "p">, THUMB, PREVIEW, STORYBOARD,
            STORYBOARD_VTT, SUBTITLES, CHAPTERS, CHAPTERS_JSON, ASSET_JSON; MEDIA for text in MP4.
        width, height: in pixels, of pictures and of what shows pictures.
        bandwidth_bps: mean rate of an MP4; the highest peak of the asset for the entry points.
    """

    path: str
    kind: str
    content_type: str
    bytes: int
    width: int | None = None
    height: int | None = None
    bandwidth_bps: int | None = None

    def __post_init__(self) -> None:
        if self.path.startswith("/") or ".." in self.path.split("/") or not self.path:
            raise ValueError(f"{self.path!r} is no path inside an asset")


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetManifest:
    """What packaging made.

    Attributes:
        files: all files written, each once.
        duration_s: of the presentation.
        warnings: sentences for the owner: what was odd in the source and how it was handled.
    """

    files: tuple[AssetFile, ...]
    duration_s: Fraction
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        paths = [file.path for file in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("a file is listed twice")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenditionReport:
    """One rendition in `asset.json`. Rates are of the media segments, in bits a second.

    Attributes:
        encoder: identity of the encoder and its settings, of pictures.
        compared_frames: how many of its pictures were decoded again and compared with the source's.
        worst_misfit: how far the worst of these was from the source's, in codes of luma.
        verified: names of what every segment of it has passed (docs/asset.md).
        lost_s: how much of the sound did not decode, seconds.
    """

    name: str
    kind: str
    codec: str
    duration_s: float
    media_segments: int
    size_bytes: int
    average_bps: int
    peak_bps: int
    width: int | None = None
    height: int | None = None
    frame_rate: str | None = None
    frames: int | None = None
    sample_rate: int | None = None
    channels: int | None = None
    language: str | None = None
    label: str | None = None
    default: bool | None = None
    encoder: str | None = None
    compared_frames: int | None = None
    worst_misfit: float | None = None
    verified: tuple[str, ...] | None = None
    lost_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChapterReport:
    """One chapter in `asset.json`, on the asset's clock."""

    start_s: float
    end_s: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DamageReport:
    """Output frames that were held or concealed, and their share of all; 0 of a source that decodes whole."""

    concealed_frames: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetReport:
    """The content of `asset.json`.

    Attributes:
        chapters_from: "source" or "scene cuts"; absent when there are none.
        damage: pictures that show something else than the source meant, since it did not decode there.
        verified: names of what the whole asset has passed; one that has not is never visible (docs/asset.md).
        measures: of the whole asset: brightness of the source's pictures (luma codes, 16 black to 235 white), how far
            the worst picture that was decoded again is from the source's (codes), processor seconds of encoding,
            loudness of the source's sound (LUFS).
        known_content: registered works that it shows or plays; absent when nobody looked.
    """

    version: int
    asset_key: str
    source_sha256: str
    profile: str
    encoder: str
    duration_s: float
    renditions: tuple[RenditionReport, ...]
    chapters: tuple[ChapterReport, ...]
    files: tuple[AssetFile, ...]
    measures: dict[str, float]
    warnings: tuple[str, ...]
    known_content: KnownContent | None = None
    chapters_from: str | None = None
    damage: DamageReport | None = None
    verified: tuple[str, ...] = ()
