"""A model check of leadership, claims and fencing: every interleaving, and that the checker sees what it should."""

from __future__ import annotations

from dataclasses import replace

from tests.model.explore import explore
from tests.model.lease_model import Rules

SHORT = Rules(leader_ttl=0, job_ttl=0)
"""Leases that are over at the next tick: every order of events is still there, in fewer states."""


def test_no_interleaving_loses_or_undoes_anything() -> None:
    report = explore(SHORT, dispatchers=2, clock_sets=1)
    assert report.violation == "", "\n".join((report.violation, *report.trace))
    assert report.states > 10_000, "a step that is left out is not checked"


def test_without_fencing_an_old_leader_does_harm() -> None:
    report = explore(replace(SHORT, fenced=False))
    assert "though somebody else has claimed the job since" in report.violation
    assert len(report.trace) < 15


def test_claims_without_numbers_do_harm() -> None:
    """The fence compares numbers: it is of no use when two claims share one."""
    report = explore(replace(SHORT, numbered=False))
    assert report.violation


def test_unbounded_leases_outlive_their_owners_when_the_clock_is_set_back() -> None:
    report = explore(replace(SHORT, bounded=False))
    assert report.violation == "the job has no owner for ever"
    assert "the clock is set back" in report.trace
