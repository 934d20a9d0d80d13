"""Where things lie in object storage: every key that the farm writes is made here, and nowhere else.

    sources/<video>/source                          the upload; kept until its retention ends
    assets/<video>/<asset key>/<rendition>/…        what players load; never changed once written
    work/<video>/copy-<digest>.nut                  what is read in place of a source whose times or index are broken
    work/<video>/<asset key>/<task>.json            the record of one finished task: written last, so that a record
                                                    means that everything it names is in place
    fingerprints/<video>                            what a video is recognised by; as long as the video
    works/<version>/…                               registered works: fingerprints, the catalogue of all, its pointer

The asset key is a digest of the source, the ladder, the grid and the encoder (encoders.plan), so a media segment's key
is its content key: a retry, a resumed job or a twin finds what is finished instead of making it again.
"""

from __future__ import annotations

from encoders.asset import CONTENT_TYPES
from encoders.media import Copy, MediaInfo
from encoders.plan import Plan
from encoders.recognition.fingerprint import VERSION


def source_key(video_id: str) -> str:
    """Key of an uploaded source."""
    return f"sources/{video_id}/source"


def asset_root(video_id: str) -> str:
    """Folder of everything that was ever made for players of a video."""
    return f"assets/{video_id}/"


def record_root(video_id: str) -> str:
    """Folder of all records of a video's tasks."""
    return f"work/{video_id}/"


def asset_prefix(video_id: str, plan: Plan) -> str:
    """Folder of an asset, with a slash at its end."""
    return f"{asset_root(video_id)}{plan.asset_key}/"


def media_key(video_id: str, plan: Plan, rendition: str, number: int) -> str:
    """Key of one media segment; numbers start at 1."""
    return f"{asset_prefix(video_id, plan)}{rendition}/{number:05d}.m4s"


def init_key(video_id: str, plan: Plan, rendition: str) -> str:
    """Key of a rendition's initialisation segment."""
    return f"{asset_prefix(video_id, plan)}{rendition}/init.mp4"


def record_prefix(video_id: str, plan: Plan) -> str:
    """Folder of the records of an asset's tasks."""
    return f"{record_root(video_id)}{plan.asset_key}/"


def segment_record(video_id: str, plan: Plan, index: int) -> str:
    """Key of the record of a finished segment."""
    return f"{record_prefix(video_id, plan)}segment-{index:05d}.json"


def audio_record(video_id: str, plan: Plan, rendition: str) -> str:
    """Key of the record of a finished sound rendition."""
    return f"{record_prefix(video_id, plan)}{rendition}.json"


def fingerprint_key(video_id: str) -> str:
    """Key of what a video is recognised by."""
    return f"fingerprints/{video_id}"


def work_key(work_id: str) -> str:
    """Key of a registered work's fingerprint, which outlives the video's."""
    return f"{WORKS}fingerprints/{work_id}"


def catalogue_key(digest: str) -> str:
    """Key of the catalogue of all works; named after what is in it, never changed."""
    return f"{WORKS}catalogues/{digest}"


WORKS = f"works/v{VERSION}/"
CATALOGUE_POINTER = f"{WORKS}current.json"
"""Key of the object that names the catalogue which counts."""


def copy_key(video_id: str, sha256: str) -> str:
    """Key of the copy from which a source is read that cannot be read in pieces itself."""
    return f"{record_root(video_id)}copy-{sha256[:20]}.nut"


def copy_record(video_id: str, sha256: str) -> str:
    """Key of the record that the copy is whole, which says what it holds."""
    return f"{record_root(video_id)}copy-{sha256[:20]}.json"


def picture_key(video_id: str, source_key: str, info: MediaInfo) -> str:
    """Key of what the picture is read from: the source, or its copy."""
    return source_key if info.copy is Copy.NONE else copy_key(video_id, info.sha256)


def sound_key(video_id: str, source_key: str, info: MediaInfo) -> str:
    """Key of what the sound is read from: the copy only when it has another clock."""
    return copy_key(video_id, info.sha256) if info.copy is Copy.CLOCK else source_key


def content_type(path: str) -> str:
    """Content type of a file of an asset, by its suffix."""
    return CONTENT_TYPES["." + path.rsplit(".", 1)[-1]]
