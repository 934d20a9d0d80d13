"""Which registered works a video holds: both fingerprints against the catalogue, spans of each work put together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from encoders.recognition.catalogue import Catalogue, open_catalogue
from encoders.recognition.fingerprint import Fingerprint, Words
from encoders.recognition.known import KnownContent, KnownContentAction, KnownContentSettings, Match, MatchKind, Span
from encoders.recognition.match_pictures import Asked, WorkSpan, find_pictures, questions_of
from encoders.recognition.match_sounds import find_sounds

SOUND_FACTOR = 2.0
"""How many times longer than of picture a span of sound must be: a jingle is shorter."""


def recognise(
    fingerprint: Fingerprint,
    catalogue: Catalogue,
    settings: KnownContentSettings,
    video_id: str,
    removed: Container[str] = (),
) -> KnownContent:
    """Compare a video with all registered works but those that were registered from it.

    Args:
        video_id: of the video itself.
        removed: ids of works that do not count.
    """
    return _compare(questions_of(fingerprint.pictures), fingerprint.sound, catalogue, settings, video_id, removed)


def _compare(
    pictures: Asked,
    sound: Words,
    catalogue: Catalogue,
    settings: KnownContentSettings,
    video_id: str,
    removed: Container[str],
) -> KnownContent:
    own = {index for index, work in enumerate(catalogue.works) if work.video_id == video_id or work.work_id in removed}
    if settings.action is KnownContentAction.OFF:
        return KnownContent(works=0, matches=())
    share, min_s = settings.picture_share, settings.min_s
    seen = find_pictures(pictures, catalogue, share, min_s, own)
    heard: list[WorkSpan] = []
    if settings.sound_error is not None:
        heard = find_sounds(sound, catalogue, settings.sound_error, min_s * SOUND_FACTOR, own)
    matches = [*_matches(catalogue, MatchKind.PICTURE, seen), *_matches(catalogue, MatchKind.SOUND, heard)]
    return KnownContent(works=len(catalogue.works) - len(own), matches=_ranked(matches))


def _ranked(matches: Iterable[Match]) -> tuple[Match, ...]:
    return tuple(sorted(matches, key=lambda match: (-match.matched_s, match.work_id, match.kind)))


def _matches(catalogue: Catalogue, kind: MatchKind, found: Iterable[WorkSpan]) -> list[Match]:
    spans: defaultdict[int, list[Span]] = defaultdict(list)
    for each in found:
        spans[each.work].append(each.span)
    return [
        Match(
            work_id=catalogue.works[work].work_id,
            title=catalogue.works[work].title,
            kind=kind,
            spans=joined(spans[work]),
        )
        for work in sorted(spans)
    ]


def joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Spans by their start, those that overlap or touch put together; scores are averaged by length."""
    out: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start_s, span.end_s)):
        if out and span.start_s <= out[-1].end_s:
            out[-1] = _together(out[-1], span)
        else:
            out.append(span)
    return tuple(out)


def _together(one: Span, other: Span) -> Span:
    lengths = one.end_s - one.start_s, other.end_s - other.start_s
    return Span(
        start_s=one.start_s,
        end_s=max(one.end_s, other.end_s),
        work_start_s=min(one.work_start_s, other.work_start_s),
        work_end_s=max(one.work_end_s, other.work_end_s),
        score=round((one.score * lengths[0] + other.score * lengths[1]) / sum(lengths), 3),
    )


def recognise_in(
    data: bytes, parts: Sequence[Path], removed: Iterable[str], settings: KnownContentSettings, video_id: str
) -> KnownContent:
    """As `recognise`, of a stored fingerprint and files: what a worker has done in a child that it can end.

    Args:
        parts: of the catalogue, the oldest first; of a work that is in several the newest counts.

    Raises:
        FingerprintInvalid: the bytes are of another version of the farm.
        CatalogueInvalid: a file is.
    """
    fingerprint, seen = Fingerprint.from_bytes(data), set(removed)
    pictures = questions_of(fingerprint.pictures)
    found = []
    for path in reversed(parts):
        part = open_catalogue(path)
        found.append(_compare(pictures, fingerprint.sound, part, settings, video_id, seen))
        seen.update(work.work_id for work in part.works)
    matches = _ranked(match for each in found for match in each.matches)
    return KnownContent(works=sum(each.works for each in found), matches=matches)
