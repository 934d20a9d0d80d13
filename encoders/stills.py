"""Thumbnail and preview clip of an asset, made from its finished renditions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from encoders.pictures import Look, Rendered, jpeg, look_of, rgb
from encoders.tracks import IFrame, Track

MOST_LOOKS = 240
"""I-frames of the smallest rendition that are looked at for a thumbnail that is not black: eight minutes at 2 s."""
PREVIEW_CRF = 28
"""A clip of a few seconds in a list; a few hundred kB."""


def write_thumbnail(media: Path, pictures: Sequence[Track], at_s: float, out: Path) -> tuple[int, int]:
    """Write a JPEG of the picture at a time, from the largest rendition; of a better one near it when that is dull.

    Returns:
        its width and height.
    """
    largest, smallest = pictures[-1], pictures[0]
    wanted_s = min(Fraction(at_s), largest.duration_s / 2)
    shown = Rendered(media / largest.name, largest)
    frame = _at(shown, wanted_s)
    if look_of(frame).dull:
        better = _better(Rendered(media / smallest.name, smallest), wanted_s, look_of(frame))
        if better is not None:
            frame = _at(shown, Fraction(better.start, smallest.timescale))
    out.write_bytes(jpeg(rgb(frame, largest.width, largest.height)))
    return largest.width, largest.height


def write_preview(
    media: Path, pictures: Sequence[Track], length_s: float, short_side: int, fps: Fraction, out: Path
) -> tuple[int, int]:
    """Write a silent MP4 of an asset's first seconds, from the smallest rendition that is large enough.

    Returns:
        its width and height.
    """
    large_enough = [track for track in pictures if min(track.width, track.height) >= short_side]
    track = large_enough[0] if large_enough else pictures[-1]
    width, height = fitted(track.width, track.height, short_side)
    with av.open(str(out), "w", format="mp4", options={"movflags": "faststart"}) as container:
        # Without B-frames decode times need no edit list, so the clip starts at 0 everywhere.
        options = {"preset": "veryfast", "crf": str(PREVIEW_CRF), "bf": "0", "x264-params": "sliced-threads=0"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = 1 / fps
        stream.codec_context.thread_count = 1
        stream.codec_context.colorspace = 1
        stream.codec_context.color_primaries = 1
        stream.codec_context.color_trc = 1
        stream.codec_context.color_range = 1
        for number, (at_s, frame) in enumerate(Rendered(media / track.name, track).frames(Fraction(0))):
            if number and at_s >= Fraction(length_s):
                break
            picture = frame.reformat(width=width, height=height, format="yuv420p", interpolation="AREA")
            picture.pts, picture.time_base, picture.pict_type = number, 1 / fps, 0
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return width, height


def fitted(width: int, height: int, short_side: int) -> tuple[int, int]:
    """A size whose short side is at most `short_side`, of the same shape, even, at least 2."""
    scale = min(Fraction(1), Fraction(short_side, min(width, height)))
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def _at(rendered: Rendered, at_s: Fraction) -> av.VideoFrame:
    """The picture shown at a time."""
    last_s = rendered.track.duration_s - Fraction(1, rendered.track.timescale)
    best: av.VideoFrame | None = None
    for shown_s, frame in rendered.frames(max(Fraction(0), min(at_s, last_s) - 1)):
        if best is not None and shown_s > at_s:
            break
        best = frame
    assert best is not None  # a track has a picture, or reading it failed
    return best


def _better(rendered: Rendered, wanted_s: Fraction, present: Look) -> IFrame | None:
    """The I-frame nearest to a time that is not dull; else the one with the most contrast; None when none is better."""
    scale = rendered.track.timescale
    near = sorted(rendered.track.iframes, key=lambda frame: abs(Fraction(frame.start, scale) - wanted_s))[:MOST_LOOKS]
    best, best_look = None, present
    for candidate in near:
        look = look_of(rendered.iframe(candidate))
        if not look.dull:
            return candidate
        if look.spread > best_look.spread + 1:
            best, best_look = candidate, look
    return best
