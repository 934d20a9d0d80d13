"""Every error of the machines has a code of its own and survives pickling."""

from __future__ import annotations

import inspect
import pickle

from cluster import errors
from encoders.errors import FarmError, Fault

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, FarmError)]


def test_codes_are_their_own() -> None:
    codes = [kind.code for kind in KINDS if kind is not FarmError]
    assert len(codes) == len(set(codes))
    assert all(kind.fault in Fault for kind in KINDS)


def test_they_survive_pickling() -> None:
    for kind in KINDS:
        again = pickle.loads(pickle.dumps(kind("what happened")))
        assert (type(again), again.detail) == (kind, "what happened")
