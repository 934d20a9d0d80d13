"""What stands behind the gateway, as one value that every request reaches: settings, database, storage, counters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakValueDictionary

from fastapi import Request

from cluster.metadata.database import Database
from cluster.metrics import GatewayMetrics
from cluster.settings import ClusterSettings
from cluster.storage.base import ObjectStore
from encoders.ladder import Profile
from gateway.errors import UnknownProfile
from gateway.limits import UploadLimiter
from gateway.publish import MediaLinks
from gateway.settings import GatewaySettings


class Bell(Protocol):
    """What Redis is for here: nothing of it is needed, all of it makes things faster. No call raises."""

    async def ring(self) -> None:
        """Tell dispatchers and event streams that the database has something new."""
        ...

    async def wait(self, timeout_s: float) -> None:
        """Return when somebody has rung, or after `timeout_s`."""
        ...

    async def explanation(self, job_id: str) -> dict[str, Any] | None:
        """What the dispatcher has last said of a job; None when it has said nothing lately."""
        ...

    async def state(self) -> str:
        """ "ok", "not used", or what is wrong."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Everything that routes and rules use. One per application; lives as long as it."""

    settings: GatewaySettings
    cluster: ClusterSettings
    database: Database
    store: ObjectStore
    bell: Bell
    limiter: UploadLimiter
    metrics: GatewayMetrics
    links: MediaLinks
    secret: bytes = field(repr=False)
    profiles: Mapping[str, Profile]
    joining: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """Upload id -> held while this process lets storage join its parts."""
    clock: Callable[[], float] = time.time

    def profile(self, name: str) -> Profile:
        """A profile by name.

        Raises:
            UnknownProfile: names those that there are.
        """
        try:
            return self.profiles[name]
        except KeyError:
            raise UnknownProfile(
                f"there is no profile {name!r}; there are: {', '.join(sorted(self.profiles))}"
            ) from None


def ports_of(request: Request) -> Ports:
    """The ports of the application that a request came to."""
    ports: Ports = request.app.state.ports
    return ports
