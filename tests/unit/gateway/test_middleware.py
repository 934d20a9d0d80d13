"""Bodies have an end: too many bytes and too long a pause are answered, and neither holds for what is streamed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from gateway.middleware import Bounded


def part(size_bytes: int, more: bool = True) -> Message:
    return {"type": "http.request", "body": b"x" * size_bytes, "more_body": more}


async def read_all(receive: Receive) -> int:
    """What an application does that reads its body whole; how many bytes there were."""
    size_bytes = 0
    while True:
        message = await receive()
        size_bytes += len(message["body"])
        if not message["more_body"]:
            return size_bytes


async def nobody(message: Message) -> None:
    raise AssertionError("nothing is answered here")


def run(
    path: str, receive: Callable[[], Awaitable[Message]], *, most_bytes: int = 100, longest_pause_s: float = 60.0
) -> int:
    """Bytes that an application read from behind the middleware."""
    read: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        read.append(await read_all(receive))

    bounded = Bounded(app, ("/_data",), most_bytes, longest_pause_s)
    scope: dict[str, Any] = {"type": "http", "path": path}
    asyncio.run(bounded(scope, receive, nobody))
    return read[0]


def in_turn(*messages: Message) -> Callable[[], Awaitable[Message]]:
    left = iter(messages)

    async def receive() -> Message:
        return next(left)

    return receive


def test_a_body_that_fits_is_passed_on() -> None:
    assert run("/v1/x", in_turn(part(60), part(40, more=False))) == 100


def test_a_body_that_is_too_large_is_refused_before_it_is_whole() -> None:
    with pytest.raises(HTTPException) as refused:
        run("/v1/x", in_turn(part(60), part(60)))
    assert refused.value.status_code == 413


def test_a_part_is_not_measured_here() -> None:
    assert run("/_data/parts/x/1", in_turn(part(1000), part(1000, more=False))) == 2000


@pytest.mark.parametrize("path", ["/v1/x", "/_data/parts/x/1"])
def test_a_client_that_stops_sending_is_not_waited_for(path: str) -> None:
    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(HTTPException) as refused:
        run(path, never, longest_pause_s=0.01)
    assert refused.value.status_code == 408


def test_a_client_may_wait_for_its_answer_as_long_as_it_takes() -> None:
    heard: list[str] = []
    messages = in_turn(part(1, more=False), {"type": "http.disconnect"})

    async def slow() -> Message:
        await asyncio.sleep(0.05 if heard else 0.0)
        heard.append("")
        return await messages()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        heard.append((await receive())["type"])

    asyncio.run(Bounded(app, ("/_data",), 100, 0.02)({"type": "http", "path": "/v1/x"}, slow, nobody))
    assert heard[-1] == "http.disconnect"
