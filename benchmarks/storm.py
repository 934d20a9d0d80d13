"""What can go wrong, done on purpose to a running farm: each fault by name, chosen by a seeded generator."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from benchmarks.bystanders import NODE_ADDRESS, STANDBY, SecondNode, Standby, send_signal
from benchmarks.farm_rows import leader, working_nodes
from benchmarks.farms import RunningFarm
from benchmarks.fault_bag import Bag
from benchmarks.faulty_clock import set_clocks
from benchmarks.faulty_encoder import exhaust
from benchmarks.faulty_messages import confuse
from benchmarks.faulty_store import corrupt_next, landed, set_mode
from benchmarks.storm_databases import Postgres, StormDatabase
from benchmarks.stragglers import SLOW, Stragglers, slow_down, workers
from cluster.errors import DatabaseUnavailable, RowMissing
from cluster.metadata.database import Database
from cluster.metadata.nodes import ask_to_drain
from cluster.processes import ProcessInfo, descendants

HOUR_S = 3_600.0
WORK_WITHIN_S = 60.0
"""After so long without a finished record the next fault comes all the same."""
RESTART_WITHIN_S = 120.0
"""How long a rolling restart waits for one process before it goes on with the next."""
BACK_WITHIN_S = 45.0
"""How long is waited for a node that was killed before it is told of its end."""
SLOW_FOR_S = 20.0
QUIET_WITHIN_S = 90.0
"""How long is waited for the end of all other faults before a segment is slowed until it must have a twin."""
STRAGGLES_WITHIN_S = 240.0
ASK_EVERY_S = 1.0
"""How often a gateway is asked while the database is gone."""
Fault = Callable[[], bool]


class Storm:
    """Faults, one after another, at random moments, until told to stop.

    Args:
        database: the farm's.
        seed: of the choice and of the pauses; which process is hit depends on what runs at the moment.
        folder: of the control files that the spoiled processes look at.
        quick: only faults that are over within half a minute.
        only: names of faults; empty: all.

    Raises:
        ValueError: `only` names a fault that there is not.
    """

    def __init__(
        self,
        farm: RunningFarm,
        node: SecondNode,
        standby: Standby,
        database: StormDatabase,
        folder: Path,
        seed: int,
        pause_s: tuple[float, float],
        tell: Callable[[str], None],
        *,
        quick: bool = False,
        only: Sequence[str] = (),
    ) -> None:
        self.farm = farm.farm
        self.token = farm.token
        self.node = node
        self.standby = standby
        self.database = database
        self.folder = folder
        self.random = random.Random(seed)
        self.pause_s = pause_s
        self.tell = tell
        self.quick = quick
        self.done: Counter[str] = Counter()
        self.stopping = threading.Event()
        self.lull = threading.Event()
        """Set while no user shall send anything."""
        self.answers: Counter[str] = Counter()
        """What gateways said while the database was gone."""
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
            self.take_database_away: 1,
            self.exhaust_sessions: 1,
            self.confuse_messages: 3,
            self.skew_clock: 1,
            self.step_clock: 1,
        }
        if not quick:
            faults |= {
                self.kill_ray: 1,
                self.take_database_away_for_a_minute: 1,
                self.straggle: 1,
                self.drain_head: 1,
                self.announce_nodes_end: 1,
                self.restart_all: 1,
            }
        if isinstance(database, Postgres):
            faults |= {self.restart_database: 1, self.kill_database: 1}
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

    def _pick(self, found: list[ProcessInfo]) -> int | None:
        return self.random.choice(sorted(info.pid for info in found)) if found else None

    def _leader(self) -> int | None:
        """The dispatcher that leads."""
        try:
            name = leader(self.database.url)
        except DatabaseUnavailable:
            return None
        return self.standby.pid if name == STANDBY else self.farm.pids().get("dispatcher")

    def kill_worker(self) -> bool:
        """kill -9 of an actor's process."""
        return send_signal(self._pick(workers()), signal.SIGKILL)

    def kill_confined(self) -> bool:
        """kill -9 of a fork server or of a child that works."""
        found = [info for info in descendants(os.getpid()) if "encoders.forkserver" in info.command]
        return send_signal(self._pick(found), signal.SIGKILL)

    def hang_worker(self) -> bool:
        """A worker's process stands still for a while, or until somebody ends it."""
        lasts_s = 10.0 if self.quick else self.random.choice((10.0, 300.0))
        return self._hang(self._pick(workers()), lasts_s)

    def slow_worker(self) -> bool:
        """A worker's encoding is ten times as slow for a while."""
        worker = self._pick(workers())
        if worker is None:
            return False
        self._keep(lambda: slow_down(worker, SLOW, SLOW_FOR_S, self.stopping.is_set))
        return True

    def straggle(self) -> bool:
        """Users and faults pause; a segment crawls beside a worker that has nothing to do, until it has a twin."""
        self.lull.set()
        try:
            quiet_by = time.monotonic() + QUIET_WITHIN_S
            while any(thread.is_alive() for thread in self._undoing):
                if time.monotonic() > quiet_by or self.stopping.wait(0.5):
                    return False
            end = time.monotonic() + STRAGGLES_WITHIN_S
            return self.slow_until_a_twin(lambda: self.stopping.is_set() or time.monotonic() > end)
        finally:
            self.lull.clear()

    def slow_until_a_twin(self, over: Callable[[], bool]) -> bool:
        """The same without a pause of the others, as after the storm; False when it was over before there was one."""
        chosen = Stragglers(self.farm.cluster.root, self.database.url, self.random, self.folder)
        return chosen.until_a_twin(over)

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
        try:
            return [(row.id, row.address) for row in working_nodes(self.database.url)]
        except DatabaseUnavailable:
            return []

    def _let_work(self, node: str) -> None:
        """Whatever else is broken at the moment: nobody but us would ever let it work again."""
        end = time.monotonic() + RESTART_WITHIN_S
        while not self._drain(node, None) and time.monotonic() < end:
            time.sleep(1.0)

    def _drain(self, node: str, within_s: float | None) -> bool:
        """Ask for it; False when the database does not take it. A node that is gone needs no asking any more."""

        async def ask() -> None:
            database = Database(self.database.url)
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

    def take_database_away(self) -> bool:
        """The database is gone for longer than SQLite waits for a lock."""
        return self._take_database(13.0)

    def take_database_away_for_a_minute(self) -> bool:
        """The database is gone for a minute."""
        return self._take_database(60.0)

    def restart_database(self) -> bool:
        """PostgreSQL ends all sessions at once, shuts down and is started again."""
        return isinstance(self.database, Postgres) and self.database.send(signal.SIGINT)

    def kill_database(self) -> bool:
        """kill -9 of the postmaster; the next one recovers from the log."""
        return isinstance(self.database, Postgres) and self.database.send(signal.SIGKILL)

    def _take_database(self, lasts_s: float) -> bool:
        begun = threading.Event()
        taken: list[bool] = []

        def hold() -> None:
            try:
                with self.database.gone():
                    taken.append(True)
                    begun.set()
                    end = time.monotonic() + lasts_s
                    while time.monotonic() < end and not self.stopping.wait(ASK_EVERY_S):
                        self.answers[self._answer()] += 1
            except DatabaseUnavailable:
                pass
            finally:
                begun.set()

        self._keep(hold)
        begun.wait()
        return bool(taken)

    def _answer(self) -> str:
        """What a gateway says to somebody who asks for his videos: a status, and whether it says when to ask again."""
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            answer = httpx.get(f"{self.farm.url}/v1/videos", headers=headers, timeout=30.0, trust_env=False)
        except httpx.TransportError:
            return "unreachable"
        return f"{answer.status_code}{' with Retry-After' if 'Retry-After' in answer.headers else ''}"

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
