"""Writing WebVTT: cues with text that is only text. Pure; standard library only.

Source: W3C WebVTT, sections 4 (syntax) and 4.2.2 (cue text: ampersand and angle brackets are escaped).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """Text shown from `start_s` to `end_s` of the asset.

    Attributes:
        text: plain text, lines separated by line feeds.
        settings: where it stands, as WebVTT writes it; empty for where subtitles do.
    """

    start_s: Fraction
    end_s: Fraction
    text: str
    settings: str = ""


def document(cues: Iterable[Cue], header: str = "") -> str:
    """A WebVTT file; cues without text are left out.

    Args:
        header: lines after the signature, as X-TIMESTAMP-MAP; none when empty.
    """
    blocks = ["WEBVTT" + (f"\n{header}" if header else "")]
    for cue in cues:
        text = escaped(cue.text)
        if text and cue.end_s > cue.start_s:
            placed = f" {cue.settings}" if cue.settings else ""
            blocks.append(f"{timestamp(cue.start_s)} --> {timestamp(cue.end_s)}{placed}\n{text}")
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """Plain text as cue text: markup signs escaped, no empty lines, no control signs."""
    lines = ("".join(sign for sign in line if sign.isprintable()).strip() for line in text.splitlines())
    joined = "\n".join(line for line in lines if line)
    return joined.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def timestamp(at_s: Fraction) -> str:
    """Hours, minutes, seconds and milliseconds."""
    millis = round(at_s * 1000)
    return f"{millis // 3_600_000:02d}:{millis // 60_000 % 60:02d}:{millis // 1000 % 60:02d}.{millis % 1000:03d}"
