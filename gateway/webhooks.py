"""Events as signed callbacks, at least once and in order, by the Standard Webhooks scheme.

The receiver checks `webhook-signature`, forgets doubles by `webhook-id`, and answers 2xx. Anything else is tried again,
later each time; after the last try the event is given up, and that is logged and counted. One gateway of the farm
delivers at a time, by a lease; a second may deliver once more what the first was killed over.

Source: standardwebhooks.com, specification 1.0.0.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import random

import httpx
import structlog

from cluster.metadata import deliveries
from cluster.metadata.schema import Event
from gateway.ports import Ports
from gateway.schemas import moment

log = structlog.get_logger()

CURSOR = "webhooks"
TIMEOUT_S = 15.0
"""Source: the specification recommends 15 to 30 seconds."""
SECRET_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
"""Source: the specification, "Signature scheme"."""
JITTER = 0.2


def read_secret(text: str) -> bytes:
    """The key bytes of a webhook secret.

    Raises:
        ValueError: it is not `whsec_` and base64 of 24 to 64 bytes.
    """
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(SECRET_PREFIX) or len(key) not in SECRET_BYTES:
        raise ValueError("the webhook secret must be whsec_ and base64 of 24 to 64 bytes")
    return key


def signature(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Value of `webhook-signature`."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def payload(event: Event) -> bytes:
    """Body of an event's callback."""
    about = {"user_id": event.user_id, "video_id": event.video_id, "job_id": event.job_id}
    document = {"type": event.type, "timestamp": moment(event.at).isoformat(), "data": about | event.body}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


class Notifier:
    """Delivers events to the one configured address."""

    def __init__(self, ports: Ports, http: httpx.AsyncClient) -> None:
        self._ports = ports
        self._http = http
        self._url = ports.settings.webhook_url
        self._key = read_secret(ports.settings.webhook_secret.get_secret_value())
        self._pauses_s = ports.settings.webhook_pauses_s

    async def deliver_all(self) -> None:
        """Deliver every event that is due.

        Raises:
            DatabaseUnavailable: nothing is lost; one event may be delivered twice.
        """
        while await self.deliver_next():
            pass

    async def deliver_next(self) -> bool:
        """Try the next event, when it is due. False when there was nothing to do.

        Raises:
            DatabaseUnavailable: nothing is lost; the event may have been delivered.
        """
        now = self._ports.clock()
        async with self._ports.database.write() as session:
            cursor = await deliveries.open_cursor(session, CURSOR)
            event = await deliveries.next_event(session, cursor)
        if event is None or cursor.due_at > now:
            return False
        failure = await self._post(event, now)
        if failure is None:
            self._ports.metrics.webhooks.labels(outcome="delivered").inc()
        elif cursor.attempts < len(self._pauses_s):
            pause_s = self._pauses_s[cursor.attempts] * random.uniform(1 - JITTER, 1 + JITTER)
            log.warning("webhook failed", event_id=event.id, reason=failure, again_in_s=round(pause_s))
            self._ports.metrics.webhooks.labels(outcome="failed").inc()
            await self._ports.database.run(lambda s: deliveries.mark_failed(s, CURSOR, now + pause_s))
            return True
        else:
            log.error("webhook given up", event_id=event.id, type=event.type, reason=failure)
            self._ports.metrics.webhooks.labels(outcome="given_up").inc()
        await self._ports.database.run(lambda s: deliveries.mark_done(s, CURSOR, event.id))
        return True

    async def _post(self, event: Event, now: float) -> str | None:
        """None when the receiver took it, else what went wrong."""
        body, message_id = payload(event), f"evt_{event.id}"
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": signature(self._key, message_id, int(now), body),
        }
        try:
            answer = await self._http.post(self._url, content=body, headers=headers, timeout=TIMEOUT_S)
        except httpx.HTTPError as error:
            return type(error).__name__
        return None if answer.is_success else f"HTTP {answer.status_code}"
