"""Where an event stream goes on: clients name what they like, and databases take 64 bits."""

from __future__ import annotations

import pytest

from gateway.events import last_seen


def test_a_stream_goes_on_behind_the_event_that_a_client_names() -> None:
    assert last_seen("4711") == 4711


@pytest.mark.parametrize("named", ["9" * 19, "9" * 400, "-1", "1.5", "\u0663", "an id", "", None])
def test_what_no_event_is_called_begins_the_stream_anew(named: str | None) -> None:
    assert last_seen(named) == 0


def test_every_number_that_is_taken_fits_the_database() -> None:
    assert last_seen("9" * 18) < 1 << 63
