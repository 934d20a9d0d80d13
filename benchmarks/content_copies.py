"""Copies of a clip as people make them: one ffmpeg command line each, of picture and of sound."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

CLIP_S = 20
"""Length of the clips that copies are made of, seconds."""
CLIP_WIDTH = 640
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A kind of copy. `of_sound`: only its sound is compared, else only its picture."""

    name: str
    arguments: tuple[str, ...]
    of_sound: bool = False


def _picture(name: str, filters: str, *more: str) -> Copy:
    return Copy(name=name, arguments=("-vf", filters, *more))


def _sound(name: str, *arguments: str) -> Copy:
    return Copy(name=name, arguments=("-vn", *arguments), of_sound=True)


COPIES = (
    _picture("re-encoded, crf 38, 180 lines", "scale=-2:180", "-crf", "38"),
    _picture("resized to 240 lines", "scale=-2:240"),
    _picture("stretched to 4:3", "scale=640:480,setsar=1"),
    _picture("grey", "hue=s=0"),
    _picture("brighter, more contrast", "eq=brightness=0.1:contrast=1.3"),
    _picture("15 frames a second", "fps=15"),
    _picture("crop 2 % a side", "crop=iw*0.96:ih*0.96"),
    _picture("crop 5 % a side", "crop=iw*0.9:ih*0.9"),
    _picture("crop 10 % a side", "crop=iw*0.8:ih*0.8"),
    _picture("crop 20 % a side", "crop=iw*0.6:ih*0.6"),
    _picture("off-centre crop, 10 % of two sides", "crop=iw*0.9:ih*0.9:0:0"),
    _picture("off-centre crop, 10 % of one side", "crop=iw*0.9:ih:0:0"),
    _picture("off-centre crop, 15 %, anywhere", "crop=iw*0.85:ih*0.85:iw*0.12:ih*0.04"),
    _picture("letterbox to 4:3", "pad=iw:iw*3/4:0:(oh-ih)/2"),
    _picture("pillarbox to 2.4:1", "pad=ih*2.4:ih:(ow-iw)/2:0"),
    _picture("mirrored", "hflip"),
    _picture("mirrored, crop 5 %", "hflip,crop=iw*0.9:ih*0.9"),
    _picture("excerpt of 8 s", "null", "-ss", "5.3", "-t", "8"),
    _picture("speed 1.05", "setpts=PTS/1.05"),
    _picture("logo, 4 % of the picture", "drawbox=x=iw*0.03:y=ih*0.05:w=iw*0.22:h=ih*0.17:color=white:t=fill"),
    _picture("banner below, 8 %", "drawbox=x=iw*0.1:y=ih*0.85:w=iw*0.8:h=ih*0.1:color=yellow:t=fill"),
    _picture("picture in a picture, 60 %", "scale=iw*0.6:ih*0.6,pad=iw/0.6:ih/0.6:iw*0.2:ih*0.1:color=green"),
    _picture("turned by 3 degrees", "rotate=3*PI/180"),
    _sound("AAC 32 kbit/s, 22 kHz", "-b:a", "32k", "-ar", "22050"),
    _sound("12 dB down", "-af", "volume=-12dB"),
    _sound("200 to 5000 Hz only", "-af", "highpass=200,lowpass=5000"),
    _sound("excerpt of 10 s", "-ss", "3.3", "-t", "10"),
    _sound("tempo 1.03", "-af", "atempo=1.03"),
    _sound("pitch and tempo 1.02", "-af", "asetrate=48000*1.02,aresample=48000"),
    _sound("pitch and tempo 1.06", "-af", "asetrate=48000*1.06,aresample=48000"),
)


def cut_clip(source: Path, start_s: float, out: Path) -> None:
    """The clip of a file that copies are made of, picture and sound."""
    # Seeking on the output side: some sources begin at odd timestamps.
    span = ("-ss", f"{start_s:g}", "-t", str(CLIP_S))
    _run("-i", str(source), *span, "-vf", f"scale={CLIP_WIDTH}:-2", "-crf", "18", out=out)


def make_copy(clip: Path, copy: Copy, out: Path) -> bool:
    """Write a copy of a clip; False when the clip has no sound to copy."""
    try:
        _run("-i", str(clip), *copy.arguments, out=out)
    except subprocess.CalledProcessError as error:
        if copy.of_sound and b"does not contain any stream" in error.stderr:
            return False
        raise
    return True


def _run(*arguments: str, out: Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *arguments]
    command += ["-preset", "veryfast", "-c:a", "aac", str(out)] if "-vn" not in arguments else ["-c:a", "aac", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL)
