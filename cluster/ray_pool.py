"""The workers of a Ray cluster: one actor for each encode slot of each node, started, watched and replaced.

Ray is never a queue here (Ray has no priorities): a worker holds at most one task, and the dispatcher decides again
when it is done. An actor that dies is not restarted by Ray but replaced by a new one with a new id, so that a late
answer of the old one can be told apart.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import structlog
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.actors import CONCURRENCY, WorkerActor, build_of
from cluster.gpu_slots import slot_options
from cluster.parcel import Packer
from cluster.pool import NodeView
from cluster.predecessors import end_predecessors, kill, predecessors_actors, token_of
from cluster.settings import ClusterSettings
from cluster.tasks import Outcome, TaskRequest, WorkerDescription
from encoders.errors import Failure, Fault

log = structlog.get_logger()

NAMESPACE = "reelmill"
GPU_MARK = "-gpu-"
"""In the ids of workers that hold a part of a GPU."""
SLOT_RESOURCE = "reelmill_slots"
"""A node may say by this Ray resource how many encode slots it offers; otherwise the settings say."""
START_TIMEOUT_S = 240.0
"""A worker that has not described itself by then is given up: a cold import of Ray and FFmpeg takes seconds, not
minutes."""
NODE_DIED = "its node has died"
"""How Ray 2.60 words an actor's death that its node caused; there is no attribute that says so."""
LONGEST_PAUSE_S = 30.0
"""Between tries to start a worker on a node where starting fails: what is wrong there is not mended by haste."""
CHECK_TIMEOUT_S = 60.0
"""A canary takes about a second on an idle core; it waits for what the worker does at the moment."""
ADOPT_PATIENCE_S = 5.0
"""A predecessor's worker that does not say within it what it runs is replaced: its answer takes milliseconds."""
PING_EVERY_S = 5.0
PING_PATIENCE_S = 30.0
"""A worker's process answers beside its work; one that keeps silent for so long hangs, whatever its task may still be
allowed. Long enough for a host with many times more to do than cores."""
STANDSTILL_S = 5.0
"""A silence that was measured to be so much longer than asked for says that the one who asked stood still."""
STOP_PATIENCE_S = 5.0
"""How long a stopped attempt may take to answer before its actor is killed."""


@dataclass(slots=True, kw_only=True)
class Member:
    """A worker that has joined."""

    description: WorkerDescription
    actor: Any
    running: int = 0
    ping_due: float = 0.0


class WorkerPool:
    """Keeps one actor running for each slot of each node that Ray knows.

    Args:
        joined, lost: called on the event loop when a worker has described itself, and when it is gone: its id, and
            one of the reasons that `scheduler.events.WorkerLost` knows.
        owner: whose workers they are, "leadership/…#token"; empty: nobody comes after this pool. Actors of lower
            tokens are ended: a predecessor that stands still keeps its actors, and they keep the slots.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        joined: Callable[[WorkerDescription], None],
        lost: Callable[[str, str], None],
        owner: str = "",
    ) -> None:
        self.settings = settings
        self.owner = owner
        self.members: dict[str, Member] = {}
        self._joined = joined
        self._lost = lost
        self._numbers = itertools.count(1)
        self._starting: dict[str, set[str]] = {}
        self._failed_starts: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining: set[str] = set()
        self._addresses: dict[str, str] = {}
        self._alone = False
        self._adopted: set[str] = set()
        self._packer = Packer()

    @property
    def slots(self) -> int:
        """Workers that have joined or are about to: a source that comes with the start is cut for all of them."""
        return len(self.members) + sum(len(starting) for starting in self._starting.values())

    @property
    def backends(self) -> frozenset[str]:
        """What the workers offer together."""
        return frozenset(name for member in self.members.values() for name in member.description.backends)

    async def adopt(self) -> None:
        """Take over the actors of predecessors, with what they run: they are detached, so that they outlive those."""
        if self.owner:
            names = await asyncio.to_thread(predecessors_actors, self.owner)
            await asyncio.gather(*(self._adopt(name) for name in names))
            numbers = [int(number) for name in self.members if (number := name.rpartition("-")[2]).isdigit()]
            self._numbers = itertools.count(1 + max(numbers, default=0))

    async def _adopt(self, name: str) -> None:
        actor = None
        try:
            actor = await asyncio.to_thread(ray.get_actor, name)
            description = await asyncio.wait_for(_value(actor.take_over.remote(token_of(self.owner))), ADOPT_PATIENCE_S)
        except (RayError, TimeoutError, ValueError):
            if actor is not None:
                kill(actor)
            return
        if description.build != build_of(self.settings):
            kill(actor)
            return
        self._adopted.add(name)
        self.members[description.worker_id] = Member(description=description, actor=actor)
        log.info("worker_adopted", worker=description.worker_id, running=[each.task_id for each in description.running])
        self._joined(description)

    async def resume(self, worker_id: str, task_id: str, attempt: int) -> Outcome | None:
        """The outcome of an attempt that a dispatcher before started; its worker keeps its time."""
        member = self.members.get(worker_id)
        if member is None:
            return None
        member.running += 1
        try:
            outcome: Outcome | None = await _value(member.actor.resume.remote(task_id, attempt))
            return outcome
        except RayError as error:
            self._drop(worker_id, "node_lost" if NODE_DIED in str(error) else "crashed", str(error)[:300])
            return None
        finally:
            member.running -= 1

    async def refresh(self) -> None:
        """Start what is missing on nodes that are alive; report workers of nodes that are gone."""
        if not self._alone and self.owner:
            await asyncio.to_thread(end_predecessors, self.owner, self._adopted)
            self._alone = True
        nodes = await asyncio.to_thread(ray.nodes)
        alive = {node["NodeID"]: node for node in nodes if node["Alive"]}
        self._addresses = {node_id: str(node.get("NodeManagerAddress", "")) for node_id, node in alive.items()}
        for worker_id, member in list(self.members.items()):
            if member.description.node_id not in alive:
                self._drop(worker_id, "node_lost", "its node is gone")
        self._ping_members()
        for node_id, node in alive.items():
            if node_id in self._draining:
                continue
            on_gpus = slot_options(node.get("Resources", {}))
            for options in on_gpus[self._have(node_id, on_gpu=True) :]:
                self._start(node_id, options)
            for _ in range(self._slots(node) - len(on_gpus) - self._have(node_id, on_gpu=False)):
                self._start(node_id, {})

    def _have(self, node_id: str, *, on_gpu: bool) -> int:
        """Workers of a node that run or start, with or without a part of a GPU."""
        running = [name for name, member in self.members.items() if member.description.node_id == node_id]
        return sum((GPU_MARK in name) == on_gpu for name in (*running, *self._starting.get(node_id, ())))

    def _slots(self, node: dict[str, Any]) -> int:
        resources = node.get("Resources", {})
        if SLOT_RESOURCE in resources:
            return int(resources[SLOT_RESOURCE])
        cores = int(resources.get("CPU", 0))
        return min(self.settings.worker_slots, cores) if self.settings.worker_slots else cores

    def _start(self, node_id: str, options: dict[str, Any]) -> None:
        worker_id = f"{node_id[:8]}{GPU_MARK if options else '-'}{next(self._numbers)}"
        self._starting.setdefault(node_id, set()).add(worker_id)
        self._keep(self._bring_up(node_id, worker_id, options))

    async def _bring_up(self, node_id: str, worker_id: str, options: dict[str, Any]) -> None:
        actor = None
        try:
            actor = WorkerActor.options(
                num_cpus=1,
                max_concurrency=CONCURRENCY,
                max_restarts=0,
                max_task_retries=0,
                name=f"{self.owner}/{worker_id}" if self.owner else None,
                lifetime="detached" if self.owner else None,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node_id, soft=False),
                **options,
            ).remote(self.settings, worker_id)
            description = await asyncio.wait_for(_value(actor.describe.remote()), START_TIMEOUT_S)
        except (RayError, TimeoutError) as error:
            # Ray puts the reason at the end, below the remote traceback.
            log.error("worker_did_not_start", worker=worker_id, node=node_id, error=str(error)[-2000:])
            if actor is not None:
                kill(actor)
            self._alone = False  # perhaps a predecessor woke up and has taken the slot
            self._failed_starts[node_id] = self._failed_starts.get(node_id, 0) + 1
            await asyncio.sleep(min(LONGEST_PAUSE_S, 2.0 ** self._failed_starts[node_id]))
            return
        finally:
            self._starting[node_id].discard(worker_id)
        self._failed_starts.pop(node_id, None)
        self.members[worker_id] = Member(description=description, actor=actor)
        log.info("worker_joined", worker=worker_id, node=node_id, pid=description.pid, backends=description.backends)
        self._joined(description)

    def _ping_members(self) -> None:
        now = time.monotonic()
        for worker_id, member in self.members.items():
            if now >= member.ping_due:
                member.ping_due = math.inf
                self._keep(self._ping(worker_id, member))

    async def _ping(self, worker_id: str, member: Member) -> None:
        """Ask a worker whether it lives; one that is silent is ended, and what it ran goes on elsewhere."""
        asked_at = time.monotonic()
        try:
            await asyncio.wait_for(_value(member.actor.ping.remote()), PING_PATIENCE_S)
        except TimeoutError:
            if time.monotonic() - asked_at > PING_PATIENCE_S + STANDSTILL_S:
                # It was this process that stood still; a successor may have taken the worker over by now.
                member.ping_due = time.monotonic() + PING_EVERY_S
                return
            self._drop(worker_id, "hung", f"it has not answered for {PING_PATIENCE_S:.0f} s")
            kill(member.actor)
        except RayError as error:
            self._drop(worker_id, "node_lost" if NODE_DIED in str(error) else "crashed", str(error)[:300])
        member.ping_due = time.monotonic() + PING_EVERY_S

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self, worker_id: str, request: TaskRequest) -> Outcome | None:
        """Run one attempt on a worker; None when the worker was lost meanwhile, which is then reported by `lost`.

        An attempt that passes its time is stopped; when its worker does not even answer to that, the worker is killed.
        """
        member = self.members.get(worker_id)
        if member is None:
            return None
        reference = member.actor.run.remote(self._packer.pack(request))
        member.running += 1
        try:
            # The worker's own limit ends a task in time; this one is for a worker that hangs itself.
            return await asyncio.wait_for(_value(reference), request.timeout_s + 2 * STOP_PATIENCE_S)
        except TimeoutError:
            self._drop(worker_id, "hung", "it did not answer in time")
            kill(member.actor)
            return Failure(
                code="task_timeout",
                fault=Fault.DEVICE,
                detail=f"no answer within {request.timeout_s:.0f} s",
                evidence={"worker": worker_id},
            )
        except RayActorError as error:
            self._drop(worker_id, "node_lost" if NODE_DIED in str(error) else "crashed", str(error)[:300])
            return None
        except RayError as error:  # a bug or a broken node: the attempt fails, the worker is replaced
            self._drop(worker_id, "crashed", f"{type(error).__name__}: {str(error)[:300]}")
            kill(member.actor)
            return None
        finally:
            member.running -= 1

    async def stop(self, worker_id: str, task_id: str, attempt: int) -> None:
        """End an attempt; its `run` answers with a failure soon after. Does nothing when it is not there."""
        member = self.members.get(worker_id)
        if member is None:
            return
        try:
            await asyncio.wait_for(
                _value(member.actor.stop.remote(task_id, attempt, token_of(self.owner))), STOP_PATIENCE_S
            )
        except (TimeoutError, RayError):
            self._drop(worker_id, "hung", "it did not answer to stop")
            kill(member.actor)

    async def check(self, worker_id: str) -> tuple[bool, str]:
        """Run the canary on a worker's device: (healthy, what was seen). A worker that is gone is not healthy."""
        member = self.members.get(worker_id)
        if member is None:
            return False, "the worker is gone"
        try:
            return tuple(await asyncio.wait_for(_value(member.actor.check.remote()), CHECK_TIMEOUT_S))
        except (TimeoutError, RayError) as error:
            return False, f"{type(error).__name__}: {str(error)[:300]}"

    def nodes(self) -> Sequence[NodeView]:
        """The nodes that the last `refresh` saw alive."""
        return [self._view(node_id, address) for node_id, address in self._addresses.items()]

    def _view(self, node_id: str, address: str) -> NodeView:
        members = {key: each for key, each in self.members.items() if each.description.node_id == node_id}
        return NodeView(
            node_id=node_id,
            address=address,
            workers=tuple(members),
            idle=tuple(key for key, each in members.items() if not each.running),
            running=sum(each.running for each in members.values()),
        )

    def set_draining(self, node_id: str, draining: bool) -> None:
        """Whether no more workers are started on a node."""
        if draining:
            self._draining.add(node_id)
        else:
            self._draining.discard(node_id)

    def retire(self, worker_id: str) -> None:
        """End a worker of a node that is being drained; `lost` tells it as "drained"."""
        member = self.members.get(worker_id)
        if member is not None:
            self._drop(worker_id, "drained", "its node is being drained")
            kill(member.actor)

    def replace(self, worker_id: str, reason: str) -> None:
        """End a worker whatever it does; `refresh` starts another."""
        member = self.members.get(worker_id)
        if member is not None:
            self._drop(worker_id, "hung", reason)
            kill(member.actor)

    def _drop(self, worker_id: str, reason: str, detail: str) -> None:
        if self.members.pop(worker_id, None) is not None:
            log.warning("worker_lost", worker=worker_id, reason=reason, detail=detail)
            self._lost(worker_id, reason)

    def close(self) -> None:
        """Kill all workers; nothing they had finished is lost."""
        for task in self._tasks:
            task.cancel()
        for member in self.members.values():
            kill(member.actor)
        self.members.clear()


async def _value(reference: Any) -> Any:
    return await reference
