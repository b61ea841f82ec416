"""fal's queue: three addresses in one task id, and never another host (providers/others.md A)."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from gateway.domain.errors import Blame, Sent
from gateway.domain.upstream import Accepted, Cancelled, Delivered, Job, Running, UpstreamImage
from tests.upstreams.support import (
    FIELD,
    KEY,
    KITE,
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

BASE = "https://queue.fal.run"
T2I = "wan2.5-t2i-preview"
ROOT = "/fal-ai/wan-25-preview/requests/6b1e"
TASK = f"{ROOT} {ROOT}/status {ROOT}/cancel"
ACCEPTED = {
    "request_id": "6b1e",
    "response_url": f"{BASE}{ROOT}",
    "status_url": f"{BASE}{ROOT}/status",
    "cancel_url": f"{BASE}{ROOT}/cancel",
    "queue_position": 2,
}


@pytest.mark.parametrize(
    ("sent", "path", "body"),
    [
        (
            job("fal", T2I),
            "/fal-ai/wan-25-preview/text-to-image",
            {
                "prompt": "Paper lanterns",
                "image_size": {"width": 1280, "height": 1280},
                "num_images": 1,
            },
        ),
        (
            job(
                "fal",
                T2I,
                n=4,
                size=size("1440x1440"),
                negative_prompt="text",
                seed=0,
                rewrite_prompt=False,
            ),
            "/fal-ai/wan-25-preview/text-to-image",
            {
                "prompt": "Paper lanterns",
                "negative_prompt": "text",
                "image_size": {"width": 1440, "height": 1440},
                "num_images": 4,
                "seed": 0,
                "enable_prompt_expansion": False,
            },
        ),
        (
            job("fal", "wan2.5-i2i-preview", images=pictures(KITE, FIELD), size=size("960x960")),
            "/fal-ai/wan-25-preview/image-to-image",
            {
                "prompt": "Paper lanterns",
                "image_urls": [KITE, FIELD],
                "image_size": {"width": 960, "height": 960},
                "num_images": 1,
            },
        ),
        (
            job("fal", "wan2.6-t2i", watermark=False),
            "/wan/v2.6/text-to-image",
            {
                "prompt": "Paper lanterns",
                "image_size": {"width": 1280, "height": 1280},
                "num_images": 1,
            },
        ),
    ],
)
async def test_a_job_becomes_exactly_these_arguments(sent: Job, path: str, body: Any) -> None:
    request = await wire(sent, ACCEPTED)
    assert str(request.url) == BASE + path
    assert json.loads(request.content) == body
    assert request.headers["authorization"] == f"Key {KEY}"


async def test_the_task_id_holds_the_addresses_as_given() -> None:
    given = ACCEPTED | {"response_url": f"{BASE}/elsewhere/9", "status_url": f"{BASE}/s/9?logs=1"}
    answer = await adapter_at(Vendor([says(given)]), "fal").submit(job("fal", T2I))
    assert answer == Accepted(f"/elsewhere/9 /s/9 {ROOT}/cancel")


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/requests/6b1e",
        "https://queue.fal.run.evil.example/requests/6b1e",
        "https://queue.fal.run@evil.example/requests/6b1e",
        "http://queue.fal.run/requests/6b1e",
        "https://queue.fal.run:8443/requests/6b1e",
        "https://queue.fal.run/../admin",
        "//evil.example/requests/6b1e",
        "/requests/6b1e",
        "https://queue.fal.run/" + "x" * 600,
        "https://queue.fal.run:port/requests/6b1e",
        7,
        None,
    ],
)
async def test_an_address_elsewhere_is_replaced_by_the_documented_one(address: object) -> None:
    given = ACCEPTED | dict.fromkeys(("response_url", "status_url", "cancel_url"), address)
    answer = await adapter_at(Vendor([says(given)]), "fal").submit(job("fal", T2I))
    assert answer == Accepted(TASK)


async def test_a_base_url_with_a_path_keeps_its_path() -> None:
    base = "https://relay.example.net/fal"
    given = ACCEPTED | {"response_url": f"{base}/q/6b1e", "status_url": f"{BASE}/q/6b1e/status"}
    vendor = Vendor([says(given), says({"status": "IN_QUEUE"})])
    adapter = adapter_at(vendor, "fal", base_url=base)
    answer = await adapter.submit(job("fal", T2I))
    assert answer == Accepted(f"/q/6b1e {ROOT}/status {ROOT}/cancel")
    assert await adapter.poll(answer.upstream_task_id) == Running(queued=True)
    assert str(vendor.last.url) == f"{base}{ROOT}/status?logs=0"


PICTURE = {"url": "https://v3.fal.media/1.png", "width": 1280, "content_type": "image/png"}


async def test_a_running_request_is_asked_for_its_status_only() -> None:
    vendor = Vendor([says({"status": "IN_QUEUE"}), says({"status": "IN_PROGRESS", "logs": None})])
    adapter = adapter_at(vendor, "fal")
    assert await adapter.poll(TASK) == Running(queued=True)
    assert await adapter.poll(TASK) == Running()
    assert [str(call.url) for call in vendor.calls] == [f"{BASE}{ROOT}/status?logs=0"] * 2


async def test_a_completed_request_is_fetched_from_its_response_address() -> None:
    result = {"images": [PICTURE, {"url": "https://v3.fal.media/2.png"}], "seed": 1}
    vendor = Vendor([says({"status": "COMPLETED"}), says(result)])
    assert await adapter_at(vendor, "fal").poll(TASK) == Delivered(
        (
            UpstreamImage("https://v3.fal.media/1.png", media_type="image/png"),
            UpstreamImage("https://v3.fal.media/2.png"),
        )
    )
    assert str(vendor.last.url) == BASE + ROOT


async def test_a_picture_without_a_link_counts_as_failed() -> None:
    result = {"images": [PICTURE, {"width": 1280}]}
    vendor = Vendor([says({"status": "COMPLETED"}), says(result)])
    delivered = await adapter_at(vendor, "fal").poll(TASK)
    assert isinstance(delivered, Delivered)
    assert (len(delivered.images), delivered.failed) == (1, 1)


@pytest.mark.parametrize("word", ["request_cancelled", "client_cancelled"])
async def test_a_cancelled_request_completes_with_an_error(word: str) -> None:
    ended = {"status": "COMPLETED", "error": "request was cancelled", "error_type": word}
    assert await adapter_at(Vendor([says(ended)]), "fal").poll(TASK) == Cancelled()


FLAGGED = {"detail": [{"loc": ["body"], "msg": "flagged", "type": "content_policy_violation"}]}


@pytest.mark.parametrize(
    ("status", "result", "blame", "code"),
    [
        # The status names the fault; the result's HTTP status says whose it is.
        (
            {"error": "content flagged", "error_type": "content_policy_violation"},
            says(FLAGGED, 422),
            Blame.CALLER,
            "content_policy_violation",
        ),
        (
            {"error": "bad size", "error_type": "value_error"},
            says({}, 422),
            Blame.CALLER,
            "value_error",
        ),
        ({"error": "crash", "error_type": "oom"}, says({}, 500), Blame.PROVIDER, "oom"),
        ({"error": "crash"}, says({"images": [PICTURE]}), Blame.PROVIDER, "task_failed"),
        ({"error": "crash", "error_type": "oom"}, says({}, 401), Blame.PROVIDER, "oom"),
        ({"error": "content flagged"}, httpx.Response(502), Blame.PROVIDER, "task_failed"),
        # The status knows nothing of it.
        ({}, says(FLAGGED, 422), Blame.CALLER, "content_policy_violation"),
        ({}, says({"detail": "boom"}, 500), Blame.PROVIDER, "task_failed"),
        (
            {},
            says({"detail": "late"}, 504, x_fal_request_timeout_type="user"),
            Blame.PROVIDER,
            "task_failed",
        ),
        (
            {},
            says({"detail": "busy"}, 503, x_fal_error_type="downstream_service_unavailable"),
            Blame.PROVIDER,
            "downstream_service_unavailable",
        ),
    ],
)
async def test_a_failed_request_ends_the_attempt_with_its_blame(
    status: dict[str, Any], result: httpx.Response, blame: Blame, code: str
) -> None:
    ended = says({"status": "COMPLETED", **status})
    error = await poll_error("fal", ended, result, task_id=TASK)
    assert (error.blame, error.sent, error.code) == (blame, Sent.REFUSED, code)


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (httpx.Response(404), "task_unknown"),
        (httpx.Response(401), "unreadable_answer"),
        (httpx.Response(429), "unreadable_answer"),
        # fal's door, not the model: no request id.
        (httpx.Response(502), "unreadable_answer"),
        (httpx.Response(503), "unreadable_answer"),
        (httpx.ReadTimeout("slow"), "timeout"),
    ],
)
async def test_a_result_that_cannot_be_fetched_is_asked_for_again(
    result: httpx.Response | Exception, code: str
) -> None:
    error = await poll_error("fal", says({"status": "COMPLETED"}), result, task_id=TASK)
    assert (error.sent, error.code) == (Sent.NO, code)


async def test_a_result_that_is_not_ready_yet_is_still_running() -> None:
    vendor = Vendor(
        [says({"status": "COMPLETED"}), says({"detail": "Request is still in progress."}, 400)]
    )
    assert await adapter_at(vendor, "fal").poll(TASK) == Running()


@pytest.mark.parametrize("task_id", ["", "6b1e", "/a /b", "/a /b /c /d"])
async def test_a_task_id_that_is_not_ours_is_unknown(task_id: str) -> None:
    error = await poll_error("fal", task_id=task_id)
    assert (error.sent, error.code) == (Sent.NO, "task_unknown")


@pytest.mark.parametrize(
    ("answers", "confirmed"),
    [
        # Removed from the queue: it is not known any more, or known as cancelled.
        ([says({"status": "CANCELLATION_REQUESTED"}, 202), httpx.Response(404)], True),
        (
            [
                says({"status": "CANCELLATION_REQUESTED"}, 202),
                says({"status": "COMPLETED", "error": "x", "error_type": "request_cancelled"}),
            ],
            True,
        ),
        # Running: only a signal.
        (
            [says({"status": "CANCELLATION_REQUESTED"}, 202), says({"status": "IN_PROGRESS"})],
            False,
        ),
        ([says({"status": "CANCELLATION_REQUESTED"}, 202), httpx.ReadTimeout("slow")], False),
        ([says({"status": "ALREADY_COMPLETED"}, 400)], False),
        ([says({"status": "NOT_FOUND"}, 404)], False),
    ],
)
async def test_a_cancel_counts_only_when_the_request_left_the_queue(
    answers: list[httpx.Response | Exception], confirmed: bool
) -> None:
    vendor = Vendor(answers)
    assert await adapter_at(vendor, "fal").cancel(TASK) is confirmed
    assert (vendor.calls[0].method, str(vendor.calls[0].url)) == ("PUT", f"{BASE}{ROOT}/cancel")


@pytest.mark.parametrize(
    ("status", "blame", "scope", "sent"),
    [
        (401, Blame.ACCOUNT, "upstream", Sent.REFUSED),
        (402, Blame.ACCOUNT, "upstream", Sent.REFUSED),
        (403, Blame.ACCOUNT, "upstream", Sent.REFUSED),
        (404, Blame.ACCOUNT, "model", Sent.REFUSED),
        (422, Blame.CALLER, "upstream", Sent.REFUSED),
        (429, Blame.RATE, "upstream", Sent.REFUSED),
        (500, Blame.PROVIDER, "upstream", Sent.REFUSED),
        (502, Blame.PROVIDER, "upstream", Sent.UNKNOWN),
        (503, Blame.PROVIDER, "upstream", Sent.REFUSED),
        (504, Blame.PROVIDER, "upstream", Sent.UNKNOWN),
    ],
)
@pytest.mark.parametrize(
    "detail", ["No.", [{"loc": ["body", "prompt"], "msg": "No.", "type": "value_error"}]]
)
async def test_a_refused_submit_has_its_blame(
    detail: Any, status: int, blame: Blame, scope: str, sent: Sent
) -> None:
    error = await submit_error(job("fal", T2I), says({"detail": detail}, status))
    assert (error.blame, error.scope, error.sent, error.message) == (blame, scope, sent, "No.")


async def test_an_answer_without_a_request_id_leaves_the_outcome_unknown() -> None:
    error = await submit_error(job("fal", T2I), says({"status_url": f"{BASE}{ROOT}/status"}))
    assert (error.blame, error.sent) == (Blame.PROVIDER, Sent.UNKNOWN)
