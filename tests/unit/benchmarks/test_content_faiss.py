"""What the benchmark beside faiss searches, asks and counts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import content_contenders, content_faiss, content_scale
from benchmarks.content_contenders import CONTENDERS, Faiss, measure
from benchmarks.content_faiss import NONE, Answers, choose_films, films_like, made_up, read_kept, write_parts
from encoders.recognition.catalogue import open_catalogue
from encoders.recognition.fingerprint import Fingerprint
from encoders.recognition.near import bits

HASHES = 50_000


def test_that_made_hashes_crowd_as_the_real_ones_do() -> None:
    rng = np.random.default_rng(1)
    half = rng.integers(0, 256, (3000, 16), np.uint8)
    other = half ^ np.packbits(rng.random((3000, 128)) < 0.2, axis=1)
    made = films_like(np.concatenate([half, other], axis=1), 4000, rng)
    assert abs(bits(made[:, :16] ^ made[:, 16:]).mean() / 128 - 0.2) < 0.03
    assert abs(bits(made[1:] ^ made[:-1]).mean() / 256 - 0.5) < 0.03
    free = films_like(NONE, 4000, rng)
    assert abs(bits(free[:, :16] ^ free[:, 16:]).mean() / 128 - 0.5) < 0.03


def test_that_kept_files_are_works_clips_and_copies(tmp_path: Path) -> None:
    works, _ = made_up(np.random.default_rng(2))
    whole, clip, copy, other = (works[f"film {number}"].to_bytes() for number in range(4))
    silent = Fingerprint.nothing().to_bytes()
    kept = {"a.mp4": whole, "a.mp4.clip": clip, "a.mp4.grey": copy, "a.mp4.12_dB_down": silent, "b.ts": other}
    for name, data in kept.items():
        (tmp_path / name).write_bytes(data)
    found, copies = read_kept(tmp_path)
    assert {name: each.to_bytes() for name, each in found.items()} == {"a.mp4": clip, "b.ts": other}
    assert [(work, each.to_bytes()) for work, each in copies] == [("a.mp4", copy)]


def test_that_parts_hold_works_and_as_many_hashes_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_faiss, "PART_HASHES", 40_000)
    rng = np.random.default_rng(3)
    works, _ = made_up(rng)
    paths = write_parts(tmp_path, works, NONE, HASHES, rng)
    parts = [open_catalogue(path) for path in paths]
    assert [len(part.coarse) for part in parts] == [40_000, HASHES - 40_000]
    assert {work.work_id for work in parts[0].works} > works.keys()


@pytest.mark.parametrize("name", CONTENDERS)
def test_that_contenders_find_copies(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if issubclass(CONTENDERS[name], Faiss):
        pytest.importorskip("faiss")
    monkeypatch.setattr(content_contenders, "UPDATE_HASHES", 160)
    rng = np.random.default_rng(4)
    works, copies = made_up(rng)
    films = choose_films(copies, 700, rng)
    assert 2 <= len(films) < len(copies)
    parts = write_parts(tmp_path, works, NONE, HASHES, rng)
    contender = CONTENDERS[name](parts, tmp_path)
    assert contender.build() > 0
    wanted = np.concatenate([film.asked.hashes for film in films])
    told = measure(contender, wanted, tmp_path / f"{name}.pairs.npy")
    answers = Answers(tmp_path, parts, films)
    assert answers.copies_found(name) == len(films)
    assert len(answers.keys(name)) > 0
    assert told["add_bytes"] > 0
    np.save(tmp_path / "none.pairs.npy", np.zeros((2, 0), np.int64))
    assert answers.copies_found("none") == 0


def test_that_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    result = CliRunner().invoke(content_scale.command, ["--against", "faiss"])
    assert result.exit_code == 1
    assert "faiss cannot be imported" in result.output
