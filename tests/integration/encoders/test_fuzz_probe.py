"""A short, fixed series of mutations through probe and full decoding; `python -m benchmarks fuzz` runs the long one."""

from __future__ import annotations

from pathlib import Path

from benchmarks.fuzz import Fuzzer, seeds_made
from benchmarks.fuzz_child import examine
from encoders.confine import Confiner, Limits

MUTATIONS = 60


def test_broken_files_end_in_typed_errors_or_sane_values(tmp_path: Path) -> None:
    with Confiner() as confiner:
        seeds = [*seeds_made(tmp_path)]
        assert len(seeds) >= 8
        findings = Fuzzer(confiner, seeds, tmp_path).run(range(MUTATIONS), series=2026, workers=2)
    assert findings.defects == []
    assert findings.codes.total() == MUTATIONS
    # The series is neither harmless nor hopeless: both ends are exercised.
    assert findings.codes["accepted"] > MUTATIONS // 5
    assert len(findings.codes) >= 3
    assert findings.encoded > MUTATIONS // 20
    assert findings.peak_bytes < 1 << 30


def test_whole_seeds_are_accepted_and_decode_in_full(tmp_path: Path) -> None:
    with Confiner() as confiner:
        for number, seed in enumerate(seeds_made(tmp_path)):
            path = tmp_path / f"whole-{number}"
            path.write_bytes(seed)
            seen = confiner.run(examine, path, readable=[path], limits=Limits(memory_bytes=1 << 30))
            assert seen.pictures == 18
            # FFmpeg's AVI muxer may leave a place in its index empty: a position on the grid that has no picture.
            assert seen.declared in ((18, 19) if seed.startswith(b"RIFF") else (18,))
            assert seen.sounds > 5
