"""What the figures of `python -m benchmarks gpu` prove and what they refute: a sentence for each claim. Pure.

The claims are docs/gpu.md's. One that a machine cannot show (NVENC on a GPU without it) gets no verdict; one whose step
came to nothing is not held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MIN_SCALE_PSNR_DB = 60.0
MAX_SCALE_DIFFERENCE = 6
"""Of 255, in any sample."""
MAX_LEAK_BYTES = 64 << 20
"""Over all cycles: less than the driver's own granularity of some MiB a context."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a claim holds on this machine, and the figure that says so."""

    claim: str
    held: bool
    found: str


def judge(results: Mapping[str, Any]) -> list[Verdict]:
    """A verdict for each claim that these results speak of.

    Args:
        results: of the benchmark: probe, steps, and tests where they were run.
    """
    steps: Mapping[str, Any] = results.get("steps", {})
    devices = results.get("probe", {}).get("devices", [])
    encodes = any(device["encodes"] for device in devices)
    verdicts = [_offered(devices)]
    if "tests" in results:
        verdicts.append(_contract(results["tests"]))
    if "equality" in steps:
        verdicts.append(_pictures(steps["equality"], devices))
    if "scaling" in steps:
        verdicts.append(_scaling(steps["scaling"]))
    if "confined" in steps:
        verdicts.append(_confined(steps["confined"]))
    if "leaks" in steps:
        verdicts += _leaks(steps["leaks"], encodes)
    if "damage" in steps:
        text = _why(steps["damage"]) or f"{steps['damage'].get('pictures') or steps['damage'].get('raised')}"
        verdicts.append(
            Verdict("a damaged stream leaves the device working", steps["damage"].get("works_afterwards") is True, text)
        )
    return verdicts


def _offered(devices: list[Mapping[str, Any]]) -> Verdict:
    able = [device["name"] for device in devices if device["decodes"] and not device["scale_reason"]]
    return Verdict("a GPU decodes and scales as FFmpeg does", bool(able), ", ".join(able) or "none did")


def _contract(tests: Mapping[str, Any]) -> Verdict:
    passed = tests.get("passed", 0)
    held = bool(passed) and not tests.get("not_passed") and not _why(tests)
    return Verdict("the GPU lanes keep the backends' contract", held, _why(tests) or _counted(tests))


def _counted(tests: Mapping[str, Any]) -> str:
    counts = [f"{tests[outcome]} {outcome}" for outcome in ("passed", "failed", "error", "skipped") if outcome in tests]
    return ", ".join(counts) or "no test ended"


def _pictures(equality: Mapping[str, Any], devices: list[Mapping[str, Any]]) -> Verdict:
    """Of the first device's kinds, which is the one that the steps use."""
    claim = "NVDEC's pictures are FFmpeg's to the bit, in their order"
    kinds = devices[0]["decodes"] if devices else []
    wrong = []
    for kind in kinds:
        found = equality.get(kind, {})
        same, of = found.get("identical", 0), found.get("of", 0)
        if not of or same != of or not found["times_in_order"]:
            wrong.append(f"{kind}: {same} of {of}")
    return Verdict(claim, bool(kinds) and not wrong, _why(equality) or "; ".join(wrong) or ", ".join(kinds))


def _scaling(scaling: Mapping[str, Any]) -> Verdict:
    claim = f"scaled pictures are within {MIN_SCALE_PSNR_DB:.0f} dB and {MAX_SCALE_DIFFERENCE} steps of swscale's"
    if why := _why(scaling):
        return Verdict(claim, False, why)
    worst, greatest = min(scaling["psnr_db"].values()), max(scaling["greatest_difference"].values())
    held = worst >= MIN_SCALE_PSNR_DB and greatest <= MAX_SCALE_DIFFERENCE
    return Verdict(claim, held, f"{worst} dB, {greatest} at most")


def _confined(confined: Mapping[str, Any]) -> Verdict:
    claim = "a confined, kept child makes the bytes of fresh ones"
    if why := _why(confined):
        return Verdict(claim, False, why)
    kept, fresh = (confined[f"{kind} child, segment 1"] for kind in ("kept", "fresh"))
    return Verdict(claim, confined["same_bytes"], f"{confined['backend']}: second segment in {kept} s, fresh {fresh} s")


def _leaks(leaks: Mapping[str, Any], encodes: bool) -> list[Verdict]:
    found = []
    for kind in ("decoders", "encoders") if encodes else ("decoders",):
        lost = leaks.get(kind)
        held, text = False, _why(leaks) or str(lost)
        if isinstance(lost, Mapping):
            held, text = lost["lost_bytes"] < MAX_LEAK_BYTES, f"{lost['lost_bytes'] / 2**20:.1f} MiB"
        found.append(Verdict(f"{kind} leave no device memory behind", held, text))
    return found


def _why(step: Mapping[str, Any]) -> str:
    return str(step.get("reason", ""))
