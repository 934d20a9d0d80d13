"""Who may load an asset, and by which address.

Players load playlists, then whatever these name relative to themselves, and cannot add headers or query strings. So the
right lies in the path, before the asset's own folder, and holds for everything below it:

    /media/open/<video>/<asset>/…         published as public or unlisted: everybody, for as long as it is
    /media/<expiry>.<mac>/<video>/<asset>/…   the owner, and whoever the owner gives the address, until it expires

Only `assets/` can be named this way; sources and work records have no address at all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.schema import Asset, Video
from gateway import schemas
from gateway.errors import MediaUrlInvalid
from gateway.schemas import Visibility, moment

OPEN = "open"
MAC_BYTES = 18
"""144 bits of HMAC-SHA256: nobody guesses it, and it stays short in every media request."""
KEY_PURPOSE = b"reelmill media prefix v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The right to load one asset folder, as an address carries it; `expires_at` is None for open ones."""

    segment: str
    expires_at: float | None


class MediaLinks:
    """Makes and checks media addresses.

    Args:
        secret: the farm's token secret; the key of these addresses is derived from it.
        public_url: where clients reach the gateway (or a CDN before it).
        ttl_s: how long a signed address holds at most; at least half of it.
    """

    def __init__(self, secret: bytes, public_url: str, ttl_s: float) -> None:
        self._key = hmac.digest(secret, KEY_PURPOSE, hashlib.sha256)
        self._base = public_url.rstrip("/") + "/media/"
        self._step_s = ttl_s / 2

    def signed(self, video_id: str, asset: str, now: float) -> Grant:
        """A grant for one asset folder. The same within half the time to live, so that browsers can cache."""
        expires_at = int((now // self._step_s + 2) * self._step_s)
        return Grant(segment=f"{expires_at:x}.{self._mac(video_id, asset, expires_at)}", expires_at=expires_at)

    def check(self, segment: str, video_id: str, asset: str, now: float) -> None:
        """Refuse a signed address that does not hold.

        Raises:
            MediaUrlInvalid: altered, of another folder, or expired.
        """
        expiry, _, mac = segment.partition(".")
        try:
            expires_at = int(expiry, 16)
        except ValueError:
            raise MediaUrlInvalid("this is no media address of this farm") from None
        if not hmac.compare_digest(mac.encode(), self._mac(video_id, asset, expires_at).encode()):
            raise MediaUrlInvalid("this media address was altered, or is of another farm")
        if expires_at <= now:
            raise MediaUrlInvalid("this media address has expired")

    def url(self, grant: Grant, key: str) -> str:
        """The address of an object below `assets/`."""
        return f"{self._base}{grant.segment}/{key.removeprefix('assets/')}"

    def _mac(self, video_id: str, asset: str, expires_at: int) -> str:
        text = f"{video_id}/{asset}/{expires_at}".encode()
        return base64.urlsafe_b64encode(hmac.digest(self._key, text, hashlib.sha256)[:MAC_BYTES]).decode()


def is_open(video: Video) -> bool:
    """Whether everybody may load a video's assets."""
    return video.status == VideoStatus.PUBLISHED and video.visibility in (Visibility.PUBLIC, Visibility.UNLISTED)


def grant_for(links: MediaLinks, video: Video, now: float) -> Grant | None:
    """The grant that a video's owner is shown; None while there are no assets."""
    if not video.asset_prefix:
        return None
    _, video_id, asset = video.asset_prefix.strip("/").split("/")
    return Grant(segment=OPEN, expires_at=None) if is_open(video) else links.signed(video_id, asset, now)


def addresses(links: MediaLinks, video: Video, assets: Sequence[Asset], now: float) -> schemas.Assets:
    """Addresses of all that was made of a video."""
    grant = grant_for(links, video, now)
    if grant is None:
        return NO_ASSETS
    urls = {asset.id: links.url(grant, asset.key) for asset in assets}

    def first(kind: str) -> str | None:
        return next((urls[one.id] for one in assets if one.kind == kind), None)

    mp4 = sorted((one for one in assets if one.kind.startswith("MP4_")), key=_pixels)
    return schemas.Assets(
        hls=first("HLS"),
        dash=first("DASH"),
        mp4=[
            schemas.Mp4(name=_rung(one), url=urls[one.id], width=one.width, height=one.height, size_bytes=one.bytes)
            for one in mp4
        ],
        thumbnail=first("THUMB"),
        preview=first("PREVIEW"),
        storyboard=first("STORYBOARD_VTT"),
        chapters=first("CHAPTERS"),
        files=[
            schemas.AssetFile(
                kind=one.kind,
                url=urls[one.id],
                content_type=one.content_type,
                size_bytes=one.bytes,
                width=one.width,
                height=one.height,
                bandwidth_bps=one.bandwidth_bps,
            )
            for one in assets
        ],
        expires_at=None if grant.expires_at is None else moment(grant.expires_at),
    )


def thumbnail_url(links: MediaLinks, video: Video, key: str | None, now: float) -> str | None:
    """Address of a video's thumbnail, when it has one."""
    grant = grant_for(links, video, now)
    return links.url(grant, key) if grant and key else None


def _rung(asset: Asset) -> str:
    """Name of a progressive MP4's rendition, as in "720p"; its kind is "MP4_720"."""
    name = asset.kind.removeprefix("MP4_")
    return f"{name}p" if name.isdigit() else name


def _pixels(asset: Asset) -> int:
    return (asset.width or 0) * (asset.height or 0)


NO_ASSETS = schemas.Assets(
    hls=None, dash=None, mp4=[], thumbnail=None, preview=None, storyboard=None, chapters=None, files=[], expires_at=None
)
