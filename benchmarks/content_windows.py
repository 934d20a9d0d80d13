"""What lists miss of short excerpts: each few seconds of copies, asked of a catalogue with lists and of one without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encoders.recognition.catalogue import open_catalogue, write_catalogue
from encoders.recognition.fingerprint import Fingerprint
from encoders.recognition.known import KnownContentSettings
from encoders.recognition.listener import SAMPLES_PER_S
from encoders.recognition.match_pictures import find_pictures, questions_of

WINDOWS_S = (5, 6, 8)
NEVER = 1 << 60


def score_windows(
    works: Mapping[str, Fingerprint], copies: Sequence[tuple[str, Fingerprint]], folder: Path
) -> list[dict[str, Any]]:
    """For each length of excerpt how many there are, and how many are found by comparing all and by lists.

    Args:
        copies: works, and pictures of copies of them.
    """
    settings = KnownContentSettings()
    parts = {}
    for name, lists_from in (("compared", NEVER), ("listed", 0)):
        write_catalogue(folder / name, [(work, work, work, each) for work, each in works.items()], lists_from)
        parts[name] = open_catalogue(folder / name)
    rows = []
    for seconds in WINDOWS_S:
        count, row = seconds * SAMPLES_PER_S, {"excerpts_s": seconds, "excerpts": 0, **dict.fromkeys(parts, 0)}
        for work, copy in copies:
            for start in range(0, len(copy.pictures) - count + 1, count):
                row["excerpts"] += 1
                asked = questions_of(copy.pictures[start : start + count])
                for name, part in parts.items():
                    spans = find_pictures(asked, part, settings.picture_share, settings.min_s, ())
                    row[name] += work in {part.works[span.work].work_id for span in spans}
        rows.append(row)
    return rows
