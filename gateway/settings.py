"""Settings of the HTTP side: one frozen object, read once at the entry points and passed down as values."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

MEBIBYTE = 1 << 20


class GatewaySettings(BaseSettings):
    """How the gateway listens, authenticates and limits. Environment variables carry the prefix `REELMILL_`."""

    model_config = SettingsConfigDict(env_prefix="REELMILL_", frozen=True, extra="ignore")

    host: str = Field(default="127.0.0.1")
    """Address to listen on. Loopback unless asked: the farm has no business on a network that nobody chose."""

    port: int = Field(default=8080, ge=0, le=65_535)
    """TCP port to listen on; 0 lets the system choose."""

    jwt_secret: SecretStr = Field(default=SecretStr(""))
    """HS256 secret of bearer tokens, at least 32 bytes; empty means one made on first start in `data_dir/secrets`."""

    cors_origins: tuple[str, ...] = Field(default=())
    """Origins whose pages may call the API. The data plane answers every origin: its URLs carry their own right."""

    part_size_bytes: int = Field(default=10 * MEBIBYTE, ge=5 * MEBIBYTE)
    """Part size that clients get when they name none. Source: the upload contract's 10 MB parts."""

    max_upload_bytes: int = Field(default=200_000_000_000, gt=0)
    """Largest source that any profile may take, bytes."""

    upload_ttl_s: float = Field(default=86_400.0, gt=0)
    """How long an upload session stays open after its start, seconds."""

    part_url_ttl_s: float = Field(default=600.0, gt=0)
    """How long a signed part URL holds, seconds. Source: the upload contract's 10 minutes."""

    media_url_ttl_s: float = Field(default=6 * 3_600.0, gt=0)
    """How long a signed media prefix holds, seconds: longer than anybody watches one video."""

    initiate_rates: dict[str, str] = Field(
        default={"paid": "1000/hour", "verified": "100/hour", "free": "10/hour"},
    )
    """Uploads that a user may start, by tier, as `count/period`. Source: the upload contract's 10 an hour for free."""

    active_jobs: dict[str, int] = Field(default={"paid": 10_000, "verified": 1_000, "free": 100})
    """Open uploads and unfinished jobs that a user may have at once, by tier; a tier that is missing has no limit."""

    farm_active_jobs: int = Field(default=100_000, gt=0)
    """Unfinished jobs of all users from which on nothing new is taken; free work is refused at 70 % of it already."""

    sse_heartbeat_s: float = Field(default=15.0, gt=0)
    """Silence after which an event stream sends a comment, seconds: proxies close quiet connections after 30 to 60."""

    housekeeping_every_s: float = Field(default=60.0, gt=0)
    """How often expired uploads and other superfluous things are looked for, seconds."""

    event_retention_s: float = Field(default=30 * 86_400.0, gt=0)
    """How long events are kept for event streams and webhooks, seconds."""

    operators: frozenset[str] = Field(default=frozenset())
    """Subjects of tokens (`sub`) that may register works and see all of them; nobody, unless named."""

    webhook_url: str = Field(default="")
    """Where every event is posted; empty means nowhere."""

    webhook_secret: SecretStr = Field(default=SecretStr(""))
    """Secret of webhook signatures, `whsec_` and base64 of 24 to 64 bytes; required with `webhook_url`."""

    webhook_pauses_s: tuple[float, ...] = Field(
        default=(5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400),
    )
    """Pauses before each further try of a webhook, seconds. Source: Standard Webhooks, "Deliverability"."""
