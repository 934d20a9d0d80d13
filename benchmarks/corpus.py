"""`python -m benchmarks corpus DIR`: every file of a folder through the whole farm, each judged, one table.

A folder may hold a MANIFEST.tsv with the columns `file` and `kind`: `valid` files must become READY, `must-reject`
files must be rejected, `hostile` files must end in either, and harmlessly. With `--verifier DIR`, the folder of an
independent verifier called `assay`, every READY asset is checked against its source over HTTP, as a player fetches it.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.environment import write_results
from benchmarks.farms import embedded_farm
from gateway.client import Client

SAMPLE = (
    "film_agent327_1080p24_a_fmp4.mp4",
    "film_sintel_trailer_720p24_52s.mp4",
    "natural_night_1080p20_26s_fmp4.mp4",
    "natural_traffic_540p5994_12s.mp4",
    "screen_terminal_1668x1080p60_21s.mp4",
    "natural_coffee_720p2997.mp4",
    "sport_juggle_720p24_10s.mp4",
    "h264_portrait_720x1280.ts",
    "hevc8_bbb_1080p30_10s.mp4",
    "vp9_opus_560x320.webm",
    "vfr_screen_1178x490_dropped.mp4",
    "audio_starts_1s_late.mp4",
    "zip_as.mp4",
    "truncated_moov_lost.mp4",
    "local_ffconcat_sibling_as.mp4",
)
"""A small share of the kinds there are, short enough for continuous integration."""
VERIFIER_TIMEOUT_S = 900


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What became of one file."""

    file: str
    kind: str
    status: str = ""
    code: str = ""
    detail: str = ""
    seconds: float = 0.0
    failed_checks: list[str] = field(default_factory=list)
    checked: bool = False

    @property
    def ok(self) -> bool:
        """Whether it is what its kind asks for."""
        ready, rejected = self.status in ("READY", "PUBLISHED"), self.status.startswith("REJECTED")
        fits = {"valid": ready, "must-reject": rejected}.get(self.kind, ready or rejected or self.code == "damaged")
        return fits and not (self.kind == "valid" and self.failed_checks)


def kinds_of(folder: Path) -> dict[str, str]:
    """File name -> kind, by MANIFEST.tsv; without one, every file is taken for valid."""
    manifest = folder / "MANIFEST.tsv"
    if manifest.exists():
        with manifest.open(encoding="utf-8", newline="") as file:
            return {row["file"]: row["kind"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    return {path.name: "valid" for path in sorted(folder.iterdir()) if path.is_file()}


def run_file(
    client: Client, path: Path, kind: str, profile: str, verifier: Path | None, gate: threading.Semaphore
) -> Verdict:
    """One file through the farm, and through the verifier when it became READY."""
    verdict = Verdict(file=path.name, kind=kind)
    begin = time.monotonic()
    if path.stat().st_size == 0:
        # The API refuses an empty upload before a byte is sent: that is its rejection.
        verdict.status, verdict.code = "REJECTED_FORMAT", "empty_file"
        return verdict
    upload = client.upload(path, profile=profile)
    status = client.wait(upload.video_id)
    verdict.seconds = time.monotonic() - begin
    verdict.status = str(status.status)
    if status.rejection:
        verdict.code, verdict.detail = status.rejection.code, status.rejection.detail or ""
    if verdict.status == "READY" and verifier is not None:
        with gate:
            verdict.failed_checks = verify(client, upload.video_id, path, verifier)
            verdict.checked = True
    return verdict


def verify(client: Client, video_id: str, source: Path, verifier: Path) -> list[str]:
    """The verifier's failed checks of a READY asset, each as one line."""
    assets = client.video(video_id).assets
    command = [sys.executable, "-m", "assay", str(source.resolve()), "--json"]
    command += ["--hls", assets.hls] if assets.hls else []
    command += ["--dash", assets.dash] if assets.dash else []
    command += ["--mp4", *(each.url for each in assets.mp4)] if assets.mp4 else []
    command += ["--thumbnail", assets.thumbnail] if assets.thumbnail else []
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=verifier, env=environment, capture_output=True, text=True, timeout=VERIFIER_TIMEOUT_S, check=False
    )
    try:
        checks = json.loads(done.stdout)["checks"]
    except (ValueError, KeyError):
        return [f"the verifier ended with {done.returncode}: {done.stderr[-300:]}"]
    return [
        f"{each['name']} [{each['subject']}] {each['measured']} (bound {each['bound']})"
        for each in checks
        if each["status"] == "FAIL"
    ]


def print_table(verdicts: Iterable[Verdict], console: Console) -> None:
    """The verdicts, worst last."""
    table = Table("", "file", "kind", "status", "code", "s", "failed checks")
    for each in sorted(verdicts, key=lambda each: (not each.ok, each.file)):
        mark = "ok" if each.ok else "NO"
        checks = "\n".join(each.failed_checks[:4]) if each.checked else "-"
        code = each.code if each.ok or not each.detail else f"{each.code}: {each.detail[:80]}"
        table.add_row(mark, each.file, each.kind, each.status, code, f"{each.seconds:.1f}", checks)
    console.print(table)


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--verifier", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder with assay/.")
@click.option("--sample", is_flag=True, help="Only a small share of the files.")
@click.option("--only", multiple=True, help="Only this file; may be given several times.")
@click.option("--profile", default="default", show_default=True)
@click.option("--at-once", default=4, show_default=True, help="Files in the farm at the same time.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
def command(
    folder: Path,
    verifier: Path | None,
    sample: bool,
    only: tuple[str, ...],
    profile: str,
    at_once: int,
    json_path: Path | None,
) -> None:
    """All files of a folder through the farm."""
    console = Console(width=200)
    wanted = set(only) | (set(SAMPLE) if sample else set())
    files = {name: kind for name, kind in kinds_of(folder).items() if not wanted or name in wanted}
    gate = threading.Semaphore(2)
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="reelmill-corpus-") as data, embedded_farm(Path(data)) as farm:

        def one(item: tuple[str, str]) -> Verdict:
            with Client(farm.url, farm.token) as client:
                return run_file(client, folder / item[0], item[1], profile, verifier, gate)

        with ThreadPoolExecutor(at_once) as threads:
            for verdict in threads.map(one, sorted(files.items(), key=lambda item: (folder / item[0]).stat().st_size)):
                verdicts.append(verdict)
                mark = "ok" if verdict.ok else "NO"
                console.print(mark, verdict.file, verdict.status, verdict.code, *verdict.failed_checks[:2])
    print_table(verdicts, console)
    bad = [each for each in verdicts if not each.ok]
    console.print(f"{len(verdicts) - len(bad)} of {len(verdicts)} as their kind asks")
    if json_path:
        write_results(json_path, "corpus", [asdict(each) | {"ok": each.ok} for each in verdicts])
    sys.exit(1 if bad else 0)
