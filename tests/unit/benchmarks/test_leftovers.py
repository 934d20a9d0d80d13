"""Which objects of a store are explained by a row, and which are orphans."""

from __future__ import annotations

import pytest

from benchmarks.leftovers import explained
from cluster import layout
from cluster.metadata.lifecycle import VideoStatus

VIDEOS = {
    "ready": (VideoStatus.READY, "sources/ready/source"),
    "refused": (VideoStatus.REJECTED_FORMAT, ""),
    "gone": (VideoStatus.DELETED, ""),
}


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("sources/ready/source", True),
        ("sources/gone/source", False),
        ("assets/ready/k/v0/init.mp4", True),
        ("assets/ready/other/v0/init.mp4", False),
        ("assets/refused/k/v0/init.mp4", True),
        ("work/ready/k/segment-00000.json", False),
        ("fingerprints/ready", True),
        ("fingerprints/nobody", False),
        (layout.work_key("known"), True),
        (layout.work_key("forgotten"), False),
        (layout.catalogue_key("digest"), True),
        (layout.CATALOGUE_POINTER, True),
        ("elsewhere/ready", False),
    ],
)
def test_an_object_that_no_row_explains_is_an_orphan(key: str, wanted: bool) -> None:
    assert explained(key, VIDEOS, {("ready", "k")}, {"known"}) is wanted
