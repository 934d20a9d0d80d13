"""Is this asset what was planned? The last look before it becomes visible.

Everything is read back from the files that would be published: renditions against the plan, playlists and manifest
against the renditions, MP4s by their boxes. What segments hold was checked when they were encoded.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from fractions import Fraction
from pathlib import Path

from encoders.asset import AssetManifest
from encoders.audio import sound_lengths
from encoders.errors import VerificationFailed
from encoders.plan import Grid, Plan
from encoders.tracks import Track, read_track

ASSET_CHECKS = ("files", "frames", "idr_grid", "media_segments", "sizes", "sound", "playlists", "manifest", "mp4")
"""What has been seen of an asset before it becomes visible; names for `asset.json` (docs/asset.md)."""
DASH = "{urn:mpeg:dash:schema:mpd:2011}"
ALWAYS = ("HLS", "DASH", "ASSET_JSON")
WITH_PICTURE = ("THUMB", "PREVIEW", "STORYBOARD", "STORYBOARD_VTT")


def verify_asset(plan: Plan, manifest: AssetManifest, media: Path, made: Path) -> None:
    """Check a packaged asset against its plan.

    Args:
        media: folder of the renditions' init and media segments.
        made: folder of what packaging wrote; may be the same.

    Raises:
        VerificationFailed: the first thing that is wrong. Nothing is changed.
    """
    _verify_files(plan, manifest, made)
    names = [each.name for each in plan.renditions] + [each.name for each in plan.audio]
    tracks = {name: read_track(media / name, name) for name in names}
    if plan.grid is not None:
        for rendition in plan.renditions:
            track = tracks[rendition.name]
            _verify_picture(track, plan.grid)
            _expect(track.name, "size", (track.width, track.height), (rendition.width, rendition.height))
    for sound in plan.audio:
        _verify_sound(tracks[sound.name], plan)
    for path in sorted(made.rglob("*.m3u8")):
        _verify_playlist(path, media, made, tracks)
    _verify_manifest(made / "manifest.mpd", manifest, tracks)
    for rendition in plan.renditions:
        if rendition.mp4:
            _verify_mp4(made / "mp4" / f"{rendition.name}.mp4")


def _expect(subject: str, what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise VerificationFailed(f"{subject}: {what} is {found}, wanted {wanted}")


def _verify_files(plan: Plan, manifest: AssetManifest, made: Path) -> None:
    for file in manifest.files:
        path = made / file.path
        if not path.is_file():
            raise VerificationFailed(f"{file.path} is missing")
        _expect(file.path, "size in bytes", path.stat().st_size, file.bytes)
        if not file.bytes:
            raise VerificationFailed(f"{file.path} is empty")
    kinds = {file.kind for file in manifest.files}
    wanted = {*ALWAYS, *(WITH_PICTURE if plan.grid is not None else ())}
    wanted |= {f"MP4_{each.name.removesuffix('p').upper()}" for each in plan.renditions if each.mp4}
    if wanted - kinds:
        raise VerificationFailed(f"the asset lacks {', '.join(sorted(wanted - kinds))}")


def _verify_picture(track: Track, grid: Grid) -> None:
    """As many frames as planned, cut where planned, each media segment and each GOP starting with an IDR picture."""
    _expect(track.name, "number of frames", track.frames, grid.frames)
    _expect(track.name, "number of media segments", len(track.pieces), grid.media_segments)
    _expect(track.name, "length in seconds", track.duration_s, grid.duration_s)
    for piece in track.pieces:
        planned = (piece.number - 1) * grid.media_segment_frames / grid.fps
        _expect(track.name, f"start of media segment {piece.number}", Fraction(piece.start, track.timescale), planned)
    gops = [Fraction(frame.start, track.timescale) for frame in track.iframes]
    planned_gops = [number / grid.fps for number in range(0, grid.frames, grid.gop_frames)]
    _expect(track.name, "grid of IDR pictures", gops == planned_gops, True)


def _verify_sound(track: Track, plan: Plan) -> None:
    _expect(track.name, "sampling rate", track.sample_rate, plan.audio_settings.sample_rate)
    least, most = sound_lengths(plan)
    if not least <= track.duration <= most:
        raise VerificationFailed(f"{track.name}: length in samples is {track.duration}, wanted {least} to {most}")
    at = 0
    for piece in track.pieces:
        _expect(track.name, f"start of media segment {piece.number}", piece.start, at)
        at += piece.duration


def _verify_playlist(path: Path, media: Path, made: Path, tracks: dict[str, Track]) -> None:
    """Every URI leads to a file inside the asset; declared durations add up to the rendition's."""
    name = path.relative_to(made).as_posix()
    lines = path.read_text(encoding="utf-8").splitlines()
    _expect(name, "first line", lines[0] if lines else "", "#EXTM3U")
    uris = [line for line in lines if line and not line.startswith("#")]
    uris += [line.split('URI="', 1)[1].split('"', 1)[0] for line in lines if 'URI="' in line]
    folder = path.parent.relative_to(made)
    for uri in uris:
        inside = folder / uri
        if (
            ".." in inside.parts
            or inside.is_absolute()
            or not ((made / inside).is_file() or (media / inside).is_file())
        ):
            raise VerificationFailed(f"{name} names {uri}, which is not in the asset")
    durations = [Fraction(line[8:].split(",")[0]) for line in lines if line.startswith("#EXTINF:")]
    track = tracks.get(folder.as_posix())
    if durations and track is not None and abs(sum(durations) - track.duration_s) > Fraction(len(durations), 100_000):
        raise VerificationFailed(f"{name}: durations add up to {float(sum(durations)):.3f} s")


def _verify_manifest(path: Path, manifest: AssetManifest, tracks: dict[str, Track]) -> None:
    try:
        root = ET.fromstring(path.read_bytes())
    except ET.ParseError as error:
        raise VerificationFailed(f"manifest.mpd: {error}") from error
    declared = Fraction((root.get("mediaPresentationDuration") or "PT0S")[2:-1])
    if abs(declared - manifest.duration_s) > Fraction(1, 1000):
        raise VerificationFailed(f"manifest.mpd: declares {float(declared)} s of {float(manifest.duration_s)} s")
    found = {node.get("id") or "": node for node in root.iter(f"{DASH}Representation")}
    missing = set(tracks) - set(found)
    if missing:
        raise VerificationFailed(f"manifest.mpd lacks {', '.join(sorted(missing))}")
    for name, track in tracks.items():
        steps = [int(s.get("r", "0")) + 1 for s in found[name].iter(f"{DASH}S")]
        _expect(f"manifest.mpd, {name}", "number of media segments", sum(steps), len(track.pieces))


def _verify_mp4(path: Path) -> None:
    """moov before mdat, and the file ends where its last box does; only box headers are read."""
    kinds, at, size = [], 0, path.stat().st_size
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            head = file.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            length = int.from_bytes(head[8:16], "big") if length == 1 else length
            if length < 8:
                raise VerificationFailed(f"{path.name}: a box of {length} bytes at {at}")
            kinds.append(kind)
            at += length
    _expect(path.name, "its boxes", (kinds, at), ([b"ftyp", b"moov", b"mdat"], size))
