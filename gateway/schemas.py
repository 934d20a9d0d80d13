"""Wire models: every name that a client can see. Times are RFC 3339 in UTC, sizes bytes, rates bits per second.

Request models refuse unknown fields, so that a misspelt one is an answer and not a surprise.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from cluster.metadata.lifecycle import UploadStatus, VideoStatus
from cluster.storage.base import MAX_PARTS
from encoders.recognition.known import KnownContent
from scheduler.jobs import GpuPolicy, JobState, Tier

HEX_ID = "3f2b8c1d9e4a4f6f8a7b6c5d4e3f2a1b"
"""The id in examples."""


def moment(epoch_s: float) -> datetime:
    """A time of the database (epoch seconds) as the API shows it."""
    return datetime.fromtimestamp(epoch_s, UTC)


def moment_or_none(epoch_s: float | None) -> datetime | None:
    """As `moment`, for what may not have happened yet."""
    return None if epoch_s is None else moment(epoch_s)


class Visibility(StrEnum):
    """Who may see a published video."""

    PUBLIC = "public"
    UNLISTED = "unlisted"
    """Everybody who has the address."""
    PRIVATE = "private"
    """The owner alone, by signed URLs."""


LONGEST_DEADLINE_S = 30 * 86_400
"""A deadline that is further away is none."""


class Request(BaseModel):
    """Base of request bodies."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Response(BaseModel):
    """Base of response bodies."""

    model_config = ConfigDict(frozen=True)


NO_NUL = r"^[^\x00]*$"
"""Databases differ on texts with a NUL in them: some cannot keep them."""
Etag = Annotated[str, StringConstraints(min_length=1, max_length=200)]
PartNumber = Annotated[int, Field(ge=1, le=MAX_PARTS)]


class InitiateRequest(Request):
    """A new upload."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "example": {
                "title": "My video",
                "category": "sports",
                "visibility": "public",
                "filename": "video.mp4",
                "content_type": "video/mp4",
                "file_size_bytes": 45_678_901,
            }
        },
    )

    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80, pattern=NO_NUL)]
    category: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")] = "other"
    visibility: Visibility = Visibility.PRIVATE
    filename: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=NO_NUL)]
    content_type: Annotated[
        str,
        # Registries of types write some in capitals ("audio/AMR"), and case means nothing. Source: RFC 9110, 8.3.1.
        StringConstraints(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*/[A-Za-z0-9][A-Za-z0-9.+-]*$", max_length=127, to_lower=True
        ),
    ]
    file_size_bytes: Annotated[int, Field(gt=0)]
    profile: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] = "default"
    part_size_bytes: Annotated[int, Field(gt=0)] | None = None


class InitiateResponse(Response):
    """Where the bytes of a new upload go."""

    upload_id: str = Field(examples=[HEX_ID])
    video_id: str = Field(examples=[HEX_ID])
    s3_upload_id: str = Field(examples=["2~abc"], description="The storage's own id of the multipart upload.")
    part_size_bytes: int = Field(examples=[10_485_760], description="Of every part but the last, which has the rest.")
    part_count: int = Field(examples=[5])
    expires_at: datetime


class PartToSign(Request):
    """One part that is about to be sent."""

    part_number: PartNumber
    content_length: Annotated[int, Field(gt=0)]


class PresignRequest(Request):
    """One part (`part_number`, `content_length`) or several (`parts`)."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"part_number": 1, "content_length": 10_485_760}]},
    )

    part_number: PartNumber | None = None
    content_length: Annotated[int, Field(gt=0)] | None = None
    parts: Annotated[list[PartToSign], Field(min_length=1, max_length=1000)] | None = None

    @model_validator(mode="after")
    def _one_or_many(self) -> Self:
        single = self.part_number is not None and self.content_length is not None
        some = self.part_number is not None or self.content_length is not None
        if self.parts is None and not single:
            raise ValueError("give part_number and content_length, or parts")
        if self.parts is not None and some:
            raise ValueError("give either one part or parts, not both")
        return self

    def wanted(self) -> list[PartToSign]:
        """The parts, however they were given."""
        if self.parts is not None:
            return self.parts
        assert self.part_number is not None
        assert self.content_length is not None
        return [PartToSign(part_number=self.part_number, content_length=self.content_length)]


class SignedPart(Response):
    """Where one part goes: PUT the bytes to `presigned_url` with `headers`, keep the answer's ETag."""

    part_number: int = Field(examples=[1])
    presigned_url: str
    headers: dict[str, str] = Field(examples=[{"Content-Length": "10485760"}])
    expires_at: datetime


class SignedParts(Response):
    """Where several parts go."""

    parts: list[SignedPart]


class ReceivedPart(Response):
    """A part that storage holds."""

    part_number: int = Field(examples=[1])
    etag: str = Field(examples=['"9bb58f26192e4ba00f01e2e7b136bbd8"'])
    size_bytes: int = Field(examples=[10_485_760])


class UploadResponse(Response):
    """An upload session, with what storage has of it: everything that resuming needs."""

    upload_id: str = Field(examples=[HEX_ID])
    video_id: str = Field(examples=[HEX_ID])
    status: UploadStatus
    file_size_bytes: int
    part_size_bytes: int
    part_count: int
    parts: list[ReceivedPart]
    expires_at: datetime
    completed_at: datetime | None


class CompletedPart(Request):
    """A part as the client sent it."""

    part_number: PartNumber
    etag: Etag


class JobWishes(Request):
    """How a job is to be run; all may be left out."""

    gpu: GpuPolicy = Field(GpuPolicy.PREFER, description="Whether its segments must, may or may not run on a GPU.")
    early_playback: bool = Field(True, description="First segments first; false: the longest first, which ends sooner.")
    deadline_s: Annotated[float, Field(gt=0, le=LONGEST_DEADLINE_S)] | None = Field(
        None, description="Seconds from now. When it presses, the job goes before the other jobs of its owner."
    )


class CompleteRequest(JobWishes):
    """All parts, as sent."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"example": {"parts": [{"part_number": 1, "etag": '"9bb58f26192e4ba00f01e2e7b136bbd8"'}]}},
    )

    parts: Annotated[list[CompletedPart], Field(min_length=1, max_length=MAX_PARTS)]


class CompleteResponse(Response):
    """The video whose upload is whole; its job is queued."""

    video_id: str = Field(examples=[HEX_ID])
    status: VideoStatus
    job_id: str = Field(examples=[HEX_ID])


class RenditionProgress(Response):
    """How far one rendition is."""

    name: str = Field(examples=["720p"])
    percent: float = Field(ge=0, le=100, examples=[62.5])


class Progress(Response):
    """How far a video is."""

    percent: float = Field(ge=0, le=100, examples=[48.0])
    renditions: list[RenditionProgress]


class Rejection(Response):
    """Why a video was not processed, and what its owner can do."""

    code: str = Field(examples=["too_long"])
    detail: str | None = Field(examples=["the video lasts 41.2 s; the profile nextplay takes 30 s"])
    hint: str | None = Field(examples=["Trim it, or retry with another profile."])


class VideoSummary(Response):
    """A video as lists show it."""

    video_id: str = Field(examples=[HEX_ID])
    title: str = Field(examples=["My video"])
    category: str | None
    visibility: Visibility
    status: VideoStatus
    profile: str = Field(examples=["default"])
    progress: Progress
    rejection: Rejection | None
    known_content: KnownContent | None = Field(None, description="Registered works found in it; null: not compared.")
    job_id: str | None
    duration_ms: int | None
    width: int | None
    height: int | None
    fps: str | None = Field(examples=["30000/1001"], description="Frames a second, a rational number.")
    file_size_bytes: int
    thumbnail_url: str | None
    created_at: datetime
    updated_at: datetime
    published_at: datetime | None


class Mp4(Response):
    """A progressive MP4."""

    name: str = Field(examples=["720p"])
    url: str
    width: int | None
    height: int | None
    size_bytes: int


class AssetFile(Response):
    """One file of an asset."""

    kind: str = Field(examples=["HLS"])
    url: str
    content_type: str
    size_bytes: int
    width: int | None
    height: int | None
    bandwidth_bps: int | None


class Assets(Response):
    """Addresses of what was made. Owners' addresses of unpublished videos expire at `expires_at`: ask again then."""

    hls: str | None = Field(description="HLS multivariant playlist.")
    dash: str | None = Field(description="DASH manifest.")
    mp4: list[Mp4] = Field(description="From small to large.")
    thumbnail: str | None
    preview: str | None
    storyboard: str | None = Field(description="WebVTT whose cues name tiles of a sprite.")
    chapters: str | None = Field(description="WebVTT chapters.")
    files: list[AssetFile]
    expires_at: datetime | None


class VideoResponse(VideoSummary):
    """A video with its assets."""

    assets: Assets


class VideoPage(Response):
    """Some of the caller's videos, newest first."""

    videos: list[VideoSummary]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last.")


class StatusResponse(Response):
    """Where a video is on its way."""

    video_id: str = Field(examples=[HEX_ID])
    title: str
    status: VideoStatus
    progress: Progress
    rejection: Rejection | None
    known_content: KnownContent | None = Field(None, description="Registered works found in it; null: not compared.")
    job_id: str | None
    thumbnail_url: str | None


class PublishRequest(Request):
    """Who may see the video from now on."""

    visibility: Visibility = Visibility.PUBLIC
    notify_followers: bool = Field(default=False, description="Passed on in the event `video.published`.")


class PublishResponse(Response):
    """A published video."""

    video_id: str = Field(examples=[HEX_ID])
    status: VideoStatus
    visibility: Visibility
    published_at: datetime
    assets: Assets


class Trim(Request):
    """The span of the source that is kept, seconds."""

    start_s: Annotated[float, Field(ge=0)] = 0.0
    end_s: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError("end_s must be after start_s")
        return self


class RetryRequest(JobWishes):
    """Process the kept source again, with other limits or a trim."""

    profile: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] | None = None
    trim: Trim | None = None


class RetryResponse(Response):
    """A video that is queued again."""

    video_id: str = Field(examples=[HEX_ID])
    status: VideoStatus
    job_id: str = Field(examples=[HEX_ID])


class JobResponse(Response):
    """A job: what makes a video's assets."""

    job_id: str = Field(examples=[HEX_ID])
    video_id: str = Field(examples=[HEX_ID])
    state: JobState
    tier: Tier
    profile: str
    progress: Progress
    failure: Rejection | None
    attempt: int = Field(description="How often a dispatcher has claimed it.")
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ExplainResponse(Response):
    """Why a job is where it is."""

    job_id: str = Field(examples=[HEX_ID])
    state: JobState
    position: int | None = Field(examples=[3], description="Jobs that go first, plus one; null once it runs.")
    reason: str = Field(examples=["Two jobs of a better tier and one earlier job go first."])
    estimate_s: float | None = Field(examples=[42.0], description="Seconds until it is done, when they can be told.")
    details: dict[str, Any] = Field(
        description="What the scheduler says of it; for people, not stable. Its `end` has the estimate `at`, in epoch "
        "seconds, and an interval from `earliest` to `latest` that is to hold the truth in 80 % of all cases.",
    )


class CancelResponse(Response):
    """A job that was asked to stop; it ends within one segment's time."""

    job_id: str = Field(examples=[HEX_ID])
    state: JobState
    cancel_requested: bool


class ProfileInfo(Response):
    """A named set of limits and settings."""

    name: str
    description: str
    max_duration_s: float | None
    max_bytes: int | None
    content_types: list[str] | None


class MeResponse(Response):
    """Who the token speaks for, and what they may use."""

    subject: str
    tier: Tier
    profiles: list[ProfileInfo]


class Health(Response):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(Response):
    """Whether requests can be served, by dependency: "ok", or what is wrong."""

    ready: bool
    checks: dict[str, str] = Field(examples=[{"database": "ok", "storage": "ok", "redis": "not used"}])


class ProblemResponse(Response):
    """RFC 9457 problem details."""

    type: str = Field(examples=["/problems/not_found"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    code: str = Field(examples=["not_found"], description="Stable: act on this.")
    error_id: str = Field(examples=["6b1f0c2d9e4a4f6f"], description="Stands beside the error in the farm's log.")
    instance: str = Field(examples=["/v1/videos/" + HEX_ID])
    detail: str | None = None
    hint: str | None = Field(None, description="What to do.")
    errors: list[dict[str, str]] | None = Field(
        None, examples=[[{"pointer": "/body/title", "detail": "Field required"}]], description="Fields that do not fit."
    )
