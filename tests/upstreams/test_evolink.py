"""EvoLink: canonical jobs to its wire, its answers to records (providers/evolink.md)."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from gateway.domain.errors import Blame, Sent, UpstreamError
from gateway.domain.upstream import Accepted, Cancelled, Delivered, Running, UpstreamImage
from tests.upstreams.support import (
    ATTEMPT_ID,
    DAY,
    FIELD,
    KEY,
    KITE,
    NOW_S,
    Vendor,
    adapter_at,
    job,
    pictures,
    poll,
    poll_error,
    says,
    size,
    submit_error,
    wire,
)

ACCEPTED = {"id": "task-unified-1795170001-q7m2kd0a", "status": "pending", "progress": 0}
T2I = "wan2.5-t2i-preview"
I2I = "wan2.5-i2i-preview"


@pytest.mark.parametrize(
    ("model", "fields", "body"),
    [
        (
            T2I,
            {},
            {
                "model": "wan2.5-text-to-image",
                "prompt": "Paper lanterns",
                "size": "1280x1280",
                "n": 1,
            },
        ),
        (
            T2I,
            {"n": 4, "size": size("768x768"), "rewrite_prompt": False},
            {
                "model": "wan2.5-text-to-image",
                "prompt": "Paper lanterns",
                "size": "768x768",
                "n": 4,
                "prompt_extend": False,
            },
        ),
        (
            T2I,
            # The defaults of features EvoLink does not know are not sent.
            {"watermark": False, "seed": None, "negative_prompt": None},
            {
                "model": "wan2.5-text-to-image",
                "prompt": "Paper lanterns",
                "size": "1280x1280",
                "n": 1,
            },
        ),
        (
            I2I,
            {"images": pictures(KITE, FIELD), "n": 2},
            {
                "model": "wan2.5-image-to-image",
                "prompt": "Paper lanterns",
                "size": "1280x1280",
                "n": 2,
                "image_urls": [KITE, FIELD],
            },
        ),
    ],
)
async def test_a_job_becomes_exactly_this_json(
    model: str, fields: dict[str, Any], body: dict[str, Any]
) -> None:
    request = await wire(job("evolink", model, **fields), ACCEPTED)
    assert request.method == "POST"
    assert str(request.url) == "https://api.evolink.ai/v1/images/generations"
    assert json.loads(request.content) == body


async def test_a_submit_carries_the_key_and_the_attempt_id() -> None:
    request = await wire(job("evolink", T2I), ACCEPTED)
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["idempotency-key"] == ATTEMPT_ID
    assert request.headers["content-type"] == "application/json"


async def test_a_created_task_is_accepted_under_the_vendors_id() -> None:
    vendor = Vendor([says(ACCEPTED)])
    answer = await adapter_at(vendor, "evolink").submit(job("evolink", T2I))
    assert answer == Accepted("task-unified-1795170001-q7m2kd0a")


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"status": "pending", "progress": 0}, Running(queued=True, progress=0)),
        ({"status": "processing", "progress": 65}, Running(progress=65)),
        ({"status": "PROCESSING"}, Running()),
        ({"status": "polishing"}, Running()),
        ({"status": "cancelled", "error": {"code": "request_cancelled"}}, Cancelled()),
        (
            {"status": "completed", "created": NOW_S - 9, "results": ["https://x/0.png"]},
            Delivered((UpstreamImage("https://x/0.png", expires_at=NOW_S - 9 + DAY),)),
        ),
        (
            {"status": "completed", "results": ["https://x/0.png", "https://x/1.png"]},
            Delivered(
                (
                    UpstreamImage("https://x/0.png", expires_at=NOW_S + DAY),
                    UpstreamImage("https://x/1.png", expires_at=NOW_S + DAY),
                )
            ),
        ),
        (
            {"status": "completed", "result_data": [{"image_url": "https://x/0.png"}]},
            Delivered((UpstreamImage("https://x/0.png", expires_at=NOW_S + DAY),)),
        ),
    ],
)
async def test_every_state_of_a_task(body: dict[str, Any], answer: object) -> None:
    vendor = Vendor([says({"id": "t1", **body})])
    assert await adapter_at(vendor, "evolink").poll("t1") == answer
    assert vendor.last.method == "GET"
    assert str(vendor.last.url) == "https://api.evolink.ai/v1/tasks/t1"


@pytest.mark.parametrize(
    ("code", "blame"),
    [
        *[
            (code, Blame.CALLER)
            for code in (
                "content_policy_violation",
                "invalid_parameters",
                "image_processing_error",
                "image_dimension_mismatch",
                "request_cancelled",
            )
        ],
        *[
            (code, Blame.PROVIDER)
            for code in (
                "generation_failed_no_content",
                "service_error",
                "generation_timeout",
                "resource_exhausted",
                "service_unavailable",
                "resource_not_found",
                "model_unavailable",
                "upstream_error",
                "rate_limited",
                "unknown_error",
                "a_word_nobody_knows",
            )
        ],
        ("quota_exceeded", Blame.RATE),
    ],
)
async def test_a_failed_task_ends_the_attempt_with_its_blame(code: str, blame: Blame) -> None:
    body = {"status": "failed", "type": "image", "error": {"code": code, "message": "It failed."}}
    error = await poll_error("evolink", says(body))
    assert (error.blame, error.sent, error.code) == (blame, Sent.REFUSED, code)
    assert error.message == "It failed."


async def test_a_failed_task_that_gives_no_reason_blames_the_provider() -> None:
    error = await poll_error("evolink", says({"status": "failed", "type": "image"}))
    assert (error.blame, error.sent, error.code) == (Blame.PROVIDER, Sent.REFUSED, "task_failed")


async def test_a_completed_task_without_pictures_is_a_failure() -> None:
    error = await poll_error("evolink", says({"status": "completed", "results": []}))
    assert (error.blame, error.sent, error.code) == (Blame.PROVIDER, Sent.REFUSED, "no_images")


REQUEST_ERRORS: list[tuple[int, str, str, Blame, str]] = [
    *[
        (400, code, "invalid_request_error", Blame.CALLER, "upstream")
        for code in (
            "invalid_parameters",
            "invalid_task_id",
            "content_policy_violation",
            "content_filter",
            "sensitive_content",
            "moderation_blocked",
            "input_moderation_failed",
            "something_new",
        )
    ],
    (401, "key_disabled", "authentication_error", Blame.ACCOUNT, "upstream"),
    (401, "key_expired", "authentication_error", Blame.ACCOUNT, "upstream"),
    *[
        (402, code, "insufficient_quota_error", Blame.ACCOUNT, "upstream")
        for code in (
            "insufficient_quota",
            "insufficient_user_quota",
            "quota_not_enough",
            "account_balance_insufficient",
            "insufficient_token_quota",
            "key_quota_exhausted",
            "token_daily_quota_exceeded",
            "key_daily_quota_exhausted",
        )
    ],
    (403, "key_model_not_allowed", "permission_error", Blame.ACCOUNT, "model"),
    (403, "user_disabled", "permission_error", Blame.ACCOUNT, "upstream"),
    (404, "model_not_found", "not_found_error", Blame.ACCOUNT, "model"),
    (413, "too_large", "request_too_large_error", Blame.CALLER, "upstream"),
    (429, "rate_limited", "rate_limit_error", Blame.RATE, "upstream"),
    (500, "broken", "internal_server_error", Blame.PROVIDER, "upstream"),
    *[
        (503, code, "service_unavailable_error", Blame.PROVIDER, "upstream")
        for code in (
            "no_available_channel",
            "model_unavailable",
            "channel_selection_failed",
            "service_unavailable",
        )
    ],
]


@pytest.mark.parametrize(("status", "code", "kind", "blame", "scope"), REQUEST_ERRORS)
async def test_a_refused_submit_has_its_blame_in_both_envelopes(
    status: int, code: str, kind: str, blame: Blame, scope: str
) -> None:
    word = {"error": {"code": code, "message": "No.", "type": kind}}
    error = await submit_error(job("evolink", T2I), says(word, status))
    assert (error.blame, error.sent, error.scope) == (blame, Sent.REFUSED, scope)
    assert error.code == code


@pytest.mark.parametrize(
    ("status", "kind", "blame"),
    [
        (400, "invalid_request_error", Blame.CALLER),
        (401, "authentication_error", Blame.ACCOUNT),
        (402, "insufficient_quota_error", Blame.ACCOUNT),
        (404, "not_found_error", Blame.ACCOUNT),
        (429, "rate_limit_error", Blame.RATE),
        (500, "internal_server_error", Blame.PROVIDER),
    ],
)
@pytest.mark.parametrize("http_status", [200, None])
async def test_a_numeric_code_counts_as_the_status(
    status: int, kind: str, blame: Blame, http_status: int | None
) -> None:
    number = {"error": {"code": status, "message": "Balance.", "type": kind, "param": None}}
    answer = says(number, http_status or status)
    error = await submit_error(job("evolink", T2I), answer)
    assert (error.blame, error.sent, error.code) == (blame, Sent.REFUSED, kind)


@pytest.mark.parametrize("code", ["idempotency_conflict", "paid_outcome_unknown"])
async def test_a_key_in_dispute_leaves_the_outcome_unknown(code: str) -> None:
    error = await submit_error(job("evolink", T2I), says({"error": {"code": code}}, 409))
    assert (error.blame, error.sent, error.code) == (Blame.PROVIDER, Sent.UNKNOWN, code)
    assert not error.repeatable


async def test_a_bad_gateway_leaves_the_outcome_unknown() -> None:
    body = {"error": {"code": "upstream_error", "message": "Backend.", "type": "upstream_error"}}
    error = await submit_error(job("evolink", T2I), says(body, 502))
    assert (error.blame, error.sent) == (Blame.PROVIDER, Sent.UNKNOWN)
    assert error.repeatable


async def test_a_daily_quota_rests_longer_than_an_empty_purse() -> None:
    daily = {"error": {"code": "key_daily_quota_exhausted", "message": "Tomorrow."}}
    error = await submit_error(job("evolink", T2I), says(daily, 402))
    assert error.retry_after_s == 3600.0


@pytest.mark.parametrize("body", [{}, {"id": ""}, {"id": 7}, {"data": [{"url": "https://x"}]}])
async def test_an_answer_without_an_id_leaves_the_outcome_unknown(body: dict[str, Any]) -> None:
    error = await submit_error(job("evolink", T2I), says(body))
    assert (error.blame, error.sent, error.code) == (
        Blame.PROVIDER,
        Sent.UNKNOWN,
        "unreadable_answer",
    )


@pytest.mark.parametrize("body", [{}, {"status": 3}, {"status": ""}])
async def test_a_poll_that_makes_no_sense_is_repeated(body: dict[str, Any]) -> None:
    error = await poll_error("evolink", says(body))
    assert (error.sent, error.code) == (Sent.NO, "unreadable_answer")


async def test_there_is_nothing_to_cancel_with() -> None:
    assert await adapter_at(Vendor(), "evolink").cancel("t1") is False


async def test_a_strange_task_id_stays_one_segment_of_the_path() -> None:
    vendor = Vendor([httpx.Response(404)])
    with pytest.raises(Exception, match="does not know"):
        await adapter_at(vendor, "evolink").poll("../keys?x=1")
    assert vendor.last.url.raw_path == b"/v1/tasks/..%2Fkeys%3Fx%3D1"


async def test_a_poll_of_an_unknown_task_says_so() -> None:
    error = await poll_error("evolink", says({"error": {"code": "task_not_found"}}, 404))
    assert (error.sent, error.code) == (Sent.NO, "task_unknown")
    assert await poll("evolink", says({"status": "pending"})) == Running(queued=True)


async def test_many_tasks_are_asked_about_in_one_query() -> None:
    done = {"id": "t1", "status": "completed", "results": ["https://x/0.png"], "created": NOW_S}
    failed = {"id": "t2", "status": "failed", "error": {"code": "service_error", "message": "No."}}
    stranger = {"id": "t9", "status": "pending"}
    vendor = Vendor([says({"data": [done, failed, {"id": "t3", "status": "pending"}, stranger]})])
    found = await adapter_at(vendor, "evolink").poll_many(["t1", "t2", "t3", "t4"])
    assert str(vendor.last.url) == "https://api.evolink.ai/v1/tasks/batch"
    assert (vendor.last.method, vendor.body) == ("POST", {"task_ids": ["t1", "t2", "t3", "t4"]})
    assert found["t1"] == Delivered((UpstreamImage("https://x/0.png", expires_at=NOW_S + DAY),))
    error = found["t2"]
    assert isinstance(error, UpstreamError)
    assert (error.blame, error.sent, error.code) == (Blame.PROVIDER, Sent.REFUSED, "service_error")
    assert found["t3"] == Running(queued=True)
    assert set(found) == {"t1", "t2", "t3"}


@pytest.mark.parametrize("status", [404, 405])
async def test_a_relay_without_that_query_answers_about_none(status: int) -> None:
    vendor = Vendor([says({"error": {"message": "no such route"}}, status)])
    assert await adapter_at(vendor, "evolink").poll_many(["t1", "t2"]) == {}


async def test_a_query_about_many_that_failed_says_nothing_about_them() -> None:
    vendor = Vendor([says({"error": {"code": "internal_server_error"}}, 500)])
    with pytest.raises(UpstreamError) as raised:
        await adapter_at(vendor, "evolink").poll_many(["t1", "t2"])
    assert (raised.value.blame, raised.value.sent) == (Blame.PROVIDER, Sent.NO)
