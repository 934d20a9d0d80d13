"""Patience: what is tried again, how long it waits, what it says in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from gateway.client_http import ApiProblem, Backoff, FarmUnreachable, PatientHttp, retry_after_s

Answers = list[httpx.Response | Exception]


class Line:
    """A transport that gives prepared answers, and the pauses between the tries."""

    def __init__(self, answers: Answers, tries: int = 4) -> None:
        self.answers = answers
        self.pauses: list[float] = []
        self.http = PatientHttp(
            httpx.Client(transport=httpx.MockTransport(self._answer)),
            Backoff(tries=tries, first_s=1.0, longest_s=4.0),
            sleep=self.pauses.append,
            chance=lambda: 1.0,
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def send(self) -> httpx.Response:
        return self.http.send(lambda: httpx.Request("GET", "http://farm.example:8080/x"))


def test_pauses_grow_up_to_a_limit() -> None:
    line = Line([httpx.ConnectError("refused"), *(httpx.Response(503) for _ in range(3)), httpx.Response(200)], tries=6)
    assert line.send().status_code == 200
    assert line.pauses == [1.0, 2.0, 4.0, 4.0]


def test_jitter_halves_the_pause_at_most() -> None:
    backoff = Backoff(first_s=1.0, longest_s=10.0)
    assert backoff.pause_s(3, 0.0) == 2.0
    assert backoff.pause_s(3, 0.5) == 3.0


def test_a_server_that_names_a_pause_gets_it() -> None:
    line = Line([httpx.Response(429, headers={"Retry-After": "7"}), httpx.Response(200)])
    line.send()
    assert line.pauses == [7.0]


def test_a_pause_longer_than_people_wait_is_an_error_at_once() -> None:
    line = Line([httpx.Response(429, headers={"Retry-After": "3600"}, json={"title": "Too many uploads started"})])
    with pytest.raises(ApiProblem, match="Too many uploads started"):
        line.send()
    assert line.pauses == []


def test_what_will_not_change_is_not_tried_again() -> None:
    line = Line([httpx.Response(422, json={"title": "Unknown profile", "detail": "no x", "hint": "Leave it out."})])
    with pytest.raises(ApiProblem) as caught:
        line.send()
    assert caught.value.detail == "Unknown profile: no x"
    assert caught.value.status == 422
    assert caught.value.problem.hint == "Leave it out."


def test_fields_that_do_not_fit_are_named() -> None:
    errors = [{"pointer": "/body/title", "detail": "too short"}]
    line = Line([httpx.Response(422, json={"title": "Request does not fit the schema", "errors": errors})])
    with pytest.raises(ApiProblem, match="/body/title: too short"):
        line.send()


def test_an_answer_that_is_no_problem_document_is_named_by_its_status() -> None:
    line = Line([httpx.Response(404, text="<html>")])
    with pytest.raises(ApiProblem, match="404 Not Found"):
        line.send()


def test_nobody_there_names_the_place_and_the_reason() -> None:
    line = Line([httpx.ConnectError("connection refused") for _ in range(4)])
    with pytest.raises(FarmUnreachable, match=r"http://farm\.example:8080 in 4 tries \(connection refused\)"):
        line.send()
    assert len(line.pauses) == 3


def test_the_last_of_all_tries_is_told_as_it_was() -> None:
    line = Line([httpx.Response(503, json={"title": "Farm cannot do this now"}) for _ in range(4)])
    with pytest.raises(ApiProblem, match="Farm cannot do this now"):
        line.send()


def test_each_try_asks_for_a_fresh_request() -> None:
    line = Line([httpx.Response(500), httpx.Response(200)])
    made: Iterator[str] = iter(["http://a.example/1", "http://a.example/2"])
    make: Callable[[], httpx.Request] = lambda: httpx.Request("PUT", next(made))  # noqa: E731 - read as a value
    assert line.http.send(make).request.url.path == "/2"


def test_retry_after_may_be_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < retry_after_s(httpx.Response(503, headers={"Retry-After": later})) <= 30
    assert retry_after_s(httpx.Response(503, headers={"Retry-After": "soon"})) == 0
    assert retry_after_s(httpx.Response(503)) == 0
