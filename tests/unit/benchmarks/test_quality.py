"""What quality is judged by: Bjøntegaard deltas, joints, and the choice between candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from benchmarks.presets import Standing, Trial, standings, worth_having
from benchmarks.quality import ClipQuality, RungQuality, command, print_goals, seam_of
from benchmarks.quality_curves import Point, bd_rate_percent
from benchmarks.quality_scores import Scores


def curve(rates: list[float], qualities: list[float]) -> list[Point]:
    return [Point(bps=bps, quality=quality) for bps, quality in zip(rates, qualities, strict=True)]


ANCHOR = curve([9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851])
OTHER = curve([9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987])


def test_bd_rate_is_that_of_the_published_package() -> None:
    # Source: bjontegaard 1.3.0 (PyPI), bd_rate(..., method="pchip"), on these curves.
    assert bd_rate_percent(ANCHOR, OTHER) == pytest.approx(-4.417485350589045, abs=1e-9)
    assert bd_rate_percent(ANCHOR, ANCHOR) == pytest.approx(0, abs=1e-12)


def test_bd_rate_of_a_curve_that_takes_a_tenth_more_everywhere_is_a_tenth() -> None:
    dearer = [Point(bps=1.1 * point.bps, quality=point.quality) for point in ANCHOR]
    assert bd_rate_percent(ANCHOR, dearer) == pytest.approx(10)
    assert bd_rate_percent(dearer, ANCHOR) == pytest.approx(-100 / 11)


def test_curves_that_share_no_quality_have_no_bd_rate() -> None:
    assert bd_rate_percent(ANCHOR, [Point(bps=point.bps, quality=point.quality + 9) for point in ANCHOR]) is None
    assert bd_rate_percent(ANCHOR, [ANCHOR[0]]) is None
    flat = curve([1.0, 2.0, 3.0], [40.0, 40.0, 40.0])
    assert bd_rate_percent(ANCHOR, flat) is None, "static pictures: more rate gives nothing"


def scores(psnr_db: list[float], step: int = 2) -> Scores:
    values = np.array(psnr_db)
    return Scores(psnr_db=values, vmaf=values[::step] * 2, neg=np.array([]), step=step)


def test_a_dip_at_a_joint_is_seen_against_other_frames_and_against_one_pass() -> None:
    whole = [40.0] * 40
    cut = [*whole[:16], *[38.0] * 8, *whole[24:]]
    seam = seam_of([20], scores(cut), scores(whole))
    assert seam is not None
    assert seam.below_elsewhere_db == pytest.approx(2)
    assert seam.whole_below_elsewhere_db == pytest.approx(0)
    assert seam.below_whole_db == pytest.approx(2)
    assert seam.below_whole_vmaf == pytest.approx(4)


def test_what_the_clip_shows_at_a_joint_is_no_dip() -> None:
    hard = [40.0] * 16 + [30.0] * 8 + [40.0] * 16
    seam = seam_of([20], scores(hard), scores(hard))
    assert seam is not None
    assert seam.below_elsewhere_db == pytest.approx(10)
    assert seam.below_whole_db == 0
    assert seam_of([], scores(hard), scores(hard)) is None


@pytest.mark.parametrize(("dip_db", "more_percent", "held"), [(0.1, 0.5, True), (0.4, 0.5, False), (0.1, 1.5, False)])
def test_goals_are_judged_by_the_worst_rung(dip_db: float, more_percent: float, held: bool) -> None:
    at_joints = seam_of([20], scores([40 - dip_db] * 40), scores([40.0] * 40))
    rungs = [
        RungQuality(name="good", width=2, height=2, crf=20, bd_vmaf_percent=-2.0, bd_psnr_percent=0.1),
        RungQuality(name="bad", width=2, height=2, crf=20, bd_vmaf_percent=more_percent, seam=at_joints),
    ]
    console = Console(quiet=True)
    assert print_goals(console, [ClipQuality(clip="x", frames=40, fps=25, preset="p", rungs=rungs)]) is held
    assert not print_goals(console, []), "what was not measured does not hold"


def trial(candidate: str, crf: float, bps: float, cpu_s: float) -> Trial:
    quality = 100 - crf
    return Trial(
        candidate=candidate,
        clip="c",
        rung="360p",
        crf=crf,
        bps=bps,
        cpu_s=cpu_s,
        psnr_db=quality,
        vmaf=quality,
        neg=None,
    )


def test_candidates_stand_against_the_first() -> None:
    trials = [trial("first", crf, 4000 / crf, 2.0) for crf in (20, 25, 30)]
    trials += [trial("second", crf, 3600 / crf, 3.0) for crf in (20, 25, 30)]
    anchor, other = standings(trials, "360p")
    assert (anchor.cost, anchor.vmaf_percent) == (1.0, pytest.approx(0))
    assert other.cost == pytest.approx(1.5)
    assert other.vmaf_percent == other.psnr_percent == other.worst_percent == pytest.approx(-10)
    assert other.neg_percent is None
    assert standings(trials, "720p") == []


def test_candidates_that_another_beats_in_everything_are_not_worth_having() -> None:
    def standing(candidate: str, cost: float, vmaf: float, psnr: float) -> Standing:
        return Standing(
            candidate=candidate,
            rung="r",
            cost=cost,
            vmaf_percent=vmaf,
            psnr_percent=psnr,
            neg_percent=None,
            worst_percent=0,
        )

    found = [standing("a", 1, 0, 0), standing("b", 1.1, -10, -3), standing("c", 1.8, -8, -2), standing("d", 2, -7, -4)]
    assert worth_having(found) == {"a", "b", "d"}


def test_a_ladder_without_rungs_is_refused(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"")
    done = CliRunner().invoke(command, [str(clip), "--largest", "100"])
    assert done.exit_code == 2
    assert "the smallest rung is 144p" in done.output
