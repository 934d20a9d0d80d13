"""What a profile wants done about known content, and what was found: values. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from encoders.errors import InputError


class KnownContentAction(StrEnum):
    """What a match makes of a video."""

    OFF = "off"
    """Nobody looks."""
    FLAG = "flag"
    """The video becomes READY, and says what it holds."""
    REJECT = "reject"
    """The video becomes REJECTED_COPYRIGHT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownContentSettings:
    """How registered works are looked for in a video.

    Attributes:
        action: what a match makes of a video.
        picture_share: of the sampled pictures of a span, how many must show the work at one offset; 0 to 1.
        sound_error: share of chromaprint's bits that may differ in the same sound; None: sound is not compared.
        min_s: shortest span of picture that counts, seconds; sound needs twice that.
    """

    action: KnownContentAction = KnownContentAction.FLAG
    picture_share: float = 0.5
    sound_error: float | None = 0.25
    min_s: float = 4.0

    def __post_init__(self) -> None:
        if not 0.2 <= self.picture_share <= 1:
            raise ValueError(f"known_content: picture_share {self.picture_share} must be 0.2 to 1")
        if self.sound_error is not None and not 0 < self.sound_error <= 0.32:
            raise ValueError(f"known_content: sound_error {self.sound_error} must be above 0, up to 0.32, or null")
        if self.min_s < 3:
            raise ValueError(f"known_content: min_s {self.min_s} must be at least 3 seconds")


class MatchKind(StrEnum):
    """By what a work was recognised."""

    PICTURE = "picture"
    SOUND = "sound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of a video that shows or plays a stretch of a work; seconds on the clocks of both.

    Attributes:
        score: of pictures the share that agree; of sound the share of bits that differ.
    """

    start_s: float
    end_s: float
    work_start_s: float
    work_end_s: float
    score: float

    def __post_init__(self) -> None:
        if not self.start_s < self.end_s:
            raise ValueError(f"empty span from {self.start_s} to {self.end_s} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A registered work in a video, by its picture or its sound."""

    work_id: str
    title: str
    kind: MatchKind
    spans: tuple[Span, ...]

    @property
    def matched_s(self) -> float:
        """Seconds of the video that are the work's."""
        return sum(span.end_s - span.start_s for span in self.spans)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownContent:
    """What was looked for and found.

    Attributes:
        works: registered works that the video was compared with.
        matches: the longest first.
    """

    works: int
    matches: tuple[Match, ...]


class CopyrightFound(InputError):
    """The video holds a registered work, and its profile does not allow that."""

    code = "copyright"


def refuse(found: KnownContent) -> None:
    """Let a video pass in which nothing was found.

    Raises:
        CopyrightFound: names works and spans, and says what the owner can do.
    """
    if not found.matches:
        return
    named = "; ".join(_sentence(match) for match in found.matches[:3])
    more = len(found.matches) - 3
    raise CopyrightFound(
        f"the video holds registered works: {named}{f'; and {more} more' if more > 0 else ''}. Cut these parts out and "
        "upload again, or ask the operator of this farm if you have the right to use them"
    )


def _sentence(match: Match) -> str:
    spans = ", ".join(f"{_clock(span.start_s)}-{_clock(span.end_s)}" for span in match.spans[:4])
    more = f" and {len(match.spans) - 4} more" if len(match.spans) > 4 else ""
    return f'{match.kind} of "{match.title}" at {spans}{more}'


def _clock(seconds: float) -> str:
    whole = int(seconds)
    hours = f"{whole // 3600}:" if whole >= 3600 else ""
    return f"{hours}{whole // 60 % 60:02d}:{whole % 60:02d}"
