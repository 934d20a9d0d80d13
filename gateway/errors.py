"""Errors of the HTTP side. Their status and title are in `problems.py`; what is left after one is in each docstring.

All are the caller's to mend (`Fault.CALLER`): the same request fails again until the caller changes something.
"""

from __future__ import annotations

from typing import ClassVar

from encoders.errors import FarmError, Fault


class GatewayError(FarmError):
    """Root of the errors of the HTTP side; nothing was changed."""

    code = "request_invalid"
    fault = Fault.CALLER


class NotAuthenticated(GatewayError):
    """The request carries no token, or one that does not hold (expired, wrong signature, missing claims)."""

    code = "not_authenticated"


class UnknownResource(GatewayError):
    """No such upload, video, job or file, or it belongs to somebody else; the answer is the same."""

    code = "not_found"


class RateLimited(GatewayError):
    """The user has started as many uploads as the tier allows for now; nothing was created."""

    code = "rate_limited"


class TryLater(GatewayError):
    """Not now; nothing was created. `retry_after_s` goes to the client."""

    retry_after_s: ClassVar[int] = 60


class TooMuchUnderWay(TryLater):
    """The user has as many uploads and jobs under way as the tier allows; nothing was created."""

    code = "too_much_under_way"


class Overloaded(TryLater):
    """The farm has more work than it takes from this tier; nothing was created, and nothing accepted is given up."""

    code = "overloaded"
    fault = Fault.INFRASTRUCTURE
    retry_after_s = 300


class UnknownProfile(GatewayError):
    """The farm has no profile of this name."""

    code = "profile_unknown"


class FileTooLarge(GatewayError):
    """More bytes than the profile takes; nothing was created."""

    code = "file_too_large"


class ContentTypeNotAllowed(GatewayError):
    """A content type that the profile does not take; nothing was created."""

    code = "content_type_not_allowed"


class PartLayoutInvalid(GatewayError):
    """The part size leads to more parts than storage takes, or to parts that are too small."""

    code = "part_layout_invalid"


class PartNumberInvalid(GatewayError):
    """A part number outside the session's layout."""

    code = "part_number_invalid"


class PartLengthInvalid(GatewayError):
    """A part's length is not the one that the session's layout gives it."""

    code = "part_length_invalid"


class UploadNotOpen(GatewayError):
    """The upload session is completed, aborted or expired and takes no more parts."""

    code = "upload_not_open"


class UploadExpired(GatewayError):
    """The upload session's time is over; its parts are removed."""

    code = "upload_expired"


class PartsMissing(GatewayError):
    """Storage does not hold every part yet; the session stays open and takes the missing ones."""

    code = "parts_missing"


class PartEtagMismatch(GatewayError):
    """A part's ETag differs from what storage holds; the session stays open, the part can be put again."""

    code = "part_etag_mismatch"


class PartSizeMismatch(GatewayError):
    """A stored part has another length than the layout says; the session stays open, the part can be put again."""

    code = "part_size_mismatch"


class PartsUnexpected(GatewayError):
    """The part list names parts that the layout does not have, or one twice; the session stays open."""

    code = "parts_unexpected"


class StateConflict(GatewayError):
    """The resource's state does not allow this; it stays as it was."""

    code = "state_conflict"


class SourceGone(GatewayError):
    """The source's retention is over, so the video cannot be processed again: upload it once more."""

    code = "source_gone"


class RangeNotSatisfiable(GatewayError):
    """The byte range starts behind the object's end."""

    code = "range_not_satisfiable"


class LengthRequired(GatewayError):
    """A part without Content-Length; nothing was stored."""

    code = "length_required"


class IdempotencyKeyReused(GatewayError):
    """The same Idempotency-Key came with another request; nothing was done."""

    code = "idempotency_key_reused"


class RequestInProgress(GatewayError):
    """The first request with this Idempotency-Key is still at work."""

    code = "request_in_progress"


class MediaUrlInvalid(GatewayError):
    """A media address that is not ours, was altered, or has expired."""

    code = "media_url_invalid"


class OperatorsOnly(GatewayError):
    """Only the farm's operators may do this; nothing was changed."""

    code = "operators_only"
