"""The calls below every adapter: what a failure says about money, and what never leaks."""

from __future__ import annotations

import asyncio
import json
import traceback
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.domain.errors import Blame, Sent, UpstreamError
from gateway.domain.model import Secret
from gateway.upstreams import _http, build
from gateway.upstreams._http import retry_after_s
from tests.upstreams.support import (
    ATTEMPT_ID,
    KEY,
    NOW_S,
    TableClient,
    Vendor,
    adapter_at,
    job,
    poll_error,
    says,
    submit_error,
    upstream,
)

JOB = job("evolink", "wan2.5-t2i-preview")
ACCEPTED = {"id": "task-1", "status": "pending"}

NEVER_SENT = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("slow"),
    httpx.PoolTimeout("busy"),
    httpx.UnsupportedProtocol("gopher"),
]
MAYBE_SENT = [
    httpx.ReadTimeout("slow"),
    httpx.WriteTimeout("slow"),
    httpx.ReadError("reset"),
    httpx.WriteError("reset"),
    httpx.RemoteProtocolError("closed"),
    httpx.LocalProtocolError("odd"),
    httpx.DecodingError("gzip"),
    httpx.CloseError("odd"),
    TimeoutError(),
    ConnectionResetError(),
]


def named(error: Exception) -> str:
    return type(error).__name__


@pytest.mark.parametrize("failure", NEVER_SENT, ids=named)
async def test_without_a_connection_nothing_was_sent(failure: Exception) -> None:
    error = await submit_error(JOB, failure)
    assert (error.blame, error.sent, error.code) == (Blame.PROVIDER, Sent.NO, "unreachable")


@pytest.mark.parametrize("failure", MAYBE_SENT, ids=named)
async def test_a_lost_connection_leaves_the_outcome_unknown(failure: Exception) -> None:
    error = await submit_error(JOB, failure)
    assert (error.blame, error.sent) == (Blame.PROVIDER, Sent.UNKNOWN)
    assert error.code in ("timeout", "connection_lost")


@pytest.mark.parametrize("failure", [*NEVER_SENT, *MAYBE_SENT], ids=named)
async def test_a_failed_query_is_only_a_failed_query(failure: Exception) -> None:
    error = await poll_error("evolink", failure)
    assert (error.blame, error.sent) == (Blame.PROVIDER, Sent.NO)


class Broken(httpx.AsyncByteStream):
    """A body that breaks off."""

    async def __aiter__(self) -> Any:
        yield b'{"id": "task'
        raise httpx.ReadError("reset")


HTML = b"<html><h1>502 Bad Gateway</h1></html>"


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        # A good status that cannot be read: the vendor took it, and its id is lost.
        (httpx.Response(200, content=b'{"id": "task-'), Sent.UNKNOWN),
        (httpx.Response(200, content=b""), Sent.UNKNOWN),
        (httpx.Response(204), Sent.UNKNOWN),
        (httpx.Response(200, content=b"[]"), Sent.UNKNOWN),
        (httpx.Response(200, content=b'"task-1"'), Sent.UNKNOWN),
        (httpx.Response(200, content=b"\xff\xfe"), Sent.UNKNOWN),
        (httpx.Response(200, content=HTML), Sent.UNKNOWN),
        (httpx.Response(200, stream=Broken()), Sent.UNKNOWN),
        (httpx.Response(200, content=b" " * (1024 * 1024 + 1)), Sent.UNKNOWN),
        # A proxy that gave up waiting, or its page.
        (says({"error": {"message": "late"}}, 408), Sent.UNKNOWN),
        (says({"error": {"message": "late"}}, 502), Sent.UNKNOWN),
        (says({"error": {"message": "late"}}, 504), Sent.UNKNOWN),
        (httpx.Response(500, content=HTML), Sent.UNKNOWN),
        (httpx.Response(502, content=HTML), Sent.UNKNOWN),
        (httpx.Response(504, content=HTML), Sent.UNKNOWN),
        (httpx.Response(520, content=HTML), Sent.UNKNOWN),
        (httpx.Response(524, content=HTML), Sent.UNKNOWN),
        # Somebody who answered for himself.
        (says({"error": {"message": "broken"}}, 500), Sent.REFUSED),
        (says({"error": {"message": "closed"}}, 503), Sent.REFUSED),
        (httpx.Response(503, content=HTML), Sent.REFUSED),
        (httpx.Response(301, headers={"location": "https://evil.example/"}), Sent.REFUSED),
        (httpx.Response(405, content=HTML), Sent.REFUSED),
    ],
)
async def test_what_an_odd_answer_says_about_money(answer: httpx.Response, sent: Sent) -> None:
    error = await submit_error(JOB, answer)
    assert (error.blame, error.sent) == (Blame.PROVIDER, sent)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, content=b"garbage"),
        httpx.Response(200, content=b"[]"),
        httpx.Response(200, content=b" " * (1024 * 1024 + 1)),
        httpx.Response(400, content=b"{}"),
        httpx.Response(401, content=HTML),
        httpx.Response(500, content=HTML),
        httpx.Response(504),
        httpx.Response(302, headers={"location": "https://evil.example/"}),
    ],
)
async def test_no_odd_answer_to_a_query_ends_a_task(answer: httpx.Response) -> None:
    assert (await poll_error("evolink", answer)).sent is Sent.NO


async def test_a_redirect_is_not_followed() -> None:
    vendor = Vendor([httpx.Response(307, headers={"location": "https://evil.example/"})])
    with pytest.raises(UpstreamError):
        await adapter_at(vendor, "evolink").submit(JOB)
    assert len(vendor.calls) == 1


async def test_a_paid_call_is_never_repeated() -> None:
    vendor = Vendor([httpx.ReadTimeout("slow"), says(ACCEPTED)])
    with pytest.raises(UpstreamError):
        await adapter_at(vendor, "evolink").submit(JOB)
    assert len(vendor.calls) == 1


async def test_an_answer_that_drips_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dripping(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            while True:
                yield b" "
                await asyncio.sleep(0.01)

    monkeypatch.setattr(_http, "GRACE_S", 0.0)
    vendor = Vendor([httpx.Response(200, stream=Dripping())])
    with pytest.raises(UpstreamError) as raised:
        await adapter_at(vendor, "evolink", submit_timeout_ms=50).submit(JOB)
    assert (raised.value.sent, raised.value.code) == (Sent.UNKNOWN, "timeout")


async def test_cancelling_the_worker_is_not_an_upstream_error() -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        return await asyncio.Future()

    client = TableClient(never)
    submitting = asyncio.create_task(build(upstream("evolink"), client, lambda: NOW_S).submit(JOB))
    await asyncio.sleep(0)
    submitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submitting


@pytest.mark.parametrize(
    ("adapter", "model", "protocol", "read_s"),
    [
        ("evolink", "wan2.5-t2i-preview", None, 7.0),
        ("dashscope", "wan2.7-image", "image-generation", 7.0),
        ("modelverse", "wan2.7-image", "tasks", 7.0),
        # The answer is the pictures: the vendor itself takes up to 300 s.
        ("dashscope", "wan2.7-image", "multimodal-generation", 310.0),
        ("modelverse", "wan2.7-image", "images", 310.0),
        ("openai", "gpt-image-1.5", None, 310.0),
    ],
)
async def test_blocking_calls_wait_longer(
    adapter: str, model: str, protocol: str | None, read_s: float
) -> None:
    vendor = Vendor([httpx.ConnectError("no")])
    with pytest.raises(UpstreamError):
        await adapter_at(vendor, adapter, submit_timeout_ms=7000).submit(
            job(adapter, model, protocol=protocol)
        )
    timeout = vendor.last.extensions["timeout"]
    assert timeout["read"] == read_s
    assert timeout["connect"] == timeout["pool"] == 5.0


# --- when to come back ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "Fri, 20 Nov 2026 10:20:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 20 Nov 2026 10:19:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 20 Nov 2026 10:20:30 -0000"}, 30.0),
        ({"retry-after": "99999999"}, 86_400.0),
        ({"retry-after": "inf"}, 86_400.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "next Tuesday"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(httpx.Headers(headers), now_s=1_795_170_000) == wait_s


async def test_the_vendors_own_time_beats_the_tables() -> None:
    limited = {"code": "Throttling", "message": "slow"}
    sent = job("dashscope", "wan2.5-t2i-preview")
    assert (await submit_error(sent, says(limited, 429))).retry_after_s == 1.0
    assert (await submit_error(sent, says(limited, 429, retry_after="6"))).retry_after_s == 6.0


# --- what never leaks ----------------------------------------------------------------------


def everything(error: BaseException) -> str:
    """What any log or trace could show of an error: text, attributes, causes, locals."""
    shown = traceback.TracebackException.from_exception(error)
    chain: list[BaseException | None] = [error, error.__cause__, error.__context__]
    return "".join(shown.format()) + repr([(e, vars(e)) for e in chain if e is not None])


@pytest.mark.parametrize(
    "answer",
    [
        says({"error": {"code": KEY, "message": f"Incorrect API key {KEY}.", "type": "t"}}, 401),
        says({"error": {"code": "x", "message": "no", "request_id": f"r-{KEY}"}}, 500),
        httpx.ConnectError(f"authorization: Bearer {KEY}"),
        httpx.ReadTimeout(f"authorization: Bearer {KEY}"),
    ],
)
async def test_our_key_is_in_no_error(answer: httpx.Response | Exception) -> None:
    error = await submit_error(JOB, answer)
    assert KEY not in everything(error)


@pytest.mark.parametrize("key", ["sk-🔑-not-ascii-key", "sk-two\nlines", "sk-two\r\nx: y"])
async def test_a_key_no_header_can_carry_sends_nothing_and_is_not_shown(key: str) -> None:
    vendor = Vendor([says(ACCEPTED)])
    client = TableClient(vendor.answer)
    keyed = replace(upstream("evolink"), api_key=Secret(key))
    adapter = build(keyed, client, lambda: NOW_S)
    for call in (adapter.submit(JOB), adapter.poll("t1")):
        with pytest.raises(UpstreamError) as raised:
            await call
        assert (raised.value.sent, raised.value.code) == (Sent.NO, "unsendable")
        assert "sk-" not in everything(raised.value)
    assert not vendor.calls


async def test_the_secret_half_of_a_two_part_key_is_scrubbed_too() -> None:
    vendor = Vendor([says({"detail": "bad secret 0123456789abcdef"}, 401)])
    client = TableClient(vendor.answer)
    fal = replace(upstream("fal"), api_key=Secret("my-id:0123456789abcdef"))
    with pytest.raises(UpstreamError) as raised:
        await build(fal, client, lambda: NOW_S).submit(job("fal", "wan2.5-t2i-preview"))
    assert raised.value.message == "bad secret ***"


async def test_a_vendors_sentence_is_one_line_of_at_most_500_characters() -> None:
    body = {"error": {"code": "x", "message": "a\n\tb\x00c " + "很" * 600}}
    message = (await submit_error(JOB, says(body, 400))).message
    assert message.startswith("a b c 很")
    assert len(message) == 500


async def test_a_lone_surrogate_in_a_prompt_can_be_sent() -> None:
    vendor = Vendor([says(ACCEPTED)])
    await adapter_at(vendor, "evolink").submit(
        job("evolink", "wan2.5-t2i-preview", prompt="half \ud83d of it, 灯笼")
    )
    assert json.loads(vendor.last.content)["prompt"] == "half \ud83d of it, 灯笼"


# --- idempotency and connections -----------------------------------------------------------


async def test_the_attempt_id_goes_where_the_operator_says_it_is_understood() -> None:
    sent = job("openai", "gpt-image-1.5")
    for configured, key in ((True, ATTEMPT_ID), (False, None)):
        vendor = Vendor([says({"data": []})])
        with pytest.raises(UpstreamError):
            await adapter_at(vendor, "openai", idempotent_submit=configured).submit(sent)
        assert vendor.last.headers.get("idempotency-key") == key


async def test_a_closed_adapter_sends_nothing() -> None:
    vendor = Vendor([says(ACCEPTED)])
    adapter = adapter_at(vendor, "evolink")
    await adapter.aclose()
    with pytest.raises(UpstreamError) as raised:
        await adapter.submit(JOB)
    assert (raised.value.sent, vendor.calls) == (Sent.NO, [])
