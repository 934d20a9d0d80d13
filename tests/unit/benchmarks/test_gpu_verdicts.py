"""What a machine's figures prove, what they refute, and what they leave open."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from benchmarks.gpu_verdicts import judge

H200 = {"name": "NVIDIA H200", "decodes": ["h264/8/420", "hevc/10/420"], "scale_reason": "", "encodes": []}
SOUND: dict[str, Any] = {
    "probe": {"devices": [H200]},
    "tests": {"passed": 40},
    "steps": {
        "equality": {
            "h264/8/420": {"identical": 60, "of": 60, "times_in_order": True},
            "hevc/10/420": {"identical": 60, "of": 60, "times_in_order": True},
            "av1/8/420": {"reason": "no engine for it"},
        },
        "scaling": {"psnr_db": {"8 bits": 68.1, "10 bits": 66.7}, "greatest_difference": {"8 bits": 1, "10 bits": 2}},
        "confined": {
            "backend": "hybrid",
            "kept child, segment 1": 0.5,
            "fresh child, segment 1": 1.5,
            "same_bytes": True,
        },
        "leaks": {"decoders": {"lost_bytes": 2 << 20}, "encoders": "no usable GPU engine"},
        "damage": {"pictures": "22 of 24", "works_afterwards": True},
    },
}


def test_a_sound_gpu_without_nvenc_holds_everything_that_it_can_show() -> None:
    verdicts = judge(SOUND)
    assert [verdict.claim for verdict in verdicts if not verdict.held] == []
    assert len(verdicts) == 7, "encoders that are not there prove nothing"


@pytest.mark.parametrize(
    ("path", "value", "claim", "found"),
    [
        (("probe", "devices"), [], "decodes and scales", "none did"),
        (("tests",), {"passed": 39, "failed": 1, "not_passed": ["a"]}, "contract", "39 passed, 1 failed"),
        (("tests",), {"passed": 10, "reason": "did not finish within 120 s"}, "contract", "did not finish"),
        (("tests",), {"said": "no module named pytest"}, "contract", "no test ended"),
        (("steps", "equality", "h264/8/420", "identical"), 59, "NVDEC's pictures", "h264/8/420: 59 of 60"),
        (("steps", "equality", "hevc/10/420", "times_in_order"), False, "NVDEC's pictures", "hevc/10/420"),
        (("steps", "equality"), {"error": "timeout", "reason": "late"}, "NVDEC's pictures", "late"),
        (("steps", "scaling", "psnr_db", "10 bits"), 59.9, "swscale", "59.9 dB"),
        (("steps", "scaling", "greatest_difference", "8 bits"), 7, "swscale", "7 at most"),
        (("steps", "scaling"), {"error": "died", "reason": "status 1"}, "swscale", "status 1"),
        (("steps", "confined", "same_bytes"), False, "confined", "hybrid"),
        (("steps", "confined"), {"error": "media_crashed", "reason": "killed by seccomp"}, "confined", "seccomp"),
        (("steps", "leaks", "decoders", "lost_bytes"), 90 << 20, "decoders leave", "90.0 MiB"),
        (("steps", "damage", "works_afterwards"), False, "damaged stream", "22 of 24"),
    ],
)
def test_what_does_not_hold_is_said_with_its_figure(path: tuple[str, ...], value: Any, claim: str, found: str) -> None:
    results = deepcopy(SOUND)
    place = results
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    failed = [verdict for verdict in judge(results) if not verdict.held]
    assert any(claim in verdict.claim and found in verdict.found for verdict in failed), failed


def test_encoders_that_are_there_must_not_leak() -> None:
    results = deepcopy(SOUND)
    results["probe"]["devices"] = [{**H200, "encodes": ["h264"]}]
    (failed,) = [verdict for verdict in judge(results) if not verdict.held]
    assert failed.claim.startswith("encoders leave")
    assert failed.found == "no usable GPU engine"
