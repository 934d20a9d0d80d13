"""VMAF and PSNR of every frame of an encode against the pictures that were encoded, by ffmpeg's filters.

VMAF's model v0.6.1 was trained on 1080p screens seen from three heights. Measured at a rung's own size it compares
encoders; scaled up to the largest rung's size first, it says what a viewer sees who has that rung full-screen.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

PSNR_LIMIT_DB = 60.0
"""What equal pictures count as. Source: libvmaf, psnr.c: 6 x bits + 12."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Measures of frames in order.

    Attributes:
        psnr_db: of luma, every frame.
        vmaf: every `step`-th frame.
        neg: VMAF's model "no enhancement gain", that sharpening does not please; empty when not asked for.
    """

    psnr_db: Values
    vmaf: Values
    neg: Values
    step: int


def score(encoded: Path, pictures: Path, *, step: int = 1, neg: bool = False) -> Scores:
    """Compare an encode with its pictures.

    Args:
        pictures: as many frames; when they are larger, the encode is scaled up to them (bicubic).
        step: VMAF of every step-th frame only; it is by far the slowest part.
        neg: measure the model without enhancement gain too, which doubles the time.

    Raises:
        RuntimeError: ffmpeg measured nothing; its last words.
    """
    models = [r"version=vmaf_v0.6.1\\:name=vmaf", r"version=vmaf_v0.6.1neg\\:name=neg"][: 2 if neg else 1]
    with tempfile.TemporaryDirectory(prefix="reelmill-score-") as folder:
        graph = (
            "[1:v]settb=1/25,setpts=N,split=3[r1][r2][r3];[0:v]settb=1/25,setpts=N[e];"
            "[e][r1]scale=rw:rh:flags=bicubic,split[e1][e2];[e1][r2]psnr=stats_file=psnr,nullsink;"
            f"[e2][r3]libvmaf=model={'|'.join(models)}:n_subsample={step}:log_fmt=json:log_path=vmaf"
        )
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error"]
        for path in (encoded, pictures):
            command += ["-threads", "1", "-i", str(path.absolute())]
        command += ["-filter_complex_threads", "1", "-filter_complex", graph, "-fps_mode", "passthrough"]
        done = subprocess.run([*command, "-f", "null", "-"], capture_output=True, text=True, cwd=folder, check=False)
        if done.returncode:
            raise RuntimeError(f"ffmpeg measured nothing: {done.stderr[-500:]}")
        frames = [each["metrics"] for each in json.loads((Path(folder) / "vmaf").read_text())["frames"]]
        lines = (Path(folder) / "psnr").read_text().splitlines()
    psnr_db = [float(line.split("psnr_y:")[1].split()[0]) for line in lines]
    return Scores(
        psnr_db=np.minimum(np.array(psnr_db), PSNR_LIMIT_DB),
        vmaf=np.array([each["vmaf"] for each in frames]),
        neg=np.array([each["neg"] for each in frames]) if neg else np.array([]),
        step=step,
    )
