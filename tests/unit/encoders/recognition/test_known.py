"""What a profile may ask for, and what is said of matches."""

from __future__ import annotations

import numpy as np
import pytest

from encoders.errors import Fault
from encoders.recognition.known import (
    CopyrightFound,
    KnownContent,
    KnownContentSettings,
    Match,
    MatchKind,
    Span,
    refuse,
)
from encoders.recognition.recognise import joined
from encoders.recognition.spans import hit_spans


def span(start_s: float, end_s: float, score: float = 1.0) -> Span:
    return Span(start_s=start_s, end_s=end_s, work_start_s=start_s, work_end_s=end_s, score=score)


def test_that_a_refusal_names_work_span_and_way_out() -> None:
    match = Match(work_id="w", title="Film", kind=MatchKind.PICTURE, spans=(span(61, 3723),))
    with pytest.raises(CopyrightFound) as caught:
        refuse(KnownContent(works=1, matches=(match,)))
    assert 'picture of "Film" at 01:01-1:02:03' in caught.value.detail
    assert "Cut these parts out" in caught.value.detail
    assert (caught.value.code, caught.value.fault) == ("copyright", Fault.INPUT)


def test_that_nothing_found_passes() -> None:
    refuse(KnownContent(works=5, matches=()))


@pytest.mark.parametrize("wrong", [{"picture_share": 0.1}, {"sound_error": 0.5}, {"sound_error": 0}, {"min_s": 1}])
def test_that_settings_that_would_match_anything_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="known_content"):
        KnownContentSettings(**wrong)  # type: ignore[arg-type]


def test_that_spans_that_touch_are_joined() -> None:
    assert joined([span(5, 8), span(0, 3), span(7, 9), span(3, 4)]) == (span(0, 4), span(5, 9))


def test_where_hits_are_dense_enough() -> None:
    hits = np.array([0, 0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0], np.bool_)
    assert hit_spans(hits, 0.5, 6) == [(3, 9, pytest.approx(6 / 7))]
    assert hit_spans(hits, 0.5, 7) == []
    assert hit_spans(hits[:4], 0.5, 6) == []
