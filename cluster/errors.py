"""Typed errors of the farm's machines: storage, database, Redis. One root, `encoders.errors.FarmError`.

Every one leaves the store or the database as it was before the call, unless its docstring says otherwise.
"""

from __future__ import annotations

from encoders.errors import FarmError, Fault


class StorageError(FarmError):
    """Root of what an object store answers."""

    code = "storage_error"
    fault = Fault.INFRASTRUCTURE


class StoreUnavailable(StorageError):
    """The store did not answer, or answered that it cannot now: worth another try with back-off."""

    code = "store_unavailable"


class StoreFull(StorageError):
    """No space or no quota is left in the store; nothing of the object was kept."""

    code = "store_full"


class StoreRefused(StorageError):
    """The store does not accept the farm's credentials or its bucket: somebody must mend the configuration."""

    code = "store_refused"


class ObjectMissing(StorageError):
    """There is no object under this key."""

    code = "object_missing"


class UploadMissing(StorageError):
    """There is no open multipart upload of this id: it was completed, aborted or never begun."""

    code = "upload_missing"
    fault = Fault.CALLER


class PartMismatch(StorageError):
    """The named parts are not the ones that storage holds; the upload stays open and can be mended."""

    code = "part_mismatch"
    fault = Fault.CALLER


class LengthMismatch(StorageError):
    """A body is longer or shorter than what was signed; nothing of it was kept."""

    code = "length_mismatch"
    fault = Fault.CALLER


class DigestMismatch(StorageError):
    """A body is not the one whose Content-MD5 came with it; nothing of it was kept."""

    code = "digest_mismatch"
    fault = Fault.CALLER


class KeyInvalid(StorageError):
    """The key is empty, too long, or would leave the store's folder."""

    code = "key_invalid"
    fault = Fault.CALLER


class SignatureInvalid(StorageError):
    """The signature of a URL does not fit its method, path and terms."""

    code = "signature_invalid"
    fault = Fault.CALLER


class SignatureExpired(SignatureInvalid):
    """The URL was good and its time is over: ask for a fresh one."""

    code = "signature_expired"


class MetadataError(FarmError):
    """Root of what the metadata database answers."""

    code = "metadata_error"
    fault = Fault.INFRASTRUCTURE


class DatabaseUnavailable(MetadataError):
    """The database did not answer, or stayed locked, beyond the retries; the transaction did not happen."""

    code = "database_unavailable"


class DatabaseOutdated(MetadataError):
    """The tables are of another version than this code: run the migrations, or start a newer farm."""

    code = "database_outdated"


class FencedOut(MetadataError):
    """The writer's claim of a job is stale: somebody else holds it now. The transaction must be rolled back."""

    code = "fenced_out"


class RowMissing(MetadataError):
    """There is no such row, or it belongs to another user: both look the same to a caller."""

    code = "not_found"
    fault = Fault.CALLER


class IllegalTransition(MetadataError):
    """The state does not know this trigger; nothing was changed."""

    code = "illegal_transition"
    fault = Fault.CALLER


class CursorInvalid(MetadataError):
    """The cursor was not made by this listing: begin again without one."""

    code = "cursor_invalid"
    fault = Fault.CALLER


class RedisUnavailable(FarmError):
    """The embedded Valkey did not start or did not come back; the detail holds the end of its log."""

    code = "redis_unavailable"
    fault = Fault.INFRASTRUCTURE


class ClusterUnavailable(FarmError):
    """Ray cannot be started or joined; nothing that was started on the way is left running."""

    code = "cluster_unavailable"
    fault = Fault.INFRASTRUCTURE
