"""Webhooks: signed by the Standard Webhooks scheme, tried again with growing pauses, given up in the end."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest

from cluster.metadata.schema import Event
from gateway.webhooks import payload, read_secret, signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_signature_is_the_specifications() -> None:
    # Source: the specification's example of a signed message.
    body = b'{"test": 2432232314}'
    message = "msg_p5jXN8AQM9LWM0D4loKWxJek"
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(read_secret(SECRET), message, 1614265330, body) == expected


def test_a_change_of_body_id_or_time_changes_the_signature() -> None:
    key = read_secret(SECRET)
    made = {signature(key, m, t, b) for m in ("a", "b") for t in (1, 2) for b in (b"x", b"y")}
    assert len(made) == 8
    by_hand = base64.b64encode(hmac.new(key, b"a.1.x", hashlib.sha256).digest()).decode()
    assert f"v1,{by_hand}" in made


@pytest.mark.parametrize("text", ["", "whsec_", "secret", "whsec_!!!", "whsec_" + base64.b64encode(b"x" * 23).decode()])
def test_a_secret_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        read_secret(text)


def test_the_body_tells_what_happened_to_whom() -> None:
    event = Event(id=7, at=0.0, type="video.ready", user_id="ann", video_id="v", job_id=None, body={"status": "READY"})
    assert json.loads(payload(event)) == {
        "type": "video.ready",
        "timestamp": "1970-01-01T00:00:00+00:00",
        "data": {"user_id": "ann", "video_id": "v", "job_id": None, "status": "READY"},
    }
