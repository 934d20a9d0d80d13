"""What a gateway does beside answering: housekeeping after crashes and expiry, webhooks at least once, by turns."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from gateway_app import PART_BYTES, Gateway, content, play_dispatcher, reject, running_gateway
from pydantic import SecretStr

from cluster.metadata.lifecycle import VideoTrigger
from gateway.background import LEASE_S, Duty
from gateway.housekeeping import HOUR_S, clean_up
from gateway.ports import Ports
from gateway.settings import GatewaySettings
from gateway.webhooks import Notifier, read_secret, signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DAY_S = 86_400.0


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running_gateway(tmp_path) as gateway:
        yield gateway


def later(ports: Ports, seconds: float, **settings: object) -> Ports:
    """The same ports with a clock that runs ahead."""
    now = ports.clock
    return dataclasses.replace(
        ports, clock=lambda: now() + seconds, settings=ports.settings.model_copy(update=settings)
    )


def keys(farm: Gateway, prefix: str) -> list[str]:
    return [found.key for found in farm.ports.store.list(prefix)]


async def test_an_expired_session_ends_and_its_parts_go(farm: Gateway) -> None:
    begun = await farm.initiate(2 * PART_BYTES)
    await farm.send_part(begun["upload_id"], 1, content(PART_BYTES))
    kept = await farm.initiate(100, who="bob")
    await clean_up(farm.ports)
    assert (await farm.call("GET", f"/v1/uploads/{begun['upload_id']}")).json()["status"] == "IN_PROGRESS"
    await clean_up(later(farm.ports, DAY_S + 1))
    assert (await farm.call("GET", f"/v1/uploads/{begun['upload_id']}")).json()["status"] == "EXPIRED"
    assert (await farm.call("GET", f"/v1/videos/{begun['video_id']}/status")).json()["status"] == "DRAFT"
    assert (await farm.call("GET", f"/v1/uploads/{kept['upload_id']}", who="bob")).json()["status"] == "EXPIRED"
    assert farm.ports.store.list_multiparts(farm.ports.clock() + 1) == []


async def test_a_multipart_without_a_session_is_aborted_and_open_ones_are_not(farm: Gateway) -> None:
    farm.ports.store.create_multipart("sources/lost/source", "video/mp4")
    patient = later(farm.ports, 2 * HOUR_S, upload_ttl_s=1800.0)
    begun = await farm.initiate(100)
    await clean_up(patient)
    assert [upload.upload_id for upload in farm.ports.store.list_multiparts(farm.ports.clock() + 1)] == [
        begun["s3_upload_id"]
    ]


async def test_the_source_of_a_rejected_video_goes_when_its_retention_is_over(farm: Gateway) -> None:
    done = await farm.upload(content(100))
    await reject(farm, done["job_id"], VideoTrigger.TOO_LONG, "too_long", "41 s")
    source = f"sources/{done['video_id']}/source"
    await clean_up(farm.ports)
    assert keys(farm, "sources/") == [source]
    await clean_up(later(farm.ports, farm.ports.cluster.source_retention_s + 1))
    assert keys(farm, "sources/") == []
    refused = await farm.call("POST", f"/v1/videos/{done['video_id']}/retry")
    assert (refused.status_code, refused.json()["code"]) == (410, "source_gone")


async def test_what_a_worker_wrote_of_a_deleted_video_goes_later(farm: Gateway) -> None:
    done = await farm.upload(content(100))
    prefix = await play_dispatcher(farm, done["job_id"], {"master.m3u8": ("HLS", b"x")})
    assert (await farm.call("DELETE", f"/v1/videos/{done['video_id']}")).status_code == 204
    farm.ports.store.put_bytes(prefix + "late.m4s", b"late", "video/iso.segment")
    await clean_up(farm.ports)
    assert keys(farm, "assets/") == [prefix + "late.m4s"]
    await clean_up(later(farm.ports, HOUR_S + 1))
    assert keys(farm, "assets/") == []


class Receiver:
    """Somebody's endpoint: answers as told, and remembers."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.got: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.got.append(request)
        return httpx.Response(self.answers.pop(0) if self.answers else 204)

    def types(self) -> list[str]:
        """What was told, in order."""
        return [json.loads(request.content)["type"] for request in self.got]


def notifier(
    ports: Ports, receiver: Receiver, seconds: float = 0.0, pauses_s: tuple[float, ...] = (10, 100)
) -> Notifier:
    settings = {"webhook_url": "https://app.example/hook", "webhook_secret": SecretStr(SECRET)}
    http = httpx.AsyncClient(transport=httpx.MockTransport(receiver))
    return Notifier(later(ports, seconds, webhook_pauses_s=pauses_s, **settings), http)


async def test_every_event_is_told_once_in_order_and_signed(farm: Gateway) -> None:
    receiver = Receiver()
    await farm.initiate(100)  # before the first look: a new receiver is not told the past
    await notifier(farm.ports, receiver).deliver_all()
    assert receiver.got == []
    await farm.upload(content(100))
    await notifier(farm.ports, receiver).deliver_all()
    await notifier(farm.ports, receiver).deliver_all()
    assert receiver.types() == ["video.draft", "video.uploading", "video.uploaded"]
    for request in receiver.got:
        head = request.headers
        made = signature(read_secret(SECRET), head["webhook-id"], int(head["webhook-timestamp"]), request.content)
        assert head["webhook-signature"] == made
    assert len({request.headers["webhook-id"] for request in receiver.got}) == 3


async def test_a_refused_event_waits_its_pause_and_holds_back_the_next(farm: Gateway) -> None:
    receiver = Receiver(500, 302)
    await notifier(farm.ports, receiver).deliver_all()
    await farm.initiate(100)
    await farm.initiate(100)
    await notifier(farm.ports, receiver).deliver_all()
    await notifier(farm.ports, receiver, 5).deliver_all()
    assert len(receiver.got) == 1
    await notifier(farm.ports, receiver, 13).deliver_all()
    assert len(receiver.got) == 2
    await notifier(farm.ports, receiver, 13 + 121).deliver_all()
    ids = [request.headers["webhook-id"] for request in receiver.got]
    assert ids == [ids[0], ids[0], ids[0], ids[3]]
    assert ids[3] != ids[0]


async def test_an_event_that_nobody_takes_is_given_up_and_the_next_comes(farm: Gateway) -> None:
    receiver = Receiver(500, 500, 200)
    await notifier(farm.ports, receiver).deliver_all()
    await farm.initiate(100)
    await farm.initiate(100)
    for seconds in (0, 13):
        await notifier(farm.ports, receiver, seconds, (10,)).deliver_all()
    assert len(receiver.got) == 3
    given_up = farm.ports.metrics.registry.get_sample_value("reelmill_webhooks_total", {"outcome": "given_up"})
    assert given_up == 1


async def test_a_duty_is_done_by_one_gateway_until_it_is_gone(farm: Gateway) -> None:
    rounds: list[str] = []
    turn = asyncio.Event()

    def duty(ports: Ports, name: str) -> Duty:
        async def work() -> None:
            rounds.append(name)

        async def pause() -> None:
            turn.set()
            await asyncio.sleep(3600)

        return Duty(ports, "test", work, pause)

    async def one_round(one: Duty) -> None:
        turn.clear()
        running = asyncio.create_task(one.run())
        await turn.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    first, second = duty(farm.ports, "first"), duty(farm.ports, "second")
    await one_round(first)
    await one_round(second)
    assert rounds == ["first"]
    await one_round(duty(later(farm.ports, LEASE_S + 1), "third"))
    assert rounds == ["first", "third"]


async def test_a_duty_that_is_released_goes_to_the_next_at_once(farm: Gateway) -> None:
    done: list[str] = []

    async def work() -> None:
        done.append("again")

    async def stop() -> None:
        raise asyncio.CancelledError

    for _ in range(2):
        duty = Duty(farm.ports, "test", work, stop)
        with pytest.raises(asyncio.CancelledError):
            await duty.run()
        await duty.release()
    assert done == ["again", "again"]


async def test_a_gateway_with_a_webhook_and_a_wrong_secret_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        async with running_gateway(tmp_path, webhook_url="https://app.example/hook"):
            pass
    assert GatewaySettings().webhook_url == ""
