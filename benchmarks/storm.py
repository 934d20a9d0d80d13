"""What can go wrong, done on purpose to a running farm: each fault by name, chosen by a seeded generator."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import aftermath
from benchmarks.bystanders import NODE_ADDRESS, STANDBY, SecondNode, Standby, send_signal
from benchmarks.farm_log import read_farm_log
from benchmarks.fault_bag import Bag
from benchmarks.faulty_clock import set_clocks
from benchmarks.faulty_encoder import exhaust
from benchmarks.faulty_messages import confuse
from benchmarks.faulty_store import corrupt_next, landed, set_mode
from benchmarks.stragglers import CRAWLING, SLOW, at_work, slow_down
from cluster.errors import DatabaseUnavailable, RowMissing
from cluster.metadata.database import Database
from cluster.metadata.nodes import ask_to_drain
from cluster.processes import ProcessInfo, descendants, process_table
from gateway.farm import Farm

HOUR_S = 3_600.0
WORK_WITHIN_S = 60.0
"""After so long without a finished record the next fault comes all the same."""
RESTART_WITHIN_S = 120.0
"""How long a rolling restart waits for one process before it goes on with the next."""
BACK_WITHIN_S = 45.0
"""How long is waited for a node that was killed before it is told of its end."""
SLOW_FOR_S = 20.0
CRAWLS_FOR_S = 50.0
"""Shorter than any task's timeout (60 s at least): a twin is what shall end it."""
MOST_STRAGGLERS = 4
"""A twin needs an idle worker: if there was none, the next segment is slowed, until the last ones are gone."""
FEW_JOBS = 3
"""With so few jobs left, a worker soon finds nothing to do while another is slow."""
Fault = Callable[[], bool]


class Storm:
    """Faults, one after another, at random moments, until told to stop.

    Args:
        seed: of the choice and of the pauses; which process is hit depends on what runs at the moment.
        folder: of the control files that the spoiled processes look at.
        quick: only faults that are over within half a minute.
        only: names of faults; empty: all.

    Raises:
        ValueError: `only` names a fault that there is not.
    """

    def __init__(
        self,
        farm: Farm,
        node: SecondNode,
        standby: Standby,
        folder: Path,
        seed: int,
        pause_s: tuple[float, float],
        tell: Callable[[str], None],
        *,
        quick: bool = False,
        only: Sequence[str] = (),
    ) -> None:
        self.farm = farm
        self.node = node
        self.standby = standby
        self.folder = folder
        self.random = random.Random(seed)
        self.pause_s = pause_s
        self.tell = tell
        self.quick = quick
        self.done: Counter[str] = Counter()
        self.stopping = threading.Event()
        self._landed = 0
        self._undoing: list[threading.Thread] = []
        faults: dict[Fault, int] = {
            self.kill_worker: 4,
            self.kill_confined: 4,
            self.hang_worker: 2,
            self.slow_worker: 2,
            self.kill_dispatcher: 2,
            self.hang_dispatcher: 2,
            self.kill_gateway: 2,
            self.kill_valkey: 1,
            self.hang_valkey: 1,
            self.kill_node: 1,
            self.corrupt_segment: 3,
            self.take_store_away: 1,
            self.fill_store: 1,
            self.slow_store: 1,
            self.lock_database: 1,
            self.exhaust_sessions: 1,
            self.confuse_messages: 3,
            self.skew_clock: 1,
            self.step_clock: 1,
        }
        if not quick:
            faults |= {
                self.kill_ray: 1,
                self.lock_database_for_a_minute: 1,
                self.drain_head: 1,
                self.announce_nodes_end: 1,
                self.restart_all: 1,
            }
        if unknown := set(only) - {fault.__name__ for fault in faults}:
            raise ValueError(f"there is no fault {', '.join(sorted(unknown))}")
        named = {fault: weight for fault, weight in faults.items() if not only or fault.__name__ in only}
        self._bag = Bag(named, random.Random(f"{seed}/faults"))

    def run(self) -> None:
        """Storm until `stopping` is set; then nothing is stopped, killed or broken any more."""
        while not self.stopping.wait(self.random.uniform(*self.pause_s)):
            self._await_work()
            if self.stopping.is_set():
                break
            fault = self._bag.draw()
            if fault():
                self.done[fault.__name__] += 1
                self.tell(fault.__name__)
            else:
                self._bag.put_back(fault)
        for undoing in self._undoing:
            undoing.join()

    def _await_work(self) -> None:
        """Let something be finished between two faults, also on a machine where a worker takes a minute to start."""
        end = time.monotonic() + WORK_WITHIN_S
        while landed(self.folder) <= self._landed and time.monotonic() < end:
            if self.stopping.wait(0.5):
                return
        self._landed = landed(self.folder)

    # -- processes

    def _workers(self) -> list[ProcessInfo]:
        return [info for info in descendants(os.getpid()) if info.command.startswith("ray::SlotHolder")]

    def _pick(self, found: list[ProcessInfo]) -> int | None:
        return self.random.choice(sorted(info.pid for info in found)) if found else None

    def _leader(self) -> int | None:
        """The dispatcher that leads."""
        with contextlib.closing(sqlite3.connect(self.farm.cluster.root / "farm.db", timeout=5)) as database:
            try:
                row = database.execute("SELECT owner FROM leases WHERE name = 'dispatcher/'").fetchone()
            except sqlite3.OperationalError:
                return None
        return self.standby.pid if row and row[0] == STANDBY else self.farm.pids().get("dispatcher")

    def kill_worker(self) -> bool:
        """kill -9 of an actor's process."""
        return send_signal(self._pick(self._workers()), signal.SIGKILL)

    def kill_confined(self) -> bool:
        """kill -9 of a fork server or of a child that works."""
        found = [info for info in descendants(os.getpid()) if "encoders.forkserver" in info.command]
        return send_signal(self._pick(found), signal.SIGKILL)

    def hang_worker(self) -> bool:
        """A worker's process stands still for a while, or until somebody ends it."""
        lasts_s = 10.0 if self.quick else self.random.choice((10.0, 300.0))
        return self._hang(self._pick(self._workers()), lasts_s)

    def slow_worker(self) -> bool:
        """A worker's encoding is ten times as slow for a while."""
        worker = self._pick(self._workers())
        if worker is None:
            return False
        self._keep(lambda: slow_down(worker, SLOW, SLOW_FOR_S, self.stopping.is_set))
        return True

    def straggle(self, over: Callable[[], bool]) -> None:
        """After the storm, when hardly anything is left to do: a worker is slow while another has nothing to do.

        That is when a twin starts; in a storm the queue is never empty. Ends with the first twin, or when all is over.
        """
        root = self.farm.cluster.root
        before = aftermath.twins(root)
        tries = 0

        def enough() -> bool:
            return over() or aftermath.twins(root) > before

        while not enough() and tries < MOST_STRAGGLERS:
            if self._jobs_left() <= FEW_JOBS and (found := self._encoding()):
                tries += 1
                slow_down(self.random.choice(found), CRAWLING, CRAWLS_FOR_S, enough)
            time.sleep(0.5)

    def _encoding(self) -> list[int]:
        """Pids of workers that encode a segment now: neither an inspection nor a package has a twin."""
        logs = [read_farm_log(self.farm.cluster.root / "logs" / name) for name in aftermath.DISPATCHER_LOGS]
        said = {
            log.joined.get(attempt.worker)
            for log in logs
            for attempt in log.attempts
            if attempt.kind == "segment" and attempt.ended_at is None
        }
        table = process_table()
        return sorted(info.pid for info in self._workers() if info.pid in said and at_work(info.pid, table))

    def _jobs_left(self) -> int:
        with contextlib.closing(sqlite3.connect(self.farm.cluster.root / "farm.db", timeout=5)) as database:
            try:
                (count,) = database.execute("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')").fetchone()
            except sqlite3.OperationalError:
                return FEW_JOBS + 1
        return int(count)

    def kill_dispatcher(self) -> bool:
        """kill -9 of the dispatcher that leads."""
        return send_signal(self._leader(), signal.SIGKILL)

    def hang_dispatcher(self) -> bool:
        """The dispatcher that leads stands still until the other has taken over, and then wakes up."""
        return self._hang(self._leader(), self.random.choice((12.0, 25.0)))

    def kill_gateway(self) -> bool:
        """kill -9 of the gateway, with uploads under way."""
        return send_signal(self.farm.pids().get("gateway"), signal.SIGKILL)

    def kill_valkey(self) -> bool:
        """kill -9 of Valkey."""
        return send_signal(self.farm.pids().get("valkey"), signal.SIGKILL)

    def hang_valkey(self) -> bool:
        """Valkey accepts and does not answer."""
        return self._hang(self.farm.pids().get("valkey"), 8.0)

    def kill_node(self) -> bool:
        """The second node loses its power."""
        self.node.kill()
        return True

    def kill_ray(self) -> bool:
        """kill -9 of what supervises Ray's head: the whole cluster is gone."""
        return send_signal(self.farm.pids().get("ray"), signal.SIGKILL)

    def restart_all(self) -> bool:
        """One process after another is told to end and comes back: an upgrade without a pause."""
        for name in ("gateway", "valkey", "dispatcher", "ray"):
            before = self.farm.pids().get(name)
            if not send_signal(before, signal.SIGTERM):
                continue
            end = time.monotonic() + RESTART_WITHIN_S
            while self.farm.pids().get(name) in (None, before) and time.monotonic() < end:
                if self.stopping.wait(0.2):
                    return True
        self.standby.stop()
        self.node.kill()
        return True

    # -- nodes

    def drain_head(self) -> bool:
        """The first node is drained for a while, and works again."""
        head = next((node for node, address in self._nodes() if address != NODE_ADDRESS), None)
        if head is None or not self._drain(head, 10.0):
            return False
        return self._after(20.0, lambda: self._let_work(head))

    def announce_nodes_end(self) -> bool:
        """The second node is told of its end, as spot machines are, and loses its power when the time is over."""
        end = time.monotonic() + BACK_WITHIN_S
        while not (found := [node for node, address in self._nodes() if address == NODE_ADDRESS]):
            if time.monotonic() > end or self.stopping.wait(1.0):
                return False
        node = found[0]
        return self._drain(node, 20.0) and self._after(22.0, self.node.kill)

    def _nodes(self) -> list[tuple[str, str]]:
        """Ids and addresses of the nodes that work."""
        with contextlib.closing(sqlite3.connect(self.farm.cluster.root / "farm.db", timeout=5)) as database:
            try:
                return database.execute("SELECT id, address FROM nodes WHERE state = 'alive'").fetchall()
            except sqlite3.OperationalError:
                return []

    def _let_work(self, node: str) -> None:
        """Whatever else is broken at the moment: nobody but us would ever let it work again."""
        end = time.monotonic() + RESTART_WITHIN_S
        while not self._drain(node, None) and time.monotonic() < end:
            time.sleep(1.0)

    def _drain(self, node: str, within_s: float | None) -> bool:
        """Ask for it; False when the database does not take it. A node that is gone needs no asking any more."""

        async def ask() -> None:
            database = Database(self.farm.cluster.effective_database_url)
            try:
                drain_by = None if within_s is None else time.time() + within_s
                await database.run(lambda session: ask_to_drain(session, node, drain_by))
            finally:
                await database.close()

        try:
            asyncio.run(ask())
        except RowMissing:
            return within_s is None
        except DatabaseUnavailable:
            return False
        return True

    # -- store, database, sessions, messages, clocks

    def corrupt_segment(self) -> bool:
        """A byte of the next media segment changes on its way to the store."""
        corrupt_next(self.folder)
        return True

    def take_store_away(self) -> bool:
        """The store does not answer for a while."""
        set_mode(self.folder, "away", 12.0)
        return True

    def fill_store(self) -> bool:
        """The store takes no bytes for a while."""
        set_mode(self.folder, "full", 10.0)
        return True

    def slow_store(self) -> bool:
        """Every call to the store takes half a second more for a while."""
        set_mode(self.folder, "slow", 10.0)
        return True

    def lock_database(self) -> bool:
        """Nobody can write to the database for longer than SQLite waits."""
        return self._lock_database(13.0)

    def lock_database_for_a_minute(self) -> bool:
        """The database is gone for a minute."""
        return self._lock_database(60.0)

    def _lock_database(self, lasts_s: float) -> bool:
        begun = threading.Event()
        locked: list[bool] = []

        def hold() -> None:
            with contextlib.closing(sqlite3.connect(self.farm.cluster.root / "farm.db", timeout=5)) as database:
                try:
                    database.execute("BEGIN EXCLUSIVE")
                    locked.append(True)
                except sqlite3.OperationalError:
                    return
                finally:
                    begun.set()
                self.stopping.wait(lasts_s)
                database.rollback()

        self._keep(hold)
        begun.wait()
        return bool(locked)

    def exhaust_sessions(self) -> bool:
        """No encode session can be had for a while, from the next one that is wanted."""
        exhaust(self.folder, 12.0)
        return True

    def confuse_messages(self) -> bool:
        """What attempts answer is delivered twice, late, or both, for a while."""
        confuse(self.folder, 25.0)
        return True

    def skew_clock(self) -> bool:
        """The clocks of one kind of process are an hour off for a while."""
        kind = self.random.choice(("dispatcher", "gateway", "worker"))
        set_clocks(self.folder, {kind: self.random.choice((-HOUR_S, HOUR_S))}, 15.0)
        return True

    def step_clock(self) -> bool:
        """The machine's clock is set to an hour from now, or an hour ago, and back after a while."""
        shift_s = self.random.choice((-HOUR_S, HOUR_S))
        set_clocks(self.folder, dict.fromkeys(("dispatcher", "gateway", "worker", "database"), shift_s), 15.0)
        return True

    # -- what passes

    def _hang(self, pid: int | None, lasts_s: float) -> bool:
        return send_signal(pid, signal.SIGSTOP) and self._after(lasts_s, lambda: send_signal(pid, signal.SIGCONT))

    def _after(self, delay_s: float, undo: Callable[[], object]) -> bool:
        """Undo something after a time, or at the storm's end: what must be shown is that nothing got lost."""

        def wait() -> None:
            self.stopping.wait(delay_s)
            undo()

        self._keep(wait)
        return True

    def _keep(self, work: Callable[[], None]) -> None:
        self._undoing = [thread for thread in self._undoing if thread.is_alive()]
        thread = threading.Thread(target=work, daemon=True)
        self._undoing.append(thread)
        thread.start()
