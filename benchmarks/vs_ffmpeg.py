"""`python -m benchmarks vs-ffmpeg --source FILE`: the farm against one ffmpeg process that makes the same ladder.

Both make the same renditions with the same x264 preset, rates and IDR grid from the same file on the same cores, in
turns, so that a machine that changes its speed does so for both. The farm's time runs from `complete` to READY, and so
contains inspection, scheduling, storage, stills, MP4s and verification, which ffmpeg does not make. PSNR of luma is of
every rendition against the source scaled by ffmpeg's bicubic filter.
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import statistics
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

import click
import imageio_ffmpeg
from rich.console import Console
from rich.table import Table

from benchmarks.environment import write_results
from benchmarks.farms import RunningFarm, embedded_farm
from cluster.processes import descendants
from encoders.backends.x264 import x264_options
from encoders.confine import Confiner
from encoders.media import MediaInfo
from encoders.plan import Plan, plan_asset
from encoders.probe import probe_source
from encoders.profiles.load import load_profile
from encoders.tuning import tuning_of
from gateway.client import Client

IDLE_S = 15.0
POLL_S = 0.25
"""Between looks at the status: each costs the gateway some milliseconds of the cores that are measured."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True, kw_only=True)
class Run:
    """One run of one side; of `cpu_s`, the farm takes `idle_s` in the same time with nothing to do."""

    wall_s: float
    cpu_s: float
    idle_s: float = 0.0
    psnr_db: dict[str, float] = field(default_factory=dict)
    bps: dict[str, float] = field(default_factory=dict)


def ffmpeg_command(source: Path, info: MediaInfo, plan: Plan, out: Path) -> list[str]:
    """One process that makes the plan's ladder as HLS with fMP4 segments."""
    grid = plan.grid
    if grid is None or info.video is None:
        raise click.UsageError("the source has no picture")
    names = [each.name for each in plan.renditions]
    split = f"[0:{info.video.stream}]split={len(names)}" + "".join(f"[s{index}]" for index in range(len(names)))
    scales = [
        f"[s{index}]scale={each.width}:{each.height}:flags=bicubic,format=yuv420p[v{index}]"
        for index, each in enumerate(plan.renditions)
    ]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", "-i", str(source)]
    command += ["-filter_complex", ";".join([split, *scales])]
    streams = []
    for index, each in enumerate(plan.renditions):
        command += ["-map", f"[v{index}]", f"-c:v:{index}", "libx264"]
        for name, value in x264_options(each, grid, tuning_of(plan.preset, each.width, each.height), threads=0).items():
            command += [f"-{name}:v:{index}", value]
        streams.append(f"v:{index},agroup:a,name:{each.name}" if plan.audio else f"v:{index},name:{each.name}")
    if plan.audio:
        rate = str(plan.audio_settings.bitrate_bps)
        command += ["-map", f"0:{plan.audio[0].stream}", "-c:a", "aac", "-ac", "2", "-ar", "48000", "-b:a", rate]
        streams.append("a:0,agroup:a,name:audio")
    length_s = float(Fraction(grid.media_segment_frames) / grid.fps)
    command += ["-f", "hls", "-hls_time", f"{length_s:.6f}", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4"]
    command += ["-hls_flags", "independent_segments", "-master_pl_name", "master.m3u8"]
    command += ["-var_stream_map", " ".join(streams), str(out / "%v.m3u8")]
    return command


def run_ffmpeg(source: Path, info: MediaInfo, plan: Plan, out: Path) -> Run:
    """One run of the one process."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(ffmpeg_command(source, info, plan, out), check=True, cwd=out)
    wall_s, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall_s=wall_s, cpu_s=cpu_s)


def farm_cpu_s() -> float:
    """Processor seconds of all processes of the farm so far, and of those that they have reaped."""
    total = 0
    for process in descendants(os.getpid()):
        try:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(each) for each in fields[11:15])  # utime, stime, cutime, cstime: proc(5), fields 14 to 17
    return total / TICKS_PER_S


def idle_share() -> float:
    """Cores that the farm takes with nothing to do. What is loaded when it starts is loaded by then."""
    time.sleep(IDLE_S)
    begin, before = time.monotonic(), farm_cpu_s()
    time.sleep(IDLE_S)
    return (farm_cpu_s() - before) / (time.monotonic() - begin)


def run_farm(farm: RunningFarm, source: Path, profile: str, idle: float) -> tuple[Run, str]:
    """One run of the farm, from complete to READY; and the master playlist's address.

    Args:
        idle: cores that it takes with nothing to do.
    """
    with Client(farm.url, farm.token) as client:
        upload = client.upload(source, profile=profile)
        begin, before = time.monotonic(), farm_cpu_s()
        while not (status := client.status(upload.video_id)).status.settled:
            time.sleep(POLL_S)
        wall_s = time.monotonic() - begin
        run = Run(wall_s=wall_s, cpu_s=farm_cpu_s() - before, idle_s=idle * wall_s)
        if not status.status.playable or not (master := client.video(upload.video_id).assets.hls):
            raise click.ClickException(f"the farm ended with {status.status}: {status.rejection}")
        return run, master


def psnr_db(source: Path, info: MediaInfo, plan: Plan, playlist: str, name: str) -> float:
    """Mean PSNR of a rendition's luma against the scaled source, dB."""
    rendition = next(each for each in plan.renditions if each.name == name)
    stream = info.video.stream if info.video else 0
    graph = (
        f"[1:{stream}]scale={rendition.width}:{rendition.height}:flags=bicubic,format=yuv420p,settb=1/1000,setpts=N[r];"
        "[0:v]settb=1/1000,setpts=N[e];[e][r]psnr"
    )
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-i", playlist, "-i", str(source)]
    command += ["-filter_complex", graph, "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"PSNR y:([\d.]+)", done.stderr)
    if found is None:
        raise click.ClickException(f"ffmpeg measured nothing: {shlex.join(command)}\n{done.stderr[-500:]}")
    return float(found[1])


def print_runs(console: Console, farm: list[Run], ffmpeg: list[Run]) -> None:
    """Medians, ratios pair by pair, and PSNR per rendition."""
    table = Table("", "wall s", "cpu s")
    for name, runs in (("farm", farm), ("ffmpeg", ffmpeg)):
        middle = [statistics.median(getattr(run, each) for run in runs) for each in ("wall_s", "cpu_s")]
        table.add_row(name, *(f"{value:.2f}" for value in middle))
    ratios = [
        [getattr(ours, each) / getattr(theirs, each) for ours, theirs in zip(farm, ffmpeg, strict=True)]
        for each in ("wall_s", "cpu_s")
    ]
    table.add_row(
        "ratio, pair by pair", *(f"{statistics.median(each):.3f} ({min(each):.3f}..{max(each):.3f})" for each in ratios)
    )
    console.print(table)
    busy = statistics.median(
        (ours.cpu_s - ours.idle_s) / theirs.cpu_s for ours, theirs in zip(farm, ffmpeg, strict=True)
    )
    idle_s = statistics.median(run.idle_s for run in farm)
    console.print(f"of the farm's cpu {idle_s:.2f} s are what it takes idle in that time; ratio without it: {busy:.3f}")
    quality = Table("rendition", "farm dB", "ffmpeg dB")
    for name, value in farm[-1].psnr_db.items():
        quality.add_row(name, f"{value:.2f}", f"{ffmpeg[-1].psnr_db[name]:.2f}")
    console.print(quality)


@click.command(help=__doc__)
@click.option("--source", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--profile", default="default", show_default=True)
@click.option(
    "--rounds", default=3, show_default=True, help="Pairs of runs; one more pair warms up and is not counted."
)
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
def command(source: Path, profile: str, rounds: int, json_path: Path | None) -> None:
    """The farm against one ffmpeg process."""
    console = Console()
    farm_runs: list[Run] = []
    ffmpeg_runs: list[Run] = []
    with Confiner() as confiner:
        info = confiner.run(probe_source, source.resolve(), "0" * 64, readable=[source.resolve()])
    plan = plan_asset(info, load_profile(profile), len(os.sched_getaffinity(0)), "x")
    with tempfile.TemporaryDirectory(prefix="reelmill-vs-") as data, embedded_farm(Path(data) / "farm") as farm:
        idle = idle_share()
        for number in range(rounds + 1):
            run, master = run_farm(farm, source, profile, idle)
            out = Path(data) / f"ffmpeg-{number}"
            out.mkdir()
            other = run_ffmpeg(source.resolve(), info, plan, out)
            console.print(f"farm {run.wall_s:.2f} s, ffmpeg {other.wall_s:.2f} s" + ("" if number else " (warm-up)"))
            if number:
                farm_runs.append(run)
                ffmpeg_runs.append(other)
        for rendition in plan.renditions:
            ours = master.replace("master.m3u8", f"{rendition.name}/index.m3u8")
            theirs = str(out / f"{rendition.name}.m3u8")
            farm_runs[-1].psnr_db[rendition.name] = psnr_db(source, info, plan, ours, rendition.name)
            ffmpeg_runs[-1].psnr_db[rendition.name] = psnr_db(source, info, plan, theirs, rendition.name)
    print_runs(console, farm_runs, ffmpeg_runs)
    if json_path:
        results = {"farm": [asdict(run) for run in farm_runs], "ffmpeg": [asdict(run) for run in ffmpeg_runs]}
        write_results(json_path, "vs-ffmpeg", {"source": source.name, "profile": profile, **results})
