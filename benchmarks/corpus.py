"""`python -m benchmarks corpus DIR`: every file of a folder through the whole farm, each judged, one table, and proofs.

A folder may hold a MANIFEST.tsv with the columns `file` and `kind`: `valid` files must become READY, `must-reject`
files must be rejected, `hostile` files must end in either, and harmlessly. With `--verifier DIR`, the folder of an
independent verifier called `assay`, every READY asset is checked against its source over HTTP, as a player fetches it.

What is proven beside that, each with a line at the end; any that does not hold makes the run a failure:

\b
- a bad file costs at most 30 s of worker time;
- a canary, a small good clip submitted again and again by another user, is never delayed by more than one segment, and
  no worker's process ends;
- no file that another one names is ever opened, and nobody connects to a port that one names (bait.py).
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.bait import BaitBook, Listeners, Opens, made_bait, neighbours_named, ports_named
from benchmarks.canary_job import Canary, measure_delay, restarts_of, typical_segment_s, write_clip
from benchmarks.environment import write_results
from benchmarks.farm_log import FarmLog, read_farm_log
from benchmarks.farms import RunningFarm, embedded_farm
from cluster.staging import Staging
from encoders.errors import TooDamaged
from gateway.client import Client
from gateway.upload_book import UploadBook
from scheduler.jobs import Tier

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
    "neighbour_upload.mp4",
    "ssrf_hls_http_as.mp4",
    "many_streams_251.mp4",
)
"""A small share of the kinds there are, short enough for continuous integration."""
VERIFIER_TIMEOUT_S = 1800
MOST_WORKER_S = 30.0
"""What a bad file may cost: time on slots, all attempts together, when it was refused. One that became READY is a video
like others: its processor seconds count, so that a busy host does not spoil the figure."""
MOST_DELAY_SEGMENTS = 1


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What became of one file.

    Attributes:
        seconds: from the upload's begin to the end, waiting included.
        worker_s: how long its attempts held slots, together.
        cpu_s: processor seconds of its encoding, or of what failed.
    """

    file: str
    kind: str
    job: str = ""
    status: str = ""
    code: str = ""
    detail: str = ""
    seconds: float = 0.0
    worker_s: float = 0.0
    cpu_s: float = 0.0
    failed_checks: list[str] = field(default_factory=list)
    checked: bool = False

    @property
    def ready(self) -> bool:
        """Whether it can be played."""
        return self.status in ("READY", "PUBLISHED")

    @property
    def cheap(self) -> bool:
        """Whether it cost no more than a bad file may."""
        return self.kind == "valid" or (self.cpu_s if self.ready else self.worker_s) <= MOST_WORKER_S

    @property
    def ok(self) -> bool:
        """Whether it is what its kind asks for."""
        ready, refused = self.ready, self.status.startswith("REJECTED") or self.code == TooDamaged.code
        fits = {"valid": ready, "must-reject": refused}.get(self.kind, ready or refused)
        return fits and self.cheap and not (self.kind == "valid" and self.failed_checks)

    def charge(self, log: FarmLog) -> None:
        """Book what its attempts cost."""
        attempts = log.of_job(self.job) if self.job else []
        self.worker_s = sum(each.worker_s for each in attempts)
        self.cpu_s = sum(each.cpu_s for each in attempts)


def kinds_of(folder: Path) -> dict[str, str]:
    """File name -> kind, by MANIFEST.tsv; without one, every file is taken for valid."""
    manifest = folder / "MANIFEST.tsv"
    if manifest.exists():
        with manifest.open(encoding="utf-8", newline="") as file:
            return {row["file"]: row["kind"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    return {path.name: "valid" for path in sorted(folder.iterdir()) if path.is_file()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What all files of a run share.

    Attributes:
        folder: the one that was given; files may be uploaded from elsewhere.
        token: of the user who uploads them.
    """

    farm: RunningFarm
    folder: Path
    token: str
    profile: str
    verifier: Path | None
    staging: Staging
    opens: Opens
    books: Path
    gate: threading.Semaphore

    def file(self, path: Path, kind: str) -> Verdict:
        """One file through the farm, and through the verifier when it became READY."""
        verdict = Verdict(file=path.name, kind=kind)
        if path.stat().st_size == 0:
            # The API refuses an empty upload before a byte is sent: that is its rejection.
            verdict.status, verdict.code = "REJECTED_FORMAT", "empty_file"
            return verdict
        with Client(self.farm.url, self.token, book=self._book(path, kind)) as client:
            begin = time.monotonic()
            upload = client.upload(path, profile=self.profile)
            status = client.wait(upload.video_id)
            verdict.seconds = time.monotonic() - begin
            verdict.job, verdict.status = upload.job_id, str(status.status)
            if status.rejection:
                verdict.code, verdict.detail = status.rejection.code, status.rejection.detail or ""
            if verdict.ready and self.verifier is not None:
                with self.gate:
                    verdict.failed_checks = verify(client, upload.video_id, path, self.verifier)
                    verdict.checked = True
        return verdict

    def _book(self, path: Path, kind: str) -> UploadBook:
        names = neighbours_named(path) if kind != "valid" else ()
        return BaitBook(self.books / path.name, self.staging, self.opens, self.folder, names)


def verify(client: Client, video_id: str, source: Path, verifier: Path) -> list[str]:
    """The verifier's failed checks of a READY asset, each as one line."""
    assets = client.video(video_id).assets
    command = [sys.executable, "-m", "assay", str(source.resolve()), "--json"]
    command += ["--hls", assets.hls] if assets.hls else []
    command += ["--dash", assets.dash] if assets.dash else []
    command += ["--mp4", *(each.url for each in assets.mp4)] if assets.mp4 else []
    command += ["--thumbnail", assets.thumbnail] if assets.thumbnail else []
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=verifier,
            env=environment,
            capture_output=True,
            text=True,
            timeout=VERIFIER_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [f"the verifier did not end within {VERIFIER_TIMEOUT_S} s: unchecked"]
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
    table = Table("", "file", "kind", "status", "code", "s", "worker s", "cpu s", "failed checks")
    for each in sorted(verdicts, key=lambda each: (not each.ok, each.file)):
        mark = "ok" if each.ok else "NO"
        checks = "\n".join(each.failed_checks[:4]) if each.checked else "-"
        checks += "" if each.cheap else f" costs more than {MOST_WORKER_S:g} s"
        code = each.code if each.ok or not each.detail else f"{each.code}: {each.detail[:80]}"
        times = (f"{value:.1f}" for value in (each.seconds, each.worker_s, each.cpu_s))
        table.add_row(mark, each.file, each.kind, each.status, code, *times, checks)
    console.print(table)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Something that must hold of the whole run, and what was seen."""

    holds: bool
    seen: str


def prove(log: FarmLog, canary: Canary, farm_pid: int, opens: Opens, ports: Listeners) -> list[Proof]:
    """What was seen of canary, workers and bait, while the farm still runs."""
    delay, segment_s = measure_delay(log, canary.jobs), typical_segment_s(log, canary.jobs)
    in_time = delay.segments <= MOST_DELAY_SEGMENTS
    restarts, opened, reached = restarts_of(log, farm_pid), opens.seen(), ports.connections
    bad = [*canary.failures[:3], *restarts[:3], *(f"{path.name} was opened" for path in list(opened)[:3])]
    bad += [f"port {port} was reached" for port in list(reached)[:3]]
    bad += [f"port {port} is taken by another process: not watched" for port in ports.refused]
    return [
        Proof(holds=not canary.failures, seen=f"canary: {len(canary.jobs)} jobs, {len(canary.failures)} not READY"),
        Proof(
            holds=in_time and delay.tasks > 0,
            seen=f"canary: delayed by {delay.segments} segments at most ({delay.tasks} tasks; longest wait "
            f"{delay.seconds:.1f} s, a segment holds a slot for {segment_s:.1f} s)",
        ),
        Proof(holds=not restarts, seen=f"workers: {len(log.joined)} processes, {len(restarts)} ended"),
        Proof(holds=not opened, seen=f"bait: {opens.watched} files, opened {opened.total()} times"),
        Proof(
            holds=not reached and not ports.refused,
            seen=f"ports: {', '.join(map(str, ports.ports))}: {reached.total()} connections",
        ),
        *(Proof(holds=False, seen=each) for each in bad),
    ]


def run_all(run: Run, files: Iterable[tuple[Path, str]], at_once: int, console: Console) -> list[Verdict]:
    """Files with their kinds through the farm; each is told as soon as it is through."""
    verdicts: list[Verdict] = []
    with ThreadPoolExecutor(at_once) as threads:
        for done in as_completed([threads.submit(run.file, *item) for item in files]):
            verdict = done.result()
            verdicts.append(verdict)
            mark = "ok" if verdict.ok else "NO"
            console.print(mark, verdict.file, verdict.status, verdict.code, *verdict.failed_checks[:2])
    return verdicts


def _copied(item: tuple[Path, str], folder: Path) -> tuple[Path, str]:
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(item[0], folder)), item[1]


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
    bad_files = [folder / name for name, kind in files.items() if kind != "valid"]
    ports = {port for path in bad_files for port in ports_named(path)}
    naming = {path: names for path in bad_files if (names := neighbours_named(path))}
    neighbours = {name for names in naming.values() for name in names}
    opens = Opens()
    with (
        tempfile.TemporaryDirectory(prefix="reelmill-corpus-") as data,
        Listeners(ports) as listeners,
        embedded_farm(Path(data) / "farm", log_json=True) as farm,
        Canary(farm.url, farm.token_for("canary", Tier.PAID), write_clip(Path(data) / "canary.mp4")) as canary,
    ):
        canary.first_ready.wait()
        settings = farm.farm.cluster
        run = Run(
            farm=farm,
            folder=folder,
            # The canary is of the tier that a farm promises most to.
            token=farm.token_for("corpus", Tier.FREE),
            profile=profile,
            verifier=verifier,
            staging=Staging(settings.staging_dir, settings.staging_bytes),
            opens=opens,
            books=Path(data) / "books",
            gate=threading.Semaphore(2),
        )
        secret = write_clip(Path(data) / "secret.mp4")
        opens.watch(secret)
        made = [(path, "hostile") for path in made_bait(Path(data) / "made", secret, listeners.own_port)]
        given = sorted(((folder / name, kind) for name, kind in files.items()), key=lambda each: each[0].stat().st_size)
        # Files that others name go first, and from a folder of this run's own, with those that name them: from then on
        # nobody has a reason to open them.
        named = Path(data) / "named"
        private = [_copied(each, named) for each in given if each[0].name in neighbours or each[0] in naming]
        first = [each for each in private if each[0].name in neighbours]
        verdicts = run_all(run, first, at_once, console)
        for path, _ in first:
            opens.watch(path)
        rest = [each for each in given if each[0].name not in {path.name for path, _ in private}]
        verdicts += run_all(run, [*made, *(each for each in private if each not in first), *rest], at_once, console)
        log = read_farm_log(settings.root / "logs" / "dispatcher.log")
        proofs = prove(log, canary, os.getpid(), opens, listeners)
    for verdict in verdicts:
        verdict.charge(log)
    print_table(verdicts, console)
    bad = [each for each in verdicts if not each.ok]
    console.print(f"{len(verdicts) - len(bad)} of {len(verdicts)} as their kind asks")
    for proof in proofs:
        console.print("ok" if proof.holds else "NO", proof.seen)
    if json_path:
        rows = [asdict(each) | {"ok": each.ok} for each in verdicts]
        write_results(json_path, "corpus", {"files": rows, "proofs": [asdict(each) for each in proofs]})
    sys.exit(1 if bad or not all(each.holds for each in proofs) else 0)
