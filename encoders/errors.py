"""The root of the error tree, and an error as a value.

Rule: an error says in `code` what happened (stable: clients, metrics and retry policies use it) and in `fault` who must
change something. Retry and HTTP read nothing else. Exceptions stay inside a process; what crosses one is a `Failure`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar


class Fault(StrEnum):
    """Who must change something for the same request to succeed."""

    CALLER = "caller"
    """The request itself is wrong: never retried."""
    INPUT = "input"
    """The source cannot be processed as it is: never retried, the owner is told what to do."""
    DEVICE = "device"
    """One device, worker or encoder misbehaved: retried elsewhere."""
    INFRASTRUCTURE = "infrastructure"
    """Storage, database, network or disk: retried with back-off."""


class FarmError(Exception):
    """Root of all typed errors. Subclasses set `code` and `fault`; the detail is the one constructor argument.

    One argument only: exceptions with more do not survive pickling through Ray (ray#28436).
    """

    code: ClassVar[str] = "internal"
    fault: ClassVar[Fault] = Fault.INFRASTRUCTURE

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error as a value: what crosses processes, is stored with a task, and is shown to a person.

    Attributes:
        code: stable identifier, lower_snake_case.
        fault: who must change something.
        detail: one sentence that says what is wrong and, for CALLER and INPUT, what to do.
        evidence: what helps to find the cause later (stderr tail, exit status, device); never shown to clients.
    """

    code: str
    fault: Fault
    detail: str
    evidence: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: FarmError, **evidence: str) -> Failure:
        """The value of a typed error."""
        return cls(code=error.code, fault=error.fault, detail=error.detail, evidence=evidence)


class InputError(FarmError):
    """The source cannot be processed as it is."""

    code = "input_invalid"
    fault = Fault.INPUT


class NotAVideo(InputError):
    """The bytes are no media file that this farm reads."""

    code = "not_a_video"


class ForbiddenFormat(InputError):
    """A playlist, a script or another container that names other files; nothing of it is opened."""

    code = "forbidden_format"


class NoPlayableTrack(InputError):
    """The container holds no track that decodes."""

    code = "no_playable_track"


class Encrypted(InputError):
    """The media is encrypted and there is no key."""

    code = "encrypted"


class Damaged(InputError):
    """The source, or one of its tracks, cannot be read or decoded."""

    code = "damaged"


class TooDamaged(InputError):
    """More of the source is damaged than its profile takes. What was made of it is thrown away."""

    code = "too_damaged"


class TooLarge(InputError):
    """Pixels, streams, frames or bytes beyond the limits of the profile or the farm."""

    code = "too_large"


class TooLong(InputError):
    """Longer than the profile allows."""

    code = "too_long"


class CodecNotAllowed(InputError):
    """A codec or container that the profile does not take."""

    code = "codec_not_allowed"


class ResourceExceeded(InputError):
    """The confined process passed its limit of memory, time, pixels or output bytes on this source."""

    code = "resource_exceeded"


class MediaCrashed(FarmError):
    """The confined process died (signal or exit status) while it worked on a source."""

    code = "media_crashed"
    fault = Fault.DEVICE


class DiskFull(FarmError):
    """The node has no room for what is being made; nothing of it is kept, and it is tried again when there is room."""

    code = "disk_full"
    fault = Fault.INFRASTRUCTURE


class VerificationFailed(FarmError):
    """What was encoded is not what was planned; nothing of it is published."""

    code = "verification_failed"
    fault = Fault.DEVICE


class BackendUnavailable(FarmError):
    """This host cannot run the backend; the detail says why."""

    code = "backend_unavailable"
    fault = Fault.DEVICE
