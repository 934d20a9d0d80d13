"""`python -m benchmarks chaos --minutes N --seed S`: a real farm in a storm, and a count of what it cost.

A farm of two Ray nodes and two dispatchers on this machine gets a stream of short videos of several users and all
tiers, some of them broken files. Meanwhile processes are killed, stopped and restarted at random, segments are changed
on their way to the store, the store is taken away, filled and slowed down, the database is gone, killed and restarted,
clocks jump, encode sessions run out, messages come twice or late, nodes are drained, workers crawl. Then it is quiet,
and everything is looked at: each accepted video READY or rejected with a code, each asset whole, nothing that was
finished encoded again, each straggler beside an idle worker with a twin, no process, file or lease left behind. The
exit status is 1 when anything of that does not hold.

What the seed decides: the clips, who sends what when, and which fault comes after which pause: each kind once before
any comes twice. Which process is there to be hit depends on the moment.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import click
from rich.console import Console

from benchmarks import aftermath, leftovers
from benchmarks.bystanders import SecondNode, Standby, kept
from benchmarks.corpus import verify
from benchmarks.environment import write_results
from benchmarks.farms import RunningFarm, embedded_farm
from benchmarks.faulty_encoder import refused
from benchmarks.faulty_messages import confused
from benchmarks.faulty_store import corrupted
from benchmarks.storm import Storm
from benchmarks.storm_databases import SqliteFile, StormDatabase, postgres
from benchmarks.stragglers import at_work_still, unanswered
from gateway.client import Client
from gateway.client_http import ApiProblem, Backoff, FarmUnreachable
from gateway.sample import write_sample
from scheduler.jobs import Tier

FAULTS = Path(__file__).parent / "faults"
PATIENT = Backoff(tries=100, first_s=0.2, longest_s=3.0)
"""A gateway that was killed comes back within seconds, on a busy machine within a minute."""
CLIPS = 5
UNDER_WAY = 3
"""Videos that a user has in the farm at once: it is always busy, and calm soon after the storm."""
BROKEN_SHARE = 0.15
PAUSE_S = (4.0, 12.0)
"""Between two faults: short enough that they meet, long enough that something is done in between."""
SETTLE_S = 900.0
"""How long after the storm's end the last job may take: a worker that is cold again may be given ten minutes, on a
machine that others use as well."""
USERS = (("ann", Tier.PAID), ("bob", Tier.VERIFIED), ("cyd", Tier.VERIFIED), ("dan", Tier.FREE), ("eve", Tier.FREE))


@dataclass(slots=True)
class Sent:
    """A video that the farm has accepted, or (no id) never answered for."""

    clip: Path
    user: str
    tier: Tier
    video_id: str
    status: str = ""
    code: str = ""


@dataclass(slots=True)
class Outcome:
    """What a storm left."""

    sent: list[Sent] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    encoded: int = 0
    at_once: int = 0
    twins: int = 0
    slowed: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    takeovers: int = 0
    verified: int = 0
    corrupted: int = 0
    refused_sessions: int = 0
    refused_tasks: int = 0
    recovered_tasks: int = 0
    nodes: int = 0
    node_starts: int = 0
    messages: dict[str, int] = field(default_factory=dict)


def write_clips(folder: Path, seed: int) -> list[Path]:
    """A few short clips of different lengths and rates, and one that breaks off."""
    chance = random.Random(seed)
    paths = []
    for number in range(CLIPS):
        path = folder / f"clip{number}.mp4"
        rate = chance.choice((Fraction(24), Fraction(25), Fraction(30000, 1001)))
        write_sample(path, seconds=chance.randint(5, 14), width=320, height=180, rate=rate)
        paths.append(path)
    broken = folder / "broken.mp4"
    broken.write_bytes(paths[0].read_bytes()[:3000])
    return [*paths, broken]


class Senders:
    """Users who send clips one after another until told to stop; several at once.

    Args:
        lull: set while nobody shall send anything.
    """

    def __init__(
        self, farm: RunningFarm, clips: list[Path], seed: int, at_most: int, outcome: Outcome, lull: threading.Event
    ) -> None:
        self.farm = farm
        self.clips = clips
        self.seed = seed
        self.at_most = at_most
        self.outcome = outcome
        self.lull = lull
        self.stopping = threading.Event()
        self._numbers = itertools.count()

    def run(self, user: str, tier: Tier) -> None:
        """One user's stream."""
        chance = random.Random(f"{self.seed}/{user}")
        waiting: list[str] = []
        with Client(self.farm.url, self.farm.token_for(user, tier), backoff=PATIENT) as client:
            while not self.stopping.wait(chance.uniform(0.5, 3.0)):
                waiting = [video_id for video_id in waiting if not client.status(video_id).status.settled]
                if len(waiting) >= UNDER_WAY or self.lull.is_set():
                    continue
                if next(self._numbers) >= self.at_most:
                    return
                clip = self.clips[-1] if chance.random() < BROKEN_SHARE else chance.choice(self.clips[:-1])
                try:
                    upload = client.upload(clip)
                except (ApiProblem, FarmUnreachable) as error:
                    self.outcome.refused[error.code] += 1
                    continue
                waiting.append(upload.video_id)
                self.outcome.sent.append(Sent(clip=clip, user=user, tier=tier, video_id=upload.video_id))


def calm_down(farm: RunningFarm, storm: Storm, outcome: Outcome) -> None:
    """Wait until everything is over, with a straggler among the last ones."""
    over = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        straggling = threads.submit(storm.slow_until_a_twin, over.is_set)
        try:
            settle(farm, outcome)
        finally:
            over.set()
        straggling.result()


def settle(farm: RunningFarm, outcome: Outcome) -> None:
    """Wait until everything that was accepted is READY or rejected."""
    deadline = time.monotonic() + SETTLE_S
    clients = {user: Client(farm.url, farm.token_for(user, tier), backoff=PATIENT) for user, tier in USERS}
    for sent in outcome.sent:
        while time.monotonic() < deadline:
            status = clients[sent.user].status(sent.video_id)
            sent.status = str(status.status)
            sent.code = status.rejection.code if status.rejection else ""
            if status.status.settled:
                break
            time.sleep(0.3)
        broken = sent.clip.name == "broken.mp4"
        wanted = sent.status.startswith("REJECTED") and sent.code if broken else sent.status == "READY"
        if not wanted:
            outcome.violations.append(f"video {sent.video_id} of {sent.clip.name}: {sent.status} {sent.code}")
    for client in clients.values():
        client.close()


def look_around(
    farm: RunningFarm, outcome: Outcome, faults: Path, verifier: Path | None, sample: int, chance: random.Random
) -> None:
    """Everything that can be seen while the farm is still up."""
    cluster = farm.farm.cluster
    root, url = cluster.root, cluster.effective_database_url
    outcome.nodes = aftermath.live_nodes(url)
    outcome.refused_tasks, outcome.recovered_tasks = aftermath.sessions_wanted_again(root)
    outcome.corrupted = corrupted(faults)
    outcome.refused_sessions = refused(faults)
    outcome.messages = confused(faults)
    outcome.twins, outcome.takeovers = aftermath.twins(root), aftermath.takeovers(root)
    ready = [sent for sent in outcome.sent if sent.status == "READY"]
    for sent in ready:
        outcome.violations += aftermath.broken_asset(cluster, sent.video_id)
    outcome.violations += aftermath.repeated_encodes(root, faults)
    outcome.violations += aftermath.unsettled_rows(url)
    outcome.slowed, missing = unanswered(root, faults)
    outcome.violations += missing
    outcome.violations += at_work_still()
    outcome.violations += aftermath.unkind_answers(root, outcome.answers)
    outcome.violations += aftermath.scratch_files(root)
    outcome.violations += aftermath.orphans(root)
    outcome.encoded, outcome.at_once = aftermath.encodes(root)
    if verifier is not None:
        for sent in chance.sample(ready, min(sample, len(ready))):
            with Client(farm.url, farm.token_for(sent.user, sent.tier), backoff=PATIENT) as client:
                failed = verify(client, sent.video_id, sent.clip, verifier)
            outcome.verified += 1
            outcome.violations += [f"video {sent.video_id}: {line}" for line in failed]


def blow(farm: RunningFarm, storm: Storm, senders: Senders, minutes: float) -> None:
    """Users and faults beside each other for a time; returns when both have ended."""
    with ThreadPoolExecutor(len(USERS) + 1) as threads:
        running = [threads.submit(senders.run, user, tier) for user, tier in USERS]
        running.append(threads.submit(storm.run))
        end = time.monotonic() + minutes * 60
        try:
            while time.monotonic() < end and not running[-1].done():
                time.sleep(0.2)
        finally:
            storm.stopping.set()
            senders.stopping.set()
        for each in running:
            each.result()


def weather(
    data: Path,
    minutes: float,
    seed: int,
    videos: int,
    console: Console,
    verifier: Path | None,
    sample: int,
    *,
    database: str,
    quick: bool = False,
    only: Sequence[str] = (),
) -> Outcome:
    """One storm on a farm of its own."""
    outcome = Outcome()
    faults = data / "faults"
    faults.mkdir()
    clips = write_clips(data, seed)
    os.environ["REELMILL_FAULTS"] = str(faults)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(FAULTS), os.environ.get("PYTHONPATH"))))
    begin = time.monotonic()

    def tell(what: str) -> None:
        console.print(f"{time.monotonic() - begin:6.1f} s  {what}  ({len(outcome.sent)} accepted)", highlight=False)

    with storm_database(database, data / "farm") as stormy:
        with embedded_farm(data / "farm", worker_slots=1, log_json=True, database_url=stormy.url) as farm:
            cluster = farm.farm.cluster
            node, standby = SecondNode(farm.farm), Standby(farm.farm)
            try:
                node.start()
                standby.start()
                tell(f"farm is up on {database}")
                storm = Storm(farm, node, standby, stormy, faults, seed, PAUSE_S, tell, quick=quick, only=only)
                senders = Senders(farm, clips, seed, videos, outcome, storm.lull)
                with kept(node, standby):
                    blow(farm, storm, senders, minutes)
                    outcome.faults, outcome.answers = storm.done, storm.answers
                    tell("calm")
                    calm_down(farm, storm, outcome)
                    tell("settled")
                    look_around(farm, outcome, faults, verifier, sample, random.Random(seed))
                    outcome.node_starts = node.starts
            finally:
                standby.stop()
                node.kill()
        outcome.violations += aftermath.survivors(cluster.root)
        outcome.violations += leftovers.held_leases(stormy.url)
        outcome.violations += leftovers.unreclaimable(cluster.root)
        outcome.violations += leftovers.orphaned_objects(cluster)
    tell("over")
    return outcome


@contextmanager
def storm_database(kind: str, folder: Path) -> Iterator[StormDatabase]:
    """The farm's database; a PostgreSQL outlives the farm, so that its rows can be looked at."""
    if kind == "sqlite":
        yield SqliteFile(folder)
        return
    with postgres() as server:
        yield server


def _end(number: int, _frame: object) -> None:
    """Told to end, we end the farm as well: an exception passes every `with` and `finally` on its way out."""
    sys.exit(128 + number)


def _faults(_context: click.Context, _parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name.startswith("_") or not callable(getattr(Storm, name, None)):
            raise click.BadParameter(f"there is no fault {name}: they are the methods of benchmarks/storm.py")
    return names


@click.command(help=__doc__)
@click.option("--minutes", type=click.FloatRange(0.1), default=3.0, show_default=True, help="Length of the storm.")
@click.option("--seed", default=1, show_default=True)
@click.option("--videos", default=10_000, help="At most so many.")
@click.option("--verifier", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder with assay/.")
@click.option("--sample", default=5, show_default=True, help="How many assets the verifier looks at.")
@click.option(
    "--database",
    type=click.Choice(["sqlite", "postgres"]),
    default="sqlite",
    show_default=True,
    help="PostgreSQL can be restarted and killed as well; it is started from its wheel.",
)
@click.option("--quick", is_flag=True, help="Only faults that are over within half a minute.")
@click.option("--only", multiple=True, metavar="FAULT", callback=_faults, help="Only this fault; may be given often.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep the farm's folder here.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
def command(
    minutes: float,
    seed: int,
    videos: int,
    verifier: Path | None,
    sample: int,
    database: str,
    quick: bool,
    only: tuple[str, ...],
    keep: Path | None,
    json_path: Path | None,
) -> None:
    """A farm in a storm."""
    signal.signal(signal.SIGTERM, _end)
    console = Console(width=160)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reelmill-chaos-", ignore_cleanup_errors=True) as made:
        data = keep or Path(made)
        data.mkdir(parents=True, exist_ok=True)
        outcome = weather(
            data, minutes, seed, videos, console, verifier, sample, database=database, quick=quick, only=only
        )
    statuses = Counter(f"{sent.status} {sent.code}".strip() for sent in outcome.sent)
    console.print(
        f"seed {seed}, {minutes:g} minutes on {database}, {outcome.faults.total()} faults: {dict(outcome.faults)}",
        highlight=False,
    )
    console.print(
        f"accepted {len(outcome.sent)}: {dict(statuses)}; not begun: {dict(outcome.refused)}", highlight=False
    )
    console.print(
        f"encoded {outcome.encoded} records, {outcome.at_once} by two attempts at once; {outcome.twins} twins, "
        f"{outcome.slowed} of them of segments that were made to crawl; "
        f"{outcome.takeovers} takeovers; {outcome.corrupted} segments changed on their way; "
        f"{outcome.refused_sessions} sessions refused to {outcome.refused_tasks} tasks, {outcome.recovered_tasks} of "
        f"them done later; {outcome.nodes} nodes live, the second was started {outcome.node_starts} times; "
        f"messages {outcome.messages}; while the database was gone gateways said {dict(outcome.answers)}; "
        f"verified independently {outcome.verified}; {time.monotonic() - begin:.0f} s in all",
        highlight=False,
    )
    for line in outcome.violations:
        console.print(f"[red]VIOLATION[/] {line}", highlight=False)
    console.print(f"{len(outcome.violations)} violations")
    if json_path:
        results = {"seed": seed, "minutes": minutes, "database": database, "statuses": dict(statuses)}
        results |= {"faults": dict(outcome.faults), "encoded": outcome.encoded, "violations": outcome.violations}
        results |= {"twins": outcome.twins, "twins_of_slowed": outcome.slowed}
        results |= {"sessions_refused": outcome.refused_sessions, "nodes": outcome.nodes}
        write_results(json_path, "chaos", [results])
    sys.exit(1 if outcome.violations else 0)
