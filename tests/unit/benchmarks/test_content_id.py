"""How the benchmark of known content reads a manifest and scores."""

from __future__ import annotations

from pathlib import Path

from pretend_films import fingerprint

from benchmarks.content_id import Score, catalogue_of, manifest_pairs, score_pairs

ROWS = """file\tkind\texercises
cid_a_orig.mp4\tvalid\tCONTENT-ID original (phone)
cid_a_grey.mp4\tvalid\tCONTENT-ID copy: greyscale
cid_b_other.mp4\tvalid\tCONTENT-ID negative
cid_c_bad.mp4\tvalid\tquality pair: heavily compressed copy of cid_c_good.mp4
cid_c_good.mp4\tvalid\tquality pair: pristine
x.webm\tvalid\tODD width; CONTENT-ID pair with y.mp4
y.mp4\tvalid\tSAR; CONTENT-ID pair with x.webm
z.mp4\tmust-reject\tcopy of x.webm
"""


def test_that_pairs_are_read_from_what_files_are_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "MANIFEST.tsv").write_text(ROWS)
    valid, pairs = manifest_pairs(tmp_path)
    assert len(valid) == 7
    assert pairs == {
        frozenset({"cid_a_orig.mp4", "cid_a_grey.mp4"}),
        frozenset({"cid_c_bad.mp4", "cid_c_good.mp4"}),
        frozenset({"x.webm", "y.mp4"}),
    }


def test_that_misses_and_wrong_matches_count(tmp_path: Path) -> None:
    files = {"a": fingerprint(1), "copy": fingerprint(1), "b": fingerprint(2), "lost": fingerprint(3)}
    catalogue = catalogue_of(tmp_path / "c", files)
    score, notes = score_pairs(files, catalogue, {frozenset({"b", "lost"})})
    assert (score.wanted, score.found, score.wrong, score.compared) == (2, 0, 2, 12)
    assert sorted(notes) == [
        "WRONG: a holds copy",
        "WRONG: copy holds a",
        "missed: b holds lost",
        "missed: lost holds b",
    ]
    assert score_pairs(files, catalogue, {frozenset({"a", "copy"})})[0].recall == 1


def test_shares_without_cases_are_none() -> None:
    assert (Score(name="x").recall, Score(name="x").precision) == (None, None)
    assert Score(name="x", wanted=4, found=3, wrong=1).precision == 0.75
