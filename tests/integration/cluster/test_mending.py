"""A source that cannot be read in pieces is copied once, and everything after reads the copy."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from cluster import layout
from encoders.confine import Confiner
from encoders.media import Copy
from scheduler.jobs import TaskKind
from tests.integration.cluster.test_worker import KEY, PRELOAD, Bench, done
from tests.integration.encoders.clips import write_clip


@pytest.fixture(scope="module")
def confiner() -> Iterator[Confiner]:
    with Confiner(PRELOAD) as made:
        yield made


@pytest.mark.slow
def test_a_joined_recording_is_copied_once_and_shown_whole(tmp_path: Path, confiner: Confiner) -> None:
    bench = Bench(tmp_path, confiner)
    one = write_clip(tmp_path / "one.ts", container="mpegts", sound_start_s=Fraction(0))
    bench.store.put_bytes(KEY, one.read_bytes() * 2, "video/mp2t")

    first = done(bench.ask(TaskKind.INSPECT))
    assert first.info is not None
    assert first.plan is not None
    assert first.plan.grid is not None
    assert first.info.copy is Copy.CLOCK
    assert first.plan.grid.frames in (96, 97)
    copy = layout.copy_key("v", first.info.sha256)
    stored = bench.store.head(copy)

    again = done(bench.ask(TaskKind.INSPECT))
    assert (again.info, again.plan) == (first.info, first.plan)
    assert bench.store.head(copy) == stored

    # The source holds its second half only by the copy's clock.
    part = first.plan.segments[-1]
    done(bench.ask(TaskKind.SEGMENT, part=part.index, plan=first.plan, info=first.info))
    sound = first.plan.audio[0].name
    done(bench.ask(TaskKind.AUDIO, part=sound, plan=first.plan, info=first.info))
