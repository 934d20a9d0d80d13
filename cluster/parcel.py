"""Requests on their way through Ray: what all tasks of a job have in common is pickled once, not once for each of them.

The plan of an hour's video is hundreds of objects. Pickling it with every request took the dispatcher twice as long as
deciding and writing.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from dataclasses import dataclass, replace

from cluster.tasks import TaskRequest
from encoders.media import MediaInfo
from encoders.plan import Plan

KEPT_JOBS = 1000
"""Jobs whose plans are kept pickled, some kilobytes each: the ones that run, on a farm of any size seen so far."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A request, and apart from it the bytes of its plan and of what its source is."""

    request: TaskRequest
    source: bytes

    def unpack(self) -> TaskRequest:
        """The request as it was packed."""
        # Both ends are processes of one farm, and Ray pickles what goes between them anyway.
        plan, info = pickle.loads(self.source)
        return replace(self.request, plan=plan, info=info)


class Packer:
    """Packs requests. A job whose plan has changed, for another encoder, is pickled anew."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Plan | None, MediaInfo | None, bytes]] = OrderedDict()

    def pack(self, request: TaskRequest) -> Parcel:
        """A parcel of the request."""
        kept = self._kept.get(request.job_id)
        if kept is None or kept[0] is not request.plan or kept[1] is not request.info:
            data = pickle.dumps((request.plan, request.info), protocol=pickle.HIGHEST_PROTOCOL)
            kept = self._kept[request.job_id] = (request.plan, request.info, data)
            if len(self._kept) > KEPT_JOBS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(request.job_id)
        return Parcel(replace(request, plan=None, info=None), kept[2])
