"""DashScope: its answers to records, and its errors to blame (providers/dashscope.md)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.domain.errors import Blame, Sent
from gateway.domain.upstream import Accepted, Cancelled, Delivered, Running, UpstreamImage
from tests.upstreams.dashscope import ACCEPTED, BASE, CHOICES, T2I
from tests.upstreams.support import (
    DAY,
    NOW_S,
    Vendor,
    adapter_at,
    job,
    poll_error,
    says,
    submit_error,
)


async def test_a_created_task_is_accepted() -> None:
    answer = await adapter_at(Vendor([says(ACCEPTED)]), "dashscope").submit(job("dashscope", T2I))
    assert answer == Accepted("5f2d0f52")


async def test_a_blocking_call_delivers_at_once() -> None:
    sent = job("dashscope", "wan2.7-image", protocol="multimodal-generation")
    answer = await adapter_at(Vendor([says(CHOICES)]), "dashscope").submit(sent)
    link = "https://x/1.png?Expires=1795256733"
    assert answer == Delivered((UpstreamImage(link, expires_at=1_795_256_733),))


def _task(status: str, **output: Any) -> dict[str, Any]:
    return {"request_id": "r9", "output": {"task_id": "t1", "task_status": status, **output}}


FAILED_PICTURE = {"code": "InternalError.Timeout", "message": "An internal timeout occurred."}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (_task("PENDING"), Running(queued=True)),
        (_task("RUNNING", task_metrics={"TOTAL": 2, "SUCCEEDED": 0, "FAILED": 0}), Running()),
        (_task("SUSPENDED"), Running()),
        (_task("REHEARSING"), Running()),
        (_task("CANCELED"), Cancelled()),
        (
            # The second picture failed on its own; the task did not.
            _task(
                "SUCCEEDED",
                results=[
                    {
                        "orig_prompt": "p",
                        "actual_prompt": "A quiet canal",
                        "url": "https://x/1.png?Expires=1795256719",
                    },
                    FAILED_PICTURE,
                ],
            ),
            Delivered(
                (
                    UpstreamImage(
                        "https://x/1.png?Expires=1795256719",
                        expires_at=1_795_256_719,
                        revised_prompt="A quiet canal",
                    ),
                ),
                failed=1,
            ),
        ),
        (
            # A link that does not say when it dies lives 24 hours.
            _task("SUCCEEDED", results=[{"url": "https://x/1.png"}]),
            Delivered((UpstreamImage("https://x/1.png", expires_at=NOW_S + DAY),)),
        ),
        (
            # Pictures of all choices and of all their items, text between them left out.
            _task(
                "SUCCEEDED",
                finished=True,
                choices=[
                    {"message": {"content": [{"type": "text", "text": "Step 1"}]}},
                    {
                        "message": {
                            "content": [
                                {"type": "image", "image": "https://x/1.png"},
                                {"type": "text", "text": "Step 2"},
                                {"type": "image", "image": "https://x/2.png"},
                            ]
                        }
                    },
                    {"message": {"content": [{"image": "https://x/3.png"}]}},
                ],
            ),
            Delivered(
                tuple(
                    UpstreamImage(f"https://x/{index}.png", expires_at=NOW_S + DAY)
                    for index in (1, 2, 3)
                )
            ),
        ),
    ],
)
async def test_every_state_of_a_task(body: dict[str, Any], answer: object) -> None:
    vendor = Vendor([says(body)])
    assert await adapter_at(vendor, "dashscope").poll("t1") == answer
    assert (vendor.last.method, str(vendor.last.url)) == ("GET", f"{BASE}/tasks/t1")


async def test_an_unknown_task_says_so_with_http_200() -> None:
    error = await poll_error("dashscope", says(_task("UNKNOWN")))
    assert (error.sent, error.code) == (Sent.NO, "task_unknown")


async def test_only_failed_pictures_make_a_failed_task() -> None:
    rejected = {"code": "DataInspectionFailed", "message": "Output rejected."}
    error = await poll_error("dashscope", says(_task("SUCCEEDED", results=[rejected, rejected])))
    assert (error.blame, error.sent, error.code) == (
        Blame.CALLER,
        Sent.REFUSED,
        "DataInspectionFailed",
    )


async def test_a_task_that_succeeded_without_pictures_is_a_failure() -> None:
    error = await poll_error("dashscope", says(_task("SUCCEEDED", results=[])))
    assert (error.blame, error.sent, error.code) == (Blame.PROVIDER, Sent.REFUSED, "no_images")


BLAMES: list[tuple[int, str, Blame, str]] = [
    *[
        (400, code, Blame.CALLER, "upstream")
        for code in (
            "InvalidParameter",
            "BadRequest.EmptyInput",
            "BadRequest.EmptyParameters",
            "BadRequest.EmptyModel",
            "BadRequest.IllegalInput",
            "UnsupportedOperation",
            "DataInspectionFailed",
            "IPInfringementSuspect",
            "CustomRoleBlocked",
            "FaqRuleBlocked",
            "InvalidImage.ImageSize",
            "InvalidImageResolution",
            "InvalidImageFormat",
            "InvalidInputLength",
            "InvalidFile.Format",
            "InvalidURL",
            "InvalidURL.Timeout",
            "InvalidURL.ConnectionRefused",
            "InvalidParameter.DataInspection",
            "BadRequest.InputDownloadFailed",
            "BadRequest.TooLarge",
        )
    ],
    (415, "BadRequest.InputDownloadFailed", Blame.CALLER, "upstream"),
    (413, "BadRequest.TooLarge", Blame.CALLER, "upstream"),
    (400, "Arrearage", Blame.ACCOUNT, "upstream"),
    (401, "InvalidApiKey", Blame.ACCOUNT, "upstream"),
    (401, "invalid_api_key", Blame.ACCOUNT, "upstream"),
    (401, "NOT AUTHORIZED", Blame.ACCOUNT, "upstream"),
    *[
        (403, code, Blame.ACCOUNT, "model")
        for code in (
            "AccessDenied",
            "access_denied",
            "AccessDenied.Unpurchased",
            "Model.AccessDenied",
            "Workspace.AccessDenied",
            "App.AccessDenied",
            "AllocationQuota.FreeTierOnly",
        )
    ],
    *[
        (404, code, Blame.ACCOUNT, "model")
        for code in (
            "ModelNotFound",
            "model_not_found",
            "Model.NotExist",
            "model_not_supported",
            "WorkSpaceNotFound",
            "NotFound",
        )
    ],
    *[
        (429, code, Blame.RATE, "upstream")
        for code in (
            "Throttling",
            "Throttling.RateQuota",
            "LimitRequests",
            "limit_requests",
            "Throttling.BurstRate",
            "limit_burst_rate",
            "Throttling.ServiceOverloaded",
        )
    ],
    (429, "Throttling.AllocationQuota", Blame.ACCOUNT, "model"),
    (429, "insufficient_quota", Blame.ACCOUNT, "model"),
    *[
        (429, code, Blame.ACCOUNT, "upstream")
        for code in (
            "CommodityNotPurchased",
            "PrepaidBillOverdue",
            "PostpaidBillOverdue",
            "BudgetLimitExceeded",
        )
    ],
    *[
        (500, code, Blame.PROVIDER, "upstream")
        for code in (
            "InternalError",
            "internal_error",
            "InternalError.Algo",
            "InternalError.Timeout",
            "InternalError.Upload",
            "InternalError.FileUpload",
            "SystemError",
            "ModelServiceFailed",
            "RewriteFailed",
        )
    ],
    *[
        (503, code, Blame.PROVIDER, "upstream")
        for code in ("ModelUnavailable", "ModelServingError", "ServiceUnavailable")
    ],
]


@pytest.mark.parametrize(("status", "code", "blame", "scope"), BLAMES)
async def test_a_refused_submit_has_its_blame(
    status: int, code: str, blame: Blame, scope: str
) -> None:
    body = {"code": code, "message": "size is out of range", "request_id": "r7"}
    error = await submit_error(job("dashscope", T2I), says(body, status))
    assert (error.blame, error.sent, error.scope) == (blame, Sent.REFUSED, scope)
    assert (error.code, error.upstream_request_id) == (code, "r7")


@pytest.mark.parametrize(
    ("code", "blame"),
    # Words whose meaning hangs on the HTTP status only refuse requests.
    {
        code: blame for _, code, blame, _ in BLAMES if code not in ("NotFound", "NOT AUTHORIZED")
    }.items(),
)
async def test_the_same_words_fail_a_task_inside_http_200(code: str, blame: Blame) -> None:
    body = _task("FAILED", code=code, message="It failed.")
    error = await poll_error("dashscope", says(body))
    assert (error.blame, error.sent, error.code) == (blame, Sent.REFUSED, code)
    assert error.upstream_request_id == "r9"


@pytest.mark.parametrize(
    ("status", "code"),
    [(408, "RequestTimeOut"), (500, "RequestTimeOut"), (504, "GatewayTimeout")],
)
async def test_the_vendors_own_time_outs_leave_the_outcome_unknown(status: int, code: str) -> None:
    error = await submit_error(job("dashscope", T2I), says({"code": code, "message": "t"}, status))
    assert (error.blame, error.sent) == (Blame.PROVIDER, Sent.UNKNOWN)


@pytest.mark.parametrize("kind", ["synchronous", "asynchronous"])
async def test_the_wrong_kind_of_call_is_not_the_accounts_fault(kind: str) -> None:
    text = f"current user api does not support {kind} calls."
    error = await submit_error(
        job("dashscope", T2I), says({"code": "AccessDenied", "message": text}, 403)
    )
    assert (error.blame, error.sent) == (Blame.PROVIDER, Sent.REFUSED)


@pytest.mark.parametrize(
    ("text", "blame", "rest"),
    [
        ("The free quota of the model is exceeded.", Blame.ACCOUNT, None),
        ("You exceeded the quota of requests per minute.", Blame.RATE, 1.0),
        ("Allocated quota exceeded.", Blame.ACCOUNT, 120.0),
    ],
)
async def test_an_allocation_quota_is_judged_by_its_sentence(
    text: str, blame: Blame, rest: float | None
) -> None:
    body = {"code": "Throttling.AllocationQuota", "message": text}
    error = await submit_error(job("dashscope", T2I), says(body, 429))
    assert (error.blame, error.retry_after_s) == (blame, rest)


async def test_an_error_with_http_200_is_an_error() -> None:
    body = {"code": "Arrearage", "message": "Overdue.", "request_id": "r1", "output": None}
    error = await submit_error(job("dashscope", T2I), says(body))
    assert (error.blame, error.sent, error.code) == (Blame.ACCOUNT, Sent.REFUSED, "Arrearage")


async def test_an_answer_with_neither_id_nor_error_leaves_the_outcome_unknown() -> None:
    error = await submit_error(job("dashscope", T2I), says({"request_id": "r1", "output": {}}))
    assert (error.blame, error.sent) == (Blame.PROVIDER, Sent.UNKNOWN)


@pytest.mark.parametrize(
    ("answer", "confirmed"),
    [
        (says({"request_id": "r1"}), True),
        (
            says({"code": "UnsupportedOperation", "message": "Failed to cancel the task."}, 400),
            False,
        ),
        (httpx.Response(404), False),
    ],
)
async def test_only_a_pending_task_is_cancelled(answer: httpx.Response, confirmed: bool) -> None:
    vendor = Vendor([answer])
    assert await adapter_at(vendor, "dashscope").cancel("t1") is confirmed
    assert (vendor.last.method, str(vendor.last.url)) == ("POST", f"{BASE}/tasks/t1/cancel")
