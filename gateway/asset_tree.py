"""A finished asset as files in object storage: what it holds, and how to bring it to a folder."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.storage.base import ObjectInfo, ObjectStore

MASTER = "master.m3u8"
ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)')
"""One attribute of an attribute list. Source: RFC 8216 section 4.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenditionSummary:
    """One rendition as the multivariant playlist names it. `size_bytes` are all its stored files."""

    name: str
    resolution: str
    frame_rate: str
    codecs: str
    average_bps: int
    peak_bps: int
    size_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def list_asset(store: ObjectStore, prefix: str) -> dict[str, ObjectInfo]:
    """Files of an asset by their path below its prefix."""
    return {each.key.removeprefix(prefix): each for each in store.list(prefix)}


def export_asset(store: ObjectStore, prefix: str, folder: Path) -> list[Path]:
    """Bring all files of an asset to a folder; their paths, relative to it."""
    paths = []
    for path, info in list_asset(store, prefix).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        store.get_file(info.key, target)
        paths.append(Path(path))
    return paths


def summarise_renditions(master: str, sizes_bytes: dict[str, int]) -> list[RenditionSummary]:
    """The renditions that a multivariant playlist names, in its order, each once.

    Args:
        master: its text.
        sizes_bytes: bytes of each file of the asset, by path below the playlist's folder.
    """
    found: dict[str, RenditionSummary] = {}
    lines = master.splitlines()
    for line, uri in itertools.pairwise(lines):
        if not line.startswith("#EXT-X-STREAM-INF:"):
            continue
        attributes = {key: value.strip('"') for key, value in ATTRIBUTE.findall(line.partition(":")[2])}
        folder = uri.rpartition("/")[0]
        name = folder.rpartition("/")[2] or uri.rpartition(".")[0]
        found.setdefault(
            name,
            RenditionSummary(
                name=name,
                resolution=attributes.get("RESOLUTION", "sound only"),
                frame_rate=attributes.get("FRAME-RATE", ""),
                codecs=attributes.get("CODECS", ""),
                average_bps=int(attributes.get("AVERAGE-BANDWIDTH", 0)),
                peak_bps=int(attributes.get("BANDWIDTH", 0)),
                size_bytes=_size_of(folder, sizes_bytes),
            ),
        )
    return list(found.values())


def _size_of(folder: str, sizes_bytes: dict[str, int]) -> int:
    return sum(size for path, size in sizes_bytes.items() if folder and path.startswith(f"{folder}/"))


def total_bytes(files: Sequence[ObjectInfo]) -> int:
    """Bytes of all files."""
    return sum(each.size_bytes for each in files)
