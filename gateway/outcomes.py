"""How a video's processing ended, as an error where it ended badly: for commands, which have nothing else to return."""

from __future__ import annotations

from cluster.metadata.lifecycle import VideoStatus
from encoders.errors import FarmError, Fault, TooDamaged


class SourceRejected(FarmError):
    """The farm looked at the source and does not take it; the detail says why and what the owner can do."""

    code = "source_rejected"
    fault = Fault.INPUT


class ProcessingFailed(FarmError):
    """The farm could not process a source that it had taken; it is kept, and can be retried."""

    code = "processing_failed"
    fault = Fault.INFRASTRUCTURE


def require_playable(status: VideoStatus, code: str | None, detail: str | None, hint: str | None) -> None:
    """Do nothing for a video that is ready.

    Raises:
        SourceRejected: the source is the reason.
        ProcessingFailed: the farm is, or the job was cancelled.
    """
    if not status.rejected:
        return
    text = " ".join(part for part in (detail or code, hint) if part) or "no reason was given"
    ours = status is VideoStatus.PROCESSING_FAILED and code != TooDamaged.code
    kind = ProcessingFailed if ours else SourceRejected
    raise kind(f"{status}: {text}")
