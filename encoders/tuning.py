"""Points between speed and quality: x264's presets by name, and the farm's own. Standard library only.

The farm's own were searched on film, sport, night, traffic and screen (`python -m benchmarks presets`; what was tried
and what came of it: docs/quality.md). Each says what x264 does for renditions up to a short side: small ones cost
little, so more is done for them.
"""

from __future__ import annotations

from dataclasses import dataclass

from encoders.avc_level import REFERENCES

STOCK_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
"""Source: x264 --fullhelp."""
_REFERENCES = {"ultrafast": 1, "superfast": 1, "veryfast": 1, "faster": 2, "fast": 2, "medium": 3}
"""References that presets take; slower ones would take more than `REFERENCES`. Source: x264 --fullhelp."""
_LOOKAHEAD = {"ultrafast": 0, "superfast": 0, "veryfast": 10, "faster": 20, "fast": 30, "medium": 40, "slow": 50}
_LONGEST_LOOKAHEAD = 60
"""Source: x264 --fullhelp, rc-lookahead; slower presets take 60."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """One point between speed and quality.

    Attributes:
        base: one of x264's presets.
        options: x264's names and values that differ from the preset, as ("trellis", "1").
    """

    base: str
    options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.base not in STOCK_PRESETS:
            raise ValueError(f"{self.base!r} is no preset of x264: want one of {', '.join(STOCK_PRESETS)}")

    @classmethod
    def parse(cls, text: str) -> Tuning:
        """From "veryfast" or "veryfast:trellis=1:subme=3".

        Raises:
            ValueError: x264 has no such preset, or an option has no value.
        """
        base, *options = text.split(":")
        pairs = [option.partition("=") for option in options]
        if not all(name and value for name, _, value in pairs):
            raise ValueError(f"{text!r}: want a preset and options, as in veryfast:trellis=1")
        return cls(base=base, options=tuple((name, value) for name, _, value in pairs))

    def __str__(self) -> str:
        return ":".join([self.base, *(f"{name}={value}" for name, value in self.options)])

    @property
    def references(self) -> int:
        """Reference frames, within what the level of a rendition allows."""
        return min(REFERENCES, int(dict(self.options).get("ref", _REFERENCES.get(self.base, REFERENCES))))

    @property
    def lookahead_frames(self) -> int:
        """How far rate control looks ahead."""
        return int(dict(self.options).get("rc-lookahead", _LOOKAHEAD.get(self.base, _LONGEST_LOOKAHEAD)))


ANY_SIDE = 1 << 30
"""Longer than any short side."""
SMALL_SIDE = 360
"""Renditions up to this hold a tenth of a 1080p ladder's pixels."""
OWN_PRESETS: dict[str, tuple[tuple[int, Tuning], ...]] = {
    "quick": ((ANY_SIDE, Tuning.parse("superfast:trellis=1:rc-lookahead=10:mbtree=1:aq-strength=0.8")),),
    "standard": (
        (SMALL_SIDE, Tuning.parse("veryfast:trellis=1:rc-lookahead=30:aq-strength=0.8:subme=4:ref=2")),
        (ANY_SIDE, Tuning.parse("veryfast:trellis=1:rc-lookahead=30:aq-strength=0.8:me=dia")),
    ),
    "fine": ((ANY_SIDE, Tuning.parse("medium:aq-strength=0.8")),),
}
"""Name in profiles -> (longest short side in pixels, tuning), from small to large renditions."""
PRESETS = (*OWN_PRESETS, *STOCK_PRESETS)
"""What a profile may name."""


def tunings_of(preset: str) -> tuple[tuple[int, Tuning], ...]:
    """What a profile's preset means, as in `OWN_PRESETS`; x264's mean themselves at every size."""
    return OWN_PRESETS.get(preset) or ((ANY_SIDE, Tuning(base=preset)),)


def tuning_of(preset: str, width: int, height: int) -> Tuning:
    """The tuning of a rendition of this size."""
    return next(tuning for longest, tuning in tunings_of(preset) if min(width, height) <= longest)
