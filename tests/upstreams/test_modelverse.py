"""Modelverse: the blocking call, tasks, and DashScope's words inside (providers/modelverse.md)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from gateway.domain.errors import Blame, Sent
from gateway.domain.upstream import Accepted, Cancelled, Delivered, Job, Running, UpstreamImage
from tests.upstreams.support import (
    DAY,
    FIELD,
    KITE,
    NOW_S,
    Vendor,
    adapter_at,
    job,
    pictures,
    poll_error,
    says,
    size,
    submit_error,
    wire,
)

BASE = "https://api.modelverse.cn/v1"
M, PRO = "wan2.7-image", "wan2.7-image-pro"
ACCEPTED = {"output": {"task_id": "0b1d5c9e"}, "request_id": "req_2026"}
PICTURES = {"created": 1_795_170_100, "data": [{"url": "https://cdn/1.png"}]}
PNG = b"\x89PNG\r\n\x1a\n and the rest"


def task(model: str, source: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    return {"model": model, "input": source, "parameters": parameters}


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        # The vendor's default is not to think, the model's is: so it is said (D5, R14).
        (
            job("modelverse", M),
            task(M, {"prompt": "Paper lanterns"}, size="2K", n=1, prompt_extend=True),
        ),
        (
            job("modelverse", PRO, tier="4K", thinking=False, seed=7, watermark=True, n=4),
            task(
                PRO,
                {"prompt": "Paper lanterns"},
                size="4K",
                n=4,
                seed=7,
                watermark=True,
                prompt_extend=False,
            ),
        ),
        (
            job("modelverse", M, size=size("1024x1024")),
            task(M, {"prompt": "Paper lanterns"}, size="1024x1024", n=1, prompt_extend=True),
        ),
        # Thinking has no effect with pictures or in a group (R1, R2).
        (
            job("modelverse", M, prompt="", images=pictures(KITE), thinking=True),
            task(M, {"images": [KITE]}, size="2K", n=1),
        ),
        (
            job("modelverse", M, images=pictures(KITE, FIELD), tier="1K"),
            task(M, {"prompt": "Paper lanterns", "images": [KITE, FIELD]}, size="1K", n=1),
        ),
        (
            job("modelverse", PRO, group=True, n=4),
            task(PRO, {"prompt": "Paper lanterns"}, size="2K", n=4, enable_sequential=True),
        ),
        # 0 means unset there: a seed of 0 is not sent as if it meant something (D17).
        (
            job("modelverse", M, seed=0, thinking=True),
            task(M, {"prompt": "Paper lanterns"}, size="2K", n=1, prompt_extend=True),
        ),
    ],
)
async def test_a_job_becomes_exactly_this_task(sent: Job, body: Any) -> None:
    request = await wire(sent, ACCEPTED)
    assert str(request.url) == f"{BASE}/tasks/submit"
    assert json.loads(request.content) == body
    assert "idempotency-key" not in request.headers


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (
            job("modelverse", M, protocol="images"),
            {
                "model": M,
                "prompt": "Paper lanterns",
                "size": "2K",
                "n": 1,
                "thinking_mode": True,
            },
        ),
        (
            # No task takes more than four pictures (D8).
            job("modelverse", PRO, group=True, n=12, seed=3, watermark=False),
            {
                "model": PRO,
                "prompt": "Paper lanterns",
                "size": "2K",
                "n": 12,
                "seed": 3,
                "watermark": False,
                "enable_sequential": True,
            },
        ),
        (
            job("modelverse", M, protocol="images", images=pictures(KITE, FIELD), n=2),
            {
                "model": M,
                "prompt": "Paper lanterns",
                "images": [KITE, FIELD],
                "size": "2K",
                "n": 2,
            },
        ),
        (
            # A model without a count, and without the features of wan2.7.
            job("modelverse", "qwen-image", watermark=False, seed=5),
            {
                "model": "Qwen/Qwen-Image",
                "prompt": "Paper lanterns",
                "size": "1328x1328",
                "seed": 5,
            },
        ),
    ],
)
async def test_a_job_becomes_exactly_this_blocking_call(sent: Job, body: Any) -> None:
    request = await wire(sent, PICTURES)
    assert str(request.url) == f"{BASE}/images/generations"
    assert json.loads(request.content) == body


@pytest.mark.parametrize(
    ("data", "images", "failed"),
    [
        (
            [{"url": "https://cdn/1.png"}],
            [UpstreamImage("https://cdn/1.png", None, NOW_S + DAY)],
            0,
        ),
        (
            [{"b64_json": base64.b64encode(PNG).decode()}],
            [UpstreamImage(content=PNG, media_type="image/png")],
            0,
        ),
        (
            [
                {
                    "url": "https://cdn/1.png",
                    "b64_json": "data:image/png;base64," + base64.b64encode(PNG).decode(),
                }
            ],
            [UpstreamImage("https://cdn/1.png", PNG, NOW_S + DAY, media_type="image/png")],
            0,
        ),
        (
            [{"url": "https://cdn/1.png"}, {"b64_json": "?"}],
            [UpstreamImage("https://cdn/1.png", None, NOW_S + DAY)],
            1,
        ),
    ],
)
async def test_a_blocking_call_delivers_links_base64_or_both(
    data: list[dict[str, Any]], images: list[UpstreamImage], failed: int
) -> None:
    vendor = Vendor([says({"created": 1, "data": data})])
    answer = await adapter_at(vendor, "modelverse").submit(job("modelverse", M, protocol="images"))
    assert answer == Delivered(tuple(images), failed)


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        # An empty list: nothing was made, so nothing is billed.
        ({"created": 1, "data": []}, Sent.REFUSED),
        ({"created": 1}, Sent.UNKNOWN),
        ({"created": 1, "data": [{"b64_json": "?"}]}, Sent.UNKNOWN),
    ],
)
async def test_a_blocking_answer_without_pictures(body: dict[str, Any], sent: Sent) -> None:
    error = await submit_error(job("modelverse", M, protocol="images"), says(body))
    assert (error.blame, error.sent) == (Blame.PROVIDER, sent)


@pytest.mark.parametrize(
    "body", [ACCEPTED, {"task_id": "0b1d5c9e"}, {"data": {"task_id": "0b1d5c9e"}}]
)
async def test_the_task_id_is_found_wherever_it_is(body: dict[str, Any]) -> None:
    answer = await adapter_at(Vendor([says(body)]), "modelverse").submit(job("modelverse", M))
    assert answer == Accepted("0b1d5c9e")


def status(word: str, **output: Any) -> dict[str, Any]:
    return {"output": {"task_id": "t1", "task_status": word, **output}, "request_id": ""}


LINKS = ["https://cdn/s1.png", "https://cdn/s2.png"]


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (status("Pending"), Running(queued=True)),
        (status("Running"), Running()),
        (status("Waiting"), Running()),
        (status("Cancelled"), Cancelled()),
        (status("canceled"), Cancelled()),
        (
            status("Success", urls=LINKS, finish_time=NOW_S - 2),
            Delivered(tuple(UpstreamImage(u, expires_at=NOW_S - 2 + DAY) for u in LINKS)),
        ),
        (
            status("succeeded", urls=LINKS[:1]),
            Delivered((UpstreamImage(LINKS[0], expires_at=NOW_S + DAY),)),
        ),
        (
            status("completed", urls=LINKS[:1]),
            Delivered((UpstreamImage(LINKS[0], expires_at=NOW_S + DAY),)),
        ),
    ],
)
async def test_every_state_of_a_task(body: dict[str, Any], answer: object) -> None:
    vendor = Vendor([says(body)])
    assert await adapter_at(vendor, "modelverse").poll("t1") == answer
    assert str(vendor.last.url) == f"{BASE}/tasks/status?task_id=t1"


@pytest.mark.parametrize(
    ("text", "blame", "code", "message"),
    [
        (
            "code=DataInspectionFailed, message=output image rejected",
            Blame.CALLER,
            "DataInspectionFailed",
            "output image rejected",
        ),
        (
            "code=InvalidParameter, message=size, n\nand more",
            Blame.CALLER,
            "InvalidParameter",
            "size, n and more",
        ),
        ("code=Throttling.RateQuota, message=slow", Blame.RATE, "Throttling.RateQuota", "slow"),
        ("code=Arrearage, message=unpaid", Blame.ACCOUNT, "Arrearage", "unpaid"),
        ("code=InternalError.Algo,message=", Blame.PROVIDER, "InternalError.Algo", None),
        ("the model fell over", Blame.PROVIDER, "upstream_failed", "the model fell over"),
        ("", Blame.PROVIDER, "upstream_failed", None),
    ],
)
@pytest.mark.parametrize("word", ["Failure", "failed"])
async def test_a_failed_task_is_judged_by_the_words_in_its_text(
    word: str, text: str, blame: Blame, code: str, message: str | None
) -> None:
    error = await poll_error("modelverse", says(status(word, error_message=text)))
    assert (error.blame, error.sent, error.code) == (blame, Sent.REFUSED, code)
    assert error.message == (message or f"The upstream answered {code}.")


@pytest.mark.parametrize(
    ("http_status", "kind", "code", "blame", "scope", "sent"),
    [
        (400, "invalid_request_error", "param_error", Blame.CALLER, "upstream", Sent.REFUSED),
        (400, "invalid_request_error", "invalid_messages", Blame.CALLER, "upstream", Sent.REFUSED),
        (
            400,
            "invalid_request_error",
            "sensitive_check_error",
            Blame.CALLER,
            "upstream",
            Sent.REFUSED,
        ),
        (400, "invalid_request_error", "tokens_too_long", Blame.CALLER, "upstream", Sent.REFUSED),
        # Three that say invalid_request_error and mean something else.
        (400, "invalid_request_error", "model_error", Blame.ACCOUNT, "model", Sent.REFUSED),
        (400, "invalid_request_error", "websearch_error", Blame.PROVIDER, "upstream", Sent.REFUSED),
        (401, "invalid_request_error", "auth_error", Blame.ACCOUNT, "upstream", Sent.REFUSED),
        (403, "permission_error", "forbidden", Blame.ACCOUNT, "upstream", Sent.REFUSED),
        (408, "timeout", "timeout", Blame.PROVIDER, "upstream", Sent.UNKNOWN),
        (429, "rate_limit_error", "rate_limit", Blame.RATE, "upstream", Sent.REFUSED),
        (500, "internal_error", "internal_error", Blame.PROVIDER, "upstream", Sent.REFUSED),
        (500, "internal_error", "model_server_error", Blame.PROVIDER, "upstream", Sent.REFUSED),
        (504, "timeout", "gateway_timeout_error", Blame.PROVIDER, "upstream", Sent.UNKNOWN),
    ],
)
@pytest.mark.parametrize("protocol", ["tasks", "images"])
async def test_a_refused_submit_has_its_blame(
    protocol: str,
    http_status: int,
    kind: str,
    code: str,
    blame: Blame,
    scope: str,
    sent: Sent,
) -> None:
    body = {"error": {"message": "No", "type": kind, "param": "req_77", "code": code}}
    error = await submit_error(job("modelverse", M, protocol=protocol), says(body, http_status))
    assert (error.blame, error.scope, error.sent, error.code) == (blame, scope, sent, code)
    # The vendor's param is its request id.
    assert error.upstream_request_id == "req_77"


async def test_a_task_the_vendor_calls_a_wrong_parameter_is_unknown() -> None:
    body = {"error": {"message": "task not found", "type": "", "param": "r", "code": "param_error"}}
    error = await poll_error("modelverse", says(body, 400))
    assert (error.sent, error.code) == (Sent.NO, "task_unknown")


async def test_any_other_refused_query_is_repeated() -> None:
    body = {"error": {"message": "Unsupported", "param": "r", "code": "param_error"}}
    error = await poll_error("modelverse", says(body, 400))
    assert (error.sent, error.code) == (Sent.NO, "param_error")
