"""Qingbo: one way to ask, three generations of answers (providers/qingbo.md)."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from gateway.domain.errors import Blame, Sent
from gateway.domain.request import InputImage
from gateway.domain.upstream import Accepted, Cancelled, Delivered, Job, Running, UpstreamImage
from tests.upstreams.support import (
    ATTEMPT_ID,
    DAY,
    FIELD,
    KITE,
    NOW_S,
    Vendor,
    adapter_at,
    job,
    palette,
    pictures,
    poll_error,
    says,
    size,
    submit_error,
    wire,
)

BASE = "https://www.qingbo.dev/v1"
M, PRO = "wan2.7-image", "wan2.7-image-pro"
ACCEPTED = {"task_id": "task-wave1795170300412k730194655", "status": "queued", "progress": 0}


def body(action: str, **fields: Any) -> dict[str, Any]:
    usual = {
        "model": M,
        "action": action,
        "prompt": "Paper lanterns",
        "n": 1,
        "resolution": "2K",
        "aspect_ratio": "1:1",
    }
    return usual | fields


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (job("qingbo", M), body("generate")),
        (
            job("qingbo", PRO, tier="4K", aspect_ratio="16:9", thinking=False, n=4, seed=9),
            body(
                "generate",
                model=PRO,
                n=4,
                seed=9,
                resolution="4K",
                aspect_ratio="16:9",
                thinking_mode=False,
            ),
        ),
        (job("qingbo", M, tier="4K"), body("generate", resolution="4K")),
        (
            job("qingbo", M, size=size("1280x720"), watermark=True, seed=0),
            body("generate", resolution="1K", aspect_ratio="16:9", watermark=True, seed=0),
        ),
        (
            job("qingbo", M, size=size("1664x2496")),
            body("generate", resolution="2K", aspect_ratio="2:3"),
        ),
        (
            job("qingbo", M, size=size("4704x3528")),
            body("generate", resolution="4K", aspect_ratio="4:3"),
        ),
        (
            job("qingbo", M, palette=palette("50", "35", "15"), thinking=True),
            body(
                "generate",
                thinking_mode=True,
                color_palette=[
                    {"hex": "#0A2500", "ratio": 50},
                    {"hex": "#0A2501", "ratio": 35},
                    {"hex": "#0A2502", "ratio": 15},
                ],
            ),
        ),
        (
            job("qingbo", M, palette=palette("50.5", "34.5", "15")),
            body(
                "generate",
                color_palette=[
                    {"hex": "#0A2500", "ratio": 50.5},
                    {"hex": "#0A2501", "ratio": 34.5},
                    {"hex": "#0A2502", "ratio": 15},
                ],
            ),
        ),
        (
            # Thinking has no effect beside a picture.
            job("qingbo", M, images=pictures(KITE), thinking=True),
            body("edit", image_urls=[KITE]),
        ),
        (
            job("qingbo", M, images=pictures(KITE, FIELD)),
            body("reference", image_urls=[KITE, FIELD]),
        ),
        (
            # Neither thinking nor a palette in a group.
            job("qingbo", M, group=True, n=12, thinking=True, palette=palette("50", "30", "20")),
            body("group", n=12, enable_sequential=True),
        ),
        (
            job("qingbo", M, images=pictures(KITE), boxes=(((120, 80, 540, 460), (1, 2, 3, 4)),)),
            body(
                "interactive_edit",
                image_urls=[KITE],
                bbox_list=[[[120, 80, 540, 460], [1, 2, 3, 4]]],
            ),
        ),
        (
            # A picture's odd shape, which nobody asked for, becomes the nearest ratio.
            job("qingbo", M, images=(InputImage(KITE, width=1900, height=1000),)),
            body("edit", image_urls=[KITE], aspect_ratio="16:9"),
        ),
        (
            job("qingbo", M, images=(InputImage(KITE, width=800, height=1000),)),
            body("edit", image_urls=[KITE], aspect_ratio="3:4"),
        ),
    ],
)
async def test_a_job_becomes_exactly_this_json(sent: Job, expected: Any) -> None:
    request = await wire(sent, ACCEPTED)
    assert (request.method, str(request.url)) == ("POST", f"{BASE}/tasks")
    assert json.loads(request.content) == expected
    assert request.headers["idempotency-key"] == ATTEMPT_ID


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, body("generate", resolution="2k")),
        (
            {"images": pictures(KITE, FIELD)},
            body("edit", resolution="2k", image_urls=[KITE, FIELD]),
        ),
        ({"group": True, "n": 3}, body("generate", resolution="2k", n=3, enable_sequential=True)),
        (
            {"tier": "1K", "aspect_ratio": "3:2"},
            body("generate", resolution="1k", aspect_ratio="3:2"),
        ),
    ],
)
async def test_generation_c_knows_two_actions_and_small_letters(
    fields: dict[str, Any], expected: Any
) -> None:
    sent = job("qingbo", M, upstream_options={"generation": "C"}, **fields)
    assert json.loads((await wire(sent, ACCEPTED)).content) == expected


@pytest.mark.parametrize("fields", [{"size": size("1000x700")}, {"aspect_ratio": "21:9"}])
async def test_a_shape_that_was_asked_for_is_never_bent(fields: dict[str, Any]) -> None:
    vendor = Vendor()
    with pytest.raises(Exception, match="no aspect ratio") as raised:
        await adapter_at(vendor, "qingbo").submit(job("qingbo", M, **fields))
    assert raised.value.sent is Sent.NO  # type: ignore[attr-defined]
    assert not vendor.calls


async def test_a_created_task_is_accepted() -> None:
    answer = await adapter_at(Vendor([says(ACCEPTED)]), "qingbo").submit(job("qingbo", M))
    assert answer == Accepted("task-wave1795170300412k730194655")


def fox(index: int, expires_at: int) -> UpstreamImage:
    return UpstreamImage(f"https://cdn/fox-{index}.jpg", expires_at=expires_at)


@pytest.mark.parametrize(
    ("answered", "answer"),
    [
        # A: numbers, milliseconds, plain links.
        ({"status": "queued", "progress": 0}, Running(queued=True, progress=0)),
        ({"status": "processing", "progress": 45}, Running(progress=45)),
        (
            {
                "status": "completed",
                "completed_at": (NOW_S - 5) * 1000,
                "result": {"images": [{"url": "https://cdn/fox-1.jpg"}]},
            },
            Delivered((fox(1, NOW_S - 5 + DAY),)),
        ),
        # B: seconds, lists of links that say when they die.
        (
            {
                "status": "completed",
                "completed_at": NOW_S - 5,
                "cost": 12150,
                "result": {
                    "images": [
                        {"url": ["https://cdn/fox-1.jpg"], "expires_at": NOW_S + 3 * DAY},
                        {"url": ["https://cdn/fox-2.jpg", "https://cdn/fox-3.jpg"]},
                    ]
                },
            },
            Delivered((fox(1, NOW_S + 3 * DAY), fox(2, NOW_S - 5 + DAY), fox(3, NOW_S - 5 + DAY))),
        ),
        (
            {
                "status": "completed",
                "result": {
                    "images": [
                        {"url": ["https://cdn/fox-1.jpg"], "expires_at": (NOW_S + DAY) * 1000}
                    ]
                },
            },
            Delivered((fox(1, NOW_S + DAY),)),
        ),
        ({"status": "cancelled", "progress": 0, "cost": 0}, Cancelled()),
        # C: progress is text.
        ({"status": "queued", "progress": ""}, Running(queued=True)),
        ({"status": "processing", "progress": "45%"}, Running(progress=45)),
        ({"status": "thinking"}, Running()),
    ],
)
async def test_every_state_in_all_three_generations(
    answered: dict[str, Any], answer: object
) -> None:
    vendor = Vendor([says({"task_id": "t1", **answered})])
    assert await adapter_at(vendor, "qingbo").poll("t1") == answer
    assert str(vendor.last.url) == f"{BASE}/tasks/t1"


@pytest.mark.parametrize(
    ("code", "blame"),
    [
        ("upstream_unavailable", Blame.PROVIDER),
        ("upstream_rate_limited", Blame.RATE),
        ("upstream_bad_request", Blame.CALLER),
        ("task_failed", Blame.PROVIDER),
    ],
)
@pytest.mark.parametrize("progress", [0, "100%"])
async def test_a_failed_task_ends_the_attempt_with_its_blame(
    code: str, blame: Blame, progress: int | str
) -> None:
    failed = {"code": code, "message": f"[{code}] sorry"}
    answer = says({"status": "failed", "progress": progress, "cost": 0, "error": failed})
    error = await poll_error("qingbo", answer)
    assert (error.blame, error.sent, error.code) == (blame, Sent.REFUSED, code)


@pytest.mark.parametrize(
    ("status", "code", "blame", "scope"),
    [
        (400, "invalid_request", Blame.CALLER, "upstream"),
        (400, "capability_violation", Blame.CALLER, "upstream"),
        (401, None, Blame.ACCOUNT, "upstream"),
        (402, None, Blame.ACCOUNT, "upstream"),
        (429, "slow_down", Blame.RATE, "upstream"),
        (429, None, Blame.RATE, "upstream"),
        (429, "quota_window_exceeded", Blame.ACCOUNT, "upstream"),
        (500, "price_not_configured", Blame.ACCOUNT, "model"),
        (500, None, Blame.PROVIDER, "upstream"),
        (500, "anything", Blame.PROVIDER, "upstream"),
    ],
)
async def test_a_refused_submit_has_its_blame(
    status: int, code: str | None, blame: Blame, scope: str
) -> None:
    refused = {"error": {"message": "No.", "code": code}}
    error = await submit_error(job("qingbo", M), says(refused, status))
    assert (error.blame, error.scope, error.sent) == (blame, scope, Sent.REFUSED)
    assert error.code == (code or f"http_{status}")


@pytest.mark.parametrize("reset_at", [NOW_S + 90, (NOW_S + 90) * 1000])
async def test_a_used_up_window_rests_until_it_opens_again(reset_at: int) -> None:
    window = {"window": "5h", "used": 9, "cap": 9, "reset_at": reset_at}
    refused = {"error": {"message": "Wait.", "code": "quota_window_exceeded", **window}}
    error = await submit_error(job("qingbo", M), says(refused, 429))
    assert error.retry_after_s == 90


@pytest.mark.parametrize(
    ("answer", "confirmed"),
    [
        (says({"task_id": "t1", "status": "cancelled", "refunded": True}), True),
        (says({"task_id": "t1", "status": "cancelled"}), True),
        (says({"task_id": "t1", "status": "cancelled", "refunded": False}), False),
        (says({"task_id": "t1", "status": "processing"}), False),
        (says({"error": {"message": "Too late.", "code": "task_not_cancellable"}}, 400), False),
        (httpx.Response(404), False),
    ],
)
async def test_a_cancel_counts_only_when_it_was_refunded(
    answer: httpx.Response, confirmed: bool
) -> None:
    vendor = Vendor([answer])
    assert await adapter_at(vendor, "qingbo").cancel("t1") is confirmed
    assert (vendor.last.method, str(vendor.last.url)) == ("POST", f"{BASE}/tasks/t1/cancel")


async def test_a_cancel_that_could_not_be_asked_says_so() -> None:
    with pytest.raises(Exception, match="cannot be reached"):
        await adapter_at(Vendor([httpx.ConnectError("no")]), "qingbo").cancel("t1")
