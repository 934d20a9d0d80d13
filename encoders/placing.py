"""Where a subtitle stands on the picture, as WebVTT says it. Pure; standard library only.

ASS has an alignment (a numeric keypad's: 2 is below in the middle), by style or by line, and absolute positions. WebVTT
has lines, positions and alignment. What WebVTT would do anyway, below in the middle, is not said.

Source: the ASS specification of Matroska (SSA v4.00+ Script Format, Style and Dialogue), W3C WebVTT, section 4.4 (cue
settings).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

BELOW = 2
"""Alignment in the middle below."""
PLAY_SIZE = (384, 288)
"""Size of the screen on which a script that tells none counts. Source: libavcodec 62, ass.h (ASS_DEFAULT_PLAYRESX)."""
MOST_READ = 4000
"""Signs of a line or a header's line that are looked at."""
MOST_STYLES = 1000

_BLOCK = re.compile(r"\{([^{}]*)\}")
_ALIGNED = re.compile(r"\\an([1-9])")
_ALIGNED_V4 = re.compile(r"\\a(\d{1,2})")
_AT = re.compile(r"\\(?:pos|move)\(([^(),]{1,12}),([^(),]{1,12})[,)]")
_SETTING = re.compile(
    r"line:-?\d{1,5}(?:\.\d{1,9})?%?(?:,(?:start|center|end))?"
    r"|position:\d{1,3}(?:\.\d{1,9})?%(?:,(?:line-left|center|line-right))?"
    r"|size:\d{1,3}(?:\.\d{1,9})?%"
    r"|align:(?:start|center|end|left|right)"
    r"|vertical:(?:rl|lr)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a script's header says of places.

    Attributes:
        size: of the screen on which positions count.
        alignments: style -> alignment.
    """

    size: tuple[float, float] = PLAY_SIZE
    alignments: Mapping[str, int] = field(default_factory=dict)


def read_script(header: str) -> Script:
    """The places in a header of ASS, or of the older SSA; what cannot be read is left at what is usual."""
    size = list(PLAY_SIZE)
    alignments: dict[str, int] = {}
    columns: list[str] = []
    old = False
    for line in header.splitlines():
        key, _, value = line[:MOST_READ].partition(":")
        key = key.strip().lower()
        if key.startswith("["):
            old, columns = key.startswith("[v4 styles"), []
        elif key in ("playresx", "playresy"):
            size["xy".index(key[-1])] = int(_number(value) or 0) or size["xy".index(key[-1])]
        elif key == "format":
            columns = [name.strip().lower() for name in value.split(",")]
        elif key == "style" and "alignment" in columns and len(alignments) < MOST_STYLES:
            values = [each.strip() for each in value.split(",")]
            told = _number(values[columns.index("alignment")]) if len(values) > columns.index("alignment") else None
            alignments[values[0].lstrip("*")] = _alignment(int(told or 0), old)
    return Script(size=(float(size[0]), float(size[1])), alignments=alignments)


def placed(script: Script, style: str, dialogue: str) -> str:
    """WebVTT's settings for a dialogue line; empty where it stands where subtitles do.

    Args:
        style: name of the line's style.
        dialogue: its text with its overrides.
    """
    told = " ".join(_BLOCK.findall(dialogue[:MOST_READ]))
    alignment = script.alignments.get(style.lstrip("*"), BELOW)
    if found := _ALIGNED.search(told):
        alignment = int(found[1])
    elif found := _ALIGNED_V4.search(told):
        alignment = _alignment(int(found[1]), old=True)
    row, column = divmod(alignment - 1, 3)
    align = ("align:start", "", "align:end")[column]
    if found := _AT.search(told):
        x, y = (_share(_number(found[1]), script.size[0]), _share(_number(found[2]), script.size[1]))
        if x is not None and y is not None:
            line = f"line:{y:.4g}%{(',end', ',center', '')[row]}"
            return " ".join(part for part in (line, f"position:{x:.4g}%", align) if part)
    line = ("", "line:50%,center", "line:0")[row]
    return " ".join(part for part in (line, align) if part)


def checked_settings(told: str) -> str:
    """Of the settings that a WebVTT cue brings along, those that are well-formed and of no region, each kind once."""
    kept: dict[str, str] = {}
    for word in told[:MOST_READ].split():
        if _SETTING.fullmatch(word):
            kept.setdefault(word.split(":")[0], word)
    return " ".join(kept.values())


def _alignment(told: int, old: bool) -> int:
    """An alignment by the keypad; SSA counts 1 to 3 below, 5 to 7 above, 9 to 11 in the middle."""
    if not old:
        return told if 1 <= told <= 9 else BELOW
    column, row = told & 3, told >> 2
    return column + (0, 6, 3)[row] if 1 <= column <= 3 and row <= 2 else BELOW


def _number(text: str) -> float | None:
    try:
        return float(text.strip()[:12])
    except ValueError:
        return None


def _share(at: float | None, whole: float) -> float | None:
    """Per cent of a side; None for what does not lie on it."""
    return 100 * at / whole if at is not None and whole > 0 and 0 <= at <= whole else None
