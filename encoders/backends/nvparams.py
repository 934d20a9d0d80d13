"""Settings of an NVENC encoder, typed, and the keyword arguments PyNvVideoCodec 2.2.4 needs for them.

Rule: nothing but `encoder_kwargs` makes keyword arguments for CreateEncoder. The library drops names it does not know
without a word, takes some values for others, and lets some names do what they do not say; so only what was seen to
arrive in the driver's configuration is ever passed (docs/gpu.md, "What PyNvVideoCodec does with its arguments").

Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from encoders.backends.nverrors import BadConfiguration
from encoders.ladder import Rendition
from encoders.plan import Grid


class NvCodec(StrEnum):
    """What NVENC encodes; the library wants the names in lower case."""

    H264 = "h264"
    HEVC = "hevc"
    AV1 = "av1"


class Speed(StrEnum):
    """Class of speed and quality; each backend maps it to what it has."""

    FAST = "fast"
    BALANCED = "balanced"
    BEST = "best"


SPEED_OF_X264_PRESET: dict[str, Speed] = {
    # The farm's own (encoders/tuning.py) go where the x264 presets are that take as long.
    "quick": Speed.FAST,
    "standard": Speed.FAST,
    "fine": Speed.BALANCED,
    "ultrafast": Speed.FAST,
    "superfast": Speed.FAST,
    "veryfast": Speed.FAST,
    "faster": Speed.BALANCED,
    "fast": Speed.BALANCED,
    "medium": Speed.BALANCED,
    "slow": Speed.BEST,
    "slower": Speed.BEST,
    "veryslow": Speed.BEST,
}
"""Profiles name x264's presets; NVENC's seven fall in three classes."""

NVENC_PRESET: dict[Speed, str] = {Speed.FAST: "P3", Speed.BALANCED: "P5", Speed.BEST: "P7"}
"""Upper case: a lower-case name is printed as "not found" and an unknown preset goes to the driver. Source: "Using
FFmpeg with NVIDIA GPU", section 6 (p6/p7 for archives, p4 to p6 for low delay); P5 as the balanced one by a third
party's measurement on RTX PRO 6000 (+1.1 VMAF over P4 at equal rate, P6 and P7 another 0.1 for 30 % more time)."""

NVENC_MULTIPASS: dict[Speed, str | None] = {Speed.FAST: None, Speed.BALANCED: "qres", Speed.BEST: "fullres"}
"""None leaves the argument out, which switches two passes off. Source: as above, section 6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NvTuning:
    """What a class of speed and quality sets on NVENC.

    Attributes:
        preset: "P1" (fastest) to "P7".
        multipass: "qres" or "fullres"; None: one pass.
        spatial_aq: strength of spatial adaptive quantisation, 1 to 15; 0: off.
        lookahead: frames, 0 to 31. More than 0 lets the encoder add I-frames at scene cuts.
    """

    preset: str
    multipass: str | None = None
    spatial_aq: int = 0
    lookahead: int = 0


B_FRAMES = 3
"""As x264 in the CPU lane; devices that cannot (caps num_max_bframes 0) get none."""

REORDER_FRAMES: dict[NvCodec, int] = {NvCodec.H264: 2, NvCodec.HEVC: 2, NvCodec.AV1: 0}
"""How far decode times run ahead of presentation: enough for three B-frames with one of them a reference. The same as
x264's with three B-frames and b-pyramid, so players see the same start in every lane. Source: H.264, C.4.5.3. An AV1
temporal unit shows exactly one picture, so times do not cross. Source: AV1 Codec ISO Media File Format Binding, 2.4."""

VBV_INITIAL = Fraction(6, 10)
"""How full the VBV is when a segment starts. Segments are encoded apart and joined; 0.9 full at each start would let
the joined stream overdraw the buffer that a player has; how much 0.6 leaves is not yet measured on hardware."""

SPATIAL_AQ = 8
"""Strength 1 to 15. Spatial or temporal adaptive quantisation, not both. Source: "Using FFmpeg with NVIDIA GPU", 6."""

MIN_CQ = 1
MAX_CQ: dict[NvCodec, int] = {NvCodec.H264: 51, NvCodec.HEVC: 51, NvCodec.AV1: 63}
"""Source: nvEncodeAPI.h, NV_ENC_RC_PARAMS.targetQuality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """What one NVENC session must do.

    Attributes:
        width, height: even, pixels.
        fps: frames per second, exact.
        gop_frames: distance of IDR frames; also forced on the grid frame by frame.
        cq: constant quality, 1 (best) to 51, of AV1 to 63, capped by `maxrate_bps` over `bufsize_bits`.
        b_frames: 0 to 3.
        tuning: in place of the class's own: for measuring what the class should be.
    """

    codec: NvCodec
    width: int
    height: int
    fps: Fraction
    gop_frames: int
    cq: int
    maxrate_bps: int
    bufsize_bits: int
    speed: Speed
    b_frames: int = B_FRAMES
    tuning: NvTuning | None = None

    def __post_init__(self) -> None:
        if self.width < 2 or self.height < 2 or self.width % 2 or self.height % 2:
            raise ValueError(f"{self.width}x{self.height}: NVENC's 4:2:0 needs even, positive sizes")
        if not MIN_CQ <= self.cq <= MAX_CQ[self.codec]:
            raise ValueError(f"cq {self.cq} is outside {MIN_CQ}..{MAX_CQ[self.codec]}")
        if self.fps <= 0 or self.gop_frames < 1 or self.maxrate_bps < 1 or self.bufsize_bits < 1:
            raise ValueError("rate, GOP, maximum rate and buffer must be positive")
        if not 0 <= self.b_frames <= B_FRAMES:
            raise ValueError(f"{self.b_frames} B-frames: want 0..{B_FRAMES}")

    @property
    def reorder_frames(self) -> int:
        """How far decode times run ahead of presentation, frames."""
        return REORDER_FRAMES[self.codec]

    @property
    def vbv_initial_bits(self) -> int:
        """How full the VBV is at the start of a segment, bits."""
        return int(self.bufsize_bits * VBV_INITIAL)


def speed_of(preset: str) -> Speed:
    """The class of speed that stands for an x264 preset.

    Raises:
        BadConfiguration: x264 has no such preset.
    """
    try:
        return SPEED_OF_X264_PRESET[preset]
    except KeyError:
        raise BadConfiguration(f"preset {preset!r}: want one of {', '.join(SPEED_OF_X264_PRESET)}") from None


def tuning_of_speed(speed: Speed) -> NvTuning:
    """What a class of speed sets."""
    aq = 0 if speed is Speed.FAST else SPATIAL_AQ
    return NvTuning(preset=NVENC_PRESET[speed], multipass=NVENC_MULTIPASS[speed], spatial_aq=aq)


def codec_of(rendition: Rendition) -> NvCodec:
    """What a rendition is encoded as."""
    return NvCodec(rendition.codec.value)


def plan_encoder(rendition: Rendition, grid: Grid, preset: str, *, b_frames: int = B_FRAMES) -> EncoderSpec:
    """The NVENC session of a rendition: constant quality under the rendition's cap.

    The crf number is taken over as NVENC's cq. Both run over the quantiser's scale, and the quality of the two is not
    the same at the same number: `python -m benchmarks gpu` prints both encoders' rate and PSNR on a machine with NVENC.
    """
    codec = codec_of(rendition)
    return EncoderSpec(
        codec=codec,
        width=rendition.width,
        height=rendition.height,
        fps=grid.fps,
        gop_frames=grid.gop_frames,
        cq=max(MIN_CQ, min(MAX_CQ[codec], round(rendition.crf))),
        maxrate_bps=rendition.maxrate_bps,
        bufsize_bits=rendition.bufsize_bits,
        speed=speed_of(preset),
        b_frames=b_frames,
    )


def encoder_kwargs(spec: EncoderSpec) -> dict[str, str | int]:
    """Keyword arguments for CreateEncoder, all but the device's own (gpu_id, cudastream).

    `maxbitrate` and the VBV are passed although `cq` makes the library zero them: `reconfigure_rates` restores them.
    """
    tuning = spec.tuning or tuning_of_speed(spec.speed)
    kwargs: dict[str, str | int] = {
        "codec": spec.codec.value,
        "preset": tuning.preset,
        "tuning_info": "high_quality",
        "rc": "vbr",
        "cq": spec.cq,
        "maxbitrate": spec.maxrate_bps,
        "vbvbufsize": spec.bufsize_bits,
        "vbvinit": spec.vbv_initial_bits,
        "fps": f"{spec.fps.numerator}/{spec.fps.denominator}",
        "gop": spec.gop_frames,
        "idrperiod": spec.gop_frames,
        "bf": spec.b_frames,
        # Lookahead adds I-frames at scene cuts, and no argument of this library switches those off.
        "lookahead": tuning.lookahead,
    }
    if tuning.multipass is not None:
        kwargs["multipass"] = tuning.multipass
    if tuning.spatial_aq:  # 0 would switch it on with automatic strength
        kwargs["aq"] = tuning.spatial_aq
    return check_kwargs(kwargs)


def settings_digest(preset: str, b_frames: Mapping[str, int]) -> str:
    """Eight hex digits over everything that is the same for all renditions of a preset; goes into the encoder's id.

    Args:
        b_frames: of each codec that the device encodes.
    """
    samples = [
        EncoderSpec(
            codec=NvCodec(codec),
            width=2,
            height=2,
            fps=Fraction(1),
            gop_frames=1,
            cq=1,
            maxrate_bps=1000,
            bufsize_bits=1000,
            speed=speed_of(preset),
            b_frames=min(B_FRAMES, count),
        )
        for codec, count in sorted(b_frames.items())
    ]
    settings = [encoder_kwargs(sample) for sample in samples]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


_INT = re.compile(r"\d+")
ALLOWED: dict[str, re.Pattern[str]] = {
    "codec": re.compile("h264|hevc|av1"),
    "preset": re.compile("P[1-7]"),
    "tuning_info": re.compile("high_quality|low_latency|ultra_low_latency|lossless|uhq"),
    "rc": re.compile("constqp|vbr|cbr"),
    "cq": re.compile("[1-9]|[1-5][0-9]|6[0-3]"),
    "bitrate": _INT,
    "maxbitrate": _INT,
    "vbvbufsize": _INT,
    "vbvinit": _INT,
    "multipass": re.compile("qres|fullres"),
    "fps": re.compile(r"\d+/\d+"),
    "gop": _INT,
    "idrperiod": _INT,
    "bf": re.compile("[0-3]"),
    "lookahead": re.compile(r"0|[1-9]|1\d|2\d|3[01]"),
    "aq": re.compile(r"[1-9]|1[0-5]"),
    "constqp": re.compile(r"\d+(,\d+,\d+)?"),
    "gpu_id": _INT,
    "cudastream": _INT,
    "cudacontext": _INT,
}
"""Names that reach the driver as they say, with the values that do. Missing on purpose: `profile`, `b_ref_mode`,
`level`, `qmin`, `temporalaq`, `colorspace`, `repeatspspps`, "5M" as a rate: ignored, broken, or read as another."""


def check_kwargs(kwargs: dict[str, str | int]) -> dict[str, str | int]:
    """The same arguments, once each is known to do what it says.

    Raises:
        BadConfiguration: a name that the library would drop, or a value that it would read as something else.
    """
    for name, value in kwargs.items():
        pattern = ALLOWED.get(name)
        if pattern is None:
            raise BadConfiguration(f"encoder argument {name!r} would be dropped without a word by PyNvVideoCodec")
        if isinstance(value, bool) or not pattern.fullmatch(str(value)):
            raise BadConfiguration(f"encoder argument {name}={value!r}: want {pattern.pattern}")
    return kwargs
