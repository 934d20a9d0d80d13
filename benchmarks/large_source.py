"""`python -m benchmarks large-source`: a source of gigabytes from upload to READY, and the memory it takes.

The source is uncompressed 640x360 video in Matroska, so that its bytes are many and its pixels few. Memory is what each
process holds privately (Pss_Anon of smaps_rollup, proc(5)), sampled while the farm works: shared libraries and the page
cache belong to nobody.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import click
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.environment import write_results
from benchmarks.farms import embedded_farm
from cluster.processes import descendants
from gateway.client import Client

WIDTH, HEIGHT, RATE = 640, 360, 30
SAMPLE_S = 0.25
ROLES = {
    "gateway": "gateway.serve",
    "dispatcher": "cluster.dispatch",
    "confined child": "encoders.forkserver",
    "worker": "ray::",
    "valkey": "valkey-server",
}
"""What a process is, by a piece of its command line; anything else below this process is Ray's own."""


def write_source(path: Path, size_bytes: int) -> int:
    """Write uncompressed video of at least `size_bytes`; returns its frames."""
    frame_bytes = WIDTH * HEIGHT * 3 // 2
    frames = -(-size_bytes // frame_bytes)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    pictures = []
    for index in range(RATE):
        luma = (128 + 80 * np.sin((x + 2 * y + 12 * index) / 25)).astype(np.uint8)
        pictures.append(luma.tobytes() + bytes([128]) * (frame_bytes - luma.size))
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("rawvideo", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            packet = av.Packet(pictures[number % RATE])
            packet.stream = stream
            packet.time_base = Fraction(1, RATE)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            container.mux(packet)
    return frames


@contextmanager
def watched_memory() -> Iterator[dict[str, int]]:
    """Peak private bytes of one process, by role; filled while the block runs."""
    peaks: dict[str, int] = defaultdict(int)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_S):
            for process in descendants(os.getpid()):
                role = next((name for name, piece in ROLES.items() if piece in process.command), "Ray's own")
                peaks[role] = max(peaks[role], _private_bytes(process.pid))
            peaks["this client"] = max(peaks["this client"], _private_bytes(os.getpid()))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()


def _private_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"Pss_Anon:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0


@click.command(help=__doc__)
@click.option("--gigabytes", default=2.0, show_default=True)
@click.option("--profile", default="default", show_default=True)
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
def command(gigabytes: float, profile: str, json_path: Path | None) -> None:
    """A source of gigabytes, and the memory it takes."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="reelmill-large-") as folder:
        source = Path(folder) / "source.mkv"
        frames = write_source(source, int(gigabytes * 1e9))
        size_bytes = source.stat().st_size
        console.print(f"{size_bytes:,} bytes, {frames} frames, {frames / RATE:.0f} s")
        with (
            embedded_farm(Path(folder) / "farm") as farm,
            Client(farm.url, farm.token) as client,
            watched_memory() as peaks,
        ):
            begin = time.monotonic()
            upload = client.upload(source, profile=profile)
            uploaded_s = time.monotonic() - begin
            status = client.wait(upload.video_id)
            ready_s = time.monotonic() - begin - uploaded_s
    table = Table("process", "peak private MB")
    for role, peak in sorted(peaks.items(), key=lambda each: -each[1]):
        table.add_row(role, f"{peak / 1e6:.0f}")
    console.print(table)
    console.print(f"{status.status}: uploaded in {uploaded_s:.1f} s, ready {ready_s:.1f} s later")
    if json_path:
        results = {"size_bytes": size_bytes, "frames": frames, "upload_s": uploaded_s, "ready_s": ready_s}
        write_results(json_path, "large-source", {**results, "status": str(status.status), "peak_bytes": dict(peaks)})
    if not status.status.playable:
        raise click.ClickException(f"{status.status}: {status.rejection}")
