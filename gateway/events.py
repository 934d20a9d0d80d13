"""A video's events as server-sent events: from the event table, woken by the bell, by polling where there is none.

The table is the truth and its ids rise in commit order, so a client that comes back with `Last-Event-ID` misses
nothing. Progress is no event: it is read from the job's row and sent when it has changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi.sse import ServerSentEvent

from cluster.errors import RowMissing
from cluster.metadata import events
from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.schema import Event
from gateway import schemas, videos, views
from gateway.auth import Principal
from gateway.ports import Ports
from gateway.schemas import moment

BATCH = 100
ID_DIGITS = 18
"""Whatever has no more of them fits the database's 64 bits."""
LOOK_EVERY_S = 1.0
"""How often the tables are looked at when nobody rings, seconds: progress moves between the bells."""


def last_seen(last_event_id: str | None) -> int:
    """The id that a client names; 0, so that it gets everything, for what no event of this farm is called."""
    given = last_event_id or ""
    return int(given) if given.isascii() and given.isdecimal() and len(given) <= ID_DIGITS else 0


async def follow_video(ports: Ports, who: Principal, video_id: str, after_id: int) -> AsyncIterator[ServerSentEvent]:
    """What happened to one of the caller's videos since `after_id`, then what happens, until it is settled."""
    shown: schemas.Progress | None = None
    quiet_s = 0.0
    yield ServerSentEvent(comment="following", retry=2000)
    while True:
        async with ports.database.read() as session:
            found = await events.read_after(session, after_id, BATCH, user_id=who.subject, video_id=video_id)
            try:
                view = await videos.video_view(session, who, video_id)
            except RowMissing:  # deleted: its last event says so
                view = None
        for event in found:
            after_id = event.id
            quiet_s = 0.0
            yield as_sent(event)
        if len(found) == BATCH:
            continue
        if view is None:
            return
        status = VideoStatus(view.video.status)
        progress = views.progress(status, view.job)
        if progress != shown:
            shown, quiet_s = progress, 0.0
            yield ServerSentEvent(event="progress", data=progress.model_dump(mode="json"))
        if status.settled:
            return
        if quiet_s >= ports.settings.sse_heartbeat_s:
            quiet_s = 0.0
            yield ServerSentEvent(comment="still here")
        await ports.bell.wait(LOOK_EVERY_S)
        quiet_s += LOOK_EVERY_S


def as_sent(event: Event) -> ServerSentEvent:
    """A row of the event table as clients get it."""
    data = {"type": event.type, "at": moment(event.at).isoformat(), "job_id": event.job_id, **event.body}
    return ServerSentEvent(id=str(event.id), event=event.type, data=data)
