"""Works found again in videos, and nothing found where nothing is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pretend_films import film, fingerprint, marks, picture, spoilt, words

from encoders.recognition.catalogue import Catalogue, CatalogueInvalid, open_catalogue, write_catalogue
from encoders.recognition.fingerprint import PICTURE, Fingerprint
from encoders.recognition.known import KnownContentAction, KnownContentSettings, MatchKind
from encoders.recognition.recognise import recognise

SETTINGS = KnownContentSettings()
SILENT = np.zeros(0, np.uint32)
BLIND = np.zeros(0, PICTURE)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    path = tmp_path_factory.mktemp("works") / "catalogue"
    blind = Fingerprint(pictures=BLIND, sound=words(9, 160))
    works = [(f"w{seed}", f"Film {seed}", f"v{seed}", fingerprint(seed)) for seed in (1, 2)]
    write_catalogue(path, [("w9", "Song", "v9", blind), *works])
    return open_catalogue(path)


def found(video: Fingerprint, catalogue: Catalogue, video_id: str = "") -> list[tuple[str, str]]:
    return [(match.work_id, match.kind) for match in recognise(video, catalogue, SETTINGS, video_id).matches]


def test_that_a_copy_is_found_by_picture_and_sound(catalogue: Catalogue) -> None:
    result = recognise(fingerprint(1), catalogue, SETTINGS, "")
    assert {(match.work_id, match.kind) for match in result.matches} == {
        ("w1", MatchKind.PICTURE),
        ("w1", MatchKind.SOUND),
    }
    assert result.works == 3
    assert all(match.title == "Film 1" for match in result.matches)


def test_that_other_videos_hold_no_work(catalogue: Catalogue) -> None:
    for seed in range(20, 26):
        assert found(fingerprint(seed), catalogue) == []


def test_that_a_video_never_matches_the_work_registered_from_it(catalogue: Catalogue) -> None:
    assert found(fingerprint(1), catalogue, "v1") == []


def test_that_an_excerpt_is_found_where_it_is(catalogue: Catalogue) -> None:
    pictures = [*film(30, 10), *film(2, 40)[12:30], *film(31, 10)]
    (match,) = recognise(Fingerprint(pictures=marks(pictures), sound=SILENT), catalogue, SETTINGS, "").matches
    (span,) = match.spans
    assert match.work_id == "w2"
    assert abs(span.start_s - 5.0) <= 1
    assert abs(span.end_s - 14.0) <= 1
    assert abs(span.work_start_s - span.start_s - 1.0) <= 0.5
    assert abs(match.matched_s - 9.0) <= 2


def test_that_mirrored_and_cropped_copies_are_found(catalogue: Catalogue) -> None:
    mirrored = [each[:, ::-1] for each in film(1, 40)]
    cropped = [each[10:-10, 19:-19] for each in film(1, 40)]
    for copy in (mirrored, cropped):
        assert found(Fingerprint(pictures=marks(copy), sound=SILENT), catalogue) == [("w1", "picture")]


def test_that_too_few_pictures_are_no_match(catalogue: Catalogue) -> None:
    pictures = [*film(30, 10), *film(2, 40)[12:17], *film(31, 10)]
    assert found(Fingerprint(pictures=marks(pictures), sound=SILENT), catalogue) == []


def test_that_one_still_picture_is_no_work(tmp_path: Path) -> None:
    slide = Fingerprint(pictures=marks([picture(1)] * 40), sound=np.full(200, 0x12345678, np.uint32))
    write_catalogue(tmp_path / "c", [("w", "Slide and hum", "v", slide)])
    assert found(slide, open_catalogue(tmp_path / "c")) == []


@pytest.mark.parametrize(("share", "hit"), [(0.0, True), (0.12, True), (0.35, False)])
def test_that_sound_is_the_same_up_to_the_error(catalogue: Catalogue, share: float, hit: bool) -> None:
    video = Fingerprint(pictures=BLIND, sound=np.concatenate([words(50, 40), spoilt(words(9, 160)[30:], share)]))
    matches = recognise(video, catalogue, SETTINGS, "").matches
    assert [match.work_id for match in matches] == (["w9"] if hit else [])
    if hit:
        (span,) = matches[0].spans
        assert abs(span.start_s - 40 * 1365 / 11025) < 1.5
        assert abs(span.work_start_s - span.start_s + 10 * 1365 / 11025) < 0.2


def test_that_off_looks_for_nothing(catalogue: Catalogue) -> None:
    off = KnownContentSettings(action=KnownContentAction.OFF)
    assert recognise(fingerprint(1), catalogue, off, "").matches == ()


def test_that_sound_can_be_left_out(catalogue: Catalogue) -> None:
    quiet = KnownContentSettings(sound_error=None)
    assert [match.kind for match in recognise(fingerprint(1), catalogue, quiet, "").matches] == ["picture"]


def test_that_an_empty_catalogue_and_an_empty_video_are_no_trouble(tmp_path: Path, catalogue: Catalogue) -> None:
    write_catalogue(tmp_path / "c", [])
    assert found(fingerprint(1), open_catalogue(tmp_path / "c")) == []
    assert found(Fingerprint(pictures=BLIND, sound=SILENT), catalogue) == []


def test_that_another_file_is_no_catalogue(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"RIFF....WAVE")
    with pytest.raises(CatalogueInvalid):
        open_catalogue(tmp_path / "c")


def test_that_lists_find_what_comparing_all_finds(tmp_path: Path) -> None:
    films = [(f"w{seed}", f"Film {seed}", f"v{seed}", fingerprint(seed)) for seed in (1, 2, 3)]
    write_catalogue(tmp_path / "plain", films)
    write_catalogue(tmp_path / "listed", films, lists_from=1)
    plain, listed = open_catalogue(tmp_path / "plain"), open_catalogue(tmp_path / "listed")
    assert not len(plain.starts)
    pieces = plain.coarse.view("<u2").reshape(-1, 4)
    begins, counts = listed.lists_of(pieces[::50])
    for row, (begin, count) in enumerate(zip(begins, counts, strict=True)):
        for band in range(4):
            places = listed.listed[begin[band] : begin[band] + count[band]].tolist()
            assert places == np.flatnonzero(pieces[:, band] == pieces[row * 50, band]).tolist()
    for seed in (1, 2, 3, 4):
        assert recognise(fingerprint(seed), listed, SETTINGS, "") == recognise(fingerprint(seed), plain, SETTINGS, "")
