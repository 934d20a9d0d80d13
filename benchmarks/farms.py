"""An embedded farm for a measurement: everything the README's command starts, on a data folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.settings import ClusterSettings
from gateway.auth import load_secret, mint_token
from gateway.farm import Farm
from gateway.settings import GatewaySettings
from scheduler.jobs import Tier

TOKEN_TTL_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningFarm:
    """A farm that answers."""

    farm: Farm
    url: str
    token: str

    def token_for(self, user: str, tier: Tier) -> str:
        """A token for another user."""
        secret = load_secret(self.farm.cluster.root)
        return mint_token(secret, user, tier, TOKEN_TTL_S)


@contextmanager
def embedded_farm(data_dir: Path, **settings: Any) -> Iterator[RunningFarm]:
    """A farm with the embedded defaults on a free port; ended, with all its processes, after the block."""
    cluster = ClusterSettings(data_dir=data_dir, ray_dashboard=False, **settings)
    gateway = GatewaySettings(port=0, initiate_rates=dict.fromkeys(Tier, "100000/hour"))
    with Farm(cluster, gateway) as farm:
        token = mint_token(load_secret(cluster.root), "benchmark", Tier.PAID, TOKEN_TTL_S)
        yield RunningFarm(farm=farm, url=farm.url, token=token)
