"""HTTP with patience: tries again what may succeed later, and turns what will not into an error a person can act on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from encoders.errors import FarmError, Fault

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that another try may better. Source: RFC 9110 section 15; 429 is RFC 6585 section 4."""
LONGEST_WAIT_S = 60.0
"""A server that asks for a longer pause is taken at its word: the error goes to the person."""


class FarmUnreachable(FarmError):
    """Nobody answered at the farm's address, in all tries; what was sent so far is kept and can be resumed."""

    code = "farm_unreachable"
    fault = Fault.INFRASTRUCTURE


class ProblemBody(BaseModel):
    """Problem details as far as they are shown; every member may be missing. Source: RFC 9457 section 3."""

    title: str = ""
    detail: str | None = None
    hint: str | None = None
    code: str = ""
    error_id: str | None = None
    errors: list[dict[str, Any]] = []


class ApiProblem(FarmError):
    """The farm answered, and the answer was no. `status` and `problem` say what, why and what to do."""

    code = "api_problem"
    fault = Fault.CALLER
    status: int = 0
    problem: ProblemBody = ProblemBody()

    @classmethod
    def of(cls, response: httpx.Response) -> ApiProblem:
        """The problem of an unsuccessful response; of one that is no problem document, its status."""
        try:
            problem = ProblemBody.model_validate_json(response.content)
        except ValidationError:
            problem = ProblemBody()
        title = problem.title or f"{response.status_code} {response.reason_phrase}".strip()
        fields = [f"{each.get('pointer', '')}: {each.get('detail', '')}" for each in problem.errors]
        error = cls(": ".join([title, *filter(None, [problem.detail, "; ".join(fields)])]))
        error.status = response.status_code
        error.problem = problem.model_copy(update={"title": title})
        return error


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How often and how patiently something is tried again: exponential, with jitter of a half.

    The defaults go on for 25 to 50 s: a gateway that was killed on a busy machine is back by then.

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
    """

    tries: int = 9
    first_s: float = 0.3
    longest_s: float = 15.0

    def pause_s(self, failures: int, chance: float) -> float:
        """How long to wait after the n-th failure (from 1); `chance` is a random number in [0, 1)."""
        return min(self.longest_s, self.first_s * float(2 ** (failures - 1))) * (0.5 + chance / 2)


class PatientHttp:
    """Sends requests, again if need be.

    Args:
        client: answers or raises `httpx.TransportError`; not closed here.
        sleep, chance: for tests.
    """

    def __init__(
        self,
        client: httpx.Client,
        backoff: Backoff | None = None,
        sleep: Callable[[float], object] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.client = client
        self.backoff = backoff or Backoff()
        self._sleep = sleep
        self._chance = chance

    def pausing_by(self, sleep: Callable[[float], object]) -> PatientHttp:
        """The same, with another way to pause: one that can be cut short."""
        return PatientHttp(self.client, self.backoff, sleep, self._chance)

    def send(self, make: Callable[[], httpx.Request], again: frozenset[int] = RETRIED) -> httpx.Response:
        """Send what `make` returns, and what it returns next when that did not work.

        Args:
            make: called before each try, so that a signed URL can be a fresh one each time.
            again: statuses that are worth another try.

        Returns:
            a successful response, read.

        Raises:
            ApiProblem: a status that will not change, or that did not in all tries.
            FarmUnreachable: no answer in all tries.
        """
        failures = 0
        while True:
            try:
                request = make()
                response = self.client.send(request)
            except httpx.TransportError as error:
                failures += 1
                if failures >= self.backoff.tries:
                    reason = str(error) or type(error).__name__
                    where = f"{error.request.url.scheme}://{error.request.url.netloc.decode()}"
                    raise FarmUnreachable(f"no answer from {where} in {failures} tries ({reason})") from error
                self._sleep(self.backoff.pause_s(failures, self._chance()))
                continue
            if response.is_success:
                return response
            failures += 1
            asked_s = retry_after_s(response)
            if response.status_code not in again or failures >= self.backoff.tries or asked_s > LONGEST_WAIT_S:
                raise ApiProblem.of(response)
            self._sleep(max(asked_s, self.backoff.pause_s(failures, self._chance())))


def retry_after_s(response: httpx.Response) -> float:
    """Seconds that the server asks to wait, 0 when it does not say. Source: RFC 9110 section 10.2.3."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0
