"""Signatures as Standard Webhooks has them, judged by its own library."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.callbacks.signing import signed_headers

NEW = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OLD = "whsec_" + base64.b64encode(bytes(range(100, 132))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(32)).decode()


def verify(secret: str, body: bytes, headers: dict[str, str]) -> Any:
    return Webhook(secret).verify(body, headers)


def test_the_standards_own_example_gives_its_signature():
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",),
    )

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(body=st.text(max_size=200), key=st.binary(min_size=24, max_size=64))
def test_the_referee_accepts_what_we_sign(body: str, key: bytes):
    secret = "whsec_" + base64.b64encode(key).decode()
    payload = b'{"text": "%s"}' % base64.b64encode(body.encode())

    headers = signed_headers("msg_1", int(time.time()), payload, (secret,))

    assert list(verify(secret, payload, headers)) == ["text"]


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_while_a_secret_rotates_receivers_may_know_either(secret: str):
    headers = signed_headers("msg_1", int(time.time()), b'{"a":1}', (NEW, OLD))

    assert headers["webhook-signature"].count("v1,") == 2
    assert verify(secret, b'{"a":1}', headers) == {"a": 1}


@pytest.mark.parametrize(
    ("secret", "body", "change"),
    [
        (OTHER, b'{"a":1}', {}),
        (NEW, b'{"a":2}', {}),
        (NEW, b'{"a":1} ', {}),
        (NEW, b'{"a":1}', {"webhook-id": "msg_2"}),
        (NEW, b'{"a":1}', {"webhook-timestamp": str(int(time.time()) + 1)}),
    ],
)
def test_the_referee_refuses_anything_changed(secret: str, body: bytes, change: dict[str, str]):
    headers = signed_headers("msg_1", int(time.time()), b'{"a":1}', (NEW,))

    with pytest.raises(WebhookVerificationError):
        verify(secret, body, {**headers, **change})


def test_an_old_signature_does_not_pass_again():
    headers = signed_headers("msg_1", int(time.time()) - 600, b'{"a":1}', (NEW,))

    with pytest.raises(WebhookVerificationError):
        verify(NEW, b'{"a":1}', headers)
