"""Replicate: predictions by model or version, outputs of any form (providers/others.md B)."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.domain.errors import Blame, Sent
from gateway.domain.upstream import Accepted, Cancelled, Delivered, Job, Running, UpstreamImage
from tests.upstreams.support import (
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

BASE = "https://api.replicate.com/v1"
T2I = "wan2.5-t2i-preview"
ACCEPTED = {"id": "k3v0c2yq", "status": "starting", "error": None, "output": None}
PNG = b"\x89PNG\r\n\x1a\n and the rest"


@pytest.mark.parametrize(
    ("sent", "path", "source"),
    [
        (
            job("replicate", T2I),
            "/models/wan-video/wan-2.5-t2i/predictions",
            {"prompt": "Paper lanterns", "size": "1280*1280"},
        ),
        (
            job(
                "replicate",
                T2I,
                size=size("1696x960"),
                negative_prompt="text",
                seed=3,
                rewrite_prompt=True,
            ),
            "/models/wan-video/wan-2.5-t2i/predictions",
            {
                "prompt": "Paper lanterns",
                "negative_prompt": "text",
                "size": "1696*960",
                "seed": 3,
                "enable_prompt_expansion": True,
            },
        ),
        (
            job("replicate", "wan2.5-i2i-preview", images=pictures(KITE, FIELD), watermark=False),
            "/models/wan-video/wan-2.5-i2i/predictions",
            {"prompt": "Paper lanterns", "images": [KITE, FIELD], "size": "1280*1280"},
        ),
    ],
)
async def test_a_job_becomes_exactly_this_input(
    sent: Job, path: str, source: dict[str, Any]
) -> None:
    request = await wire(sent, ACCEPTED, 201)
    assert str(request.url) == BASE + path
    assert json.loads(request.content) == {"input": source}
    assert "prefer" not in request.headers


@pytest.mark.parametrize("version", ["5c7d5dc6dd8bf75c1acaa8565735e798", "owner/name:5c7d5dc6"])
async def test_a_version_has_a_route_of_its_own(version: str) -> None:
    sent = job("replicate", T2I)
    sent = replace(sent, offer=replace(sent.offer, upstream_model=version))
    request = await wire(sent, ACCEPTED, 201)
    assert str(request.url) == f"{BASE}/predictions"
    assert json.loads(request.content)["version"] == version


@pytest.mark.parametrize("status", [200, 201, 202])
async def test_a_created_prediction_is_accepted(status: int) -> None:
    vendor = Vendor([says(ACCEPTED, status)])
    assert await adapter_at(vendor, "replicate").submit(job("replicate", T2I)) == Accepted(
        "k3v0c2yq"
    )


def out(index: int) -> UpstreamImage:
    return UpstreamImage(f"https://replicate.delivery/out-{index}.png", expires_at=NOW_S + 3600)


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"status": "starting"}, Running(queued=True)),
        ({"status": "processing"}, Running()),
        ({"status": "warming"}, Running()),
        ({"status": "canceled"}, Cancelled()),
        ({"status": "aborted"}, Cancelled()),
        (
            {"status": "succeeded", "output": "https://replicate.delivery/out-0.png"},
            Delivered((out(0),)),
        ),
        (
            {
                "status": "succeeded",
                "output": [
                    "https://replicate.delivery/out-0.png",
                    "https://replicate.delivery/out-1.png",
                ],
            },
            Delivered((out(0), out(1))),
        ),
        (
            {
                "status": "succeeded",
                "output": "data:image/png;base64," + base64.b64encode(PNG).decode(),
            },
            Delivered((UpstreamImage(content=PNG, media_type="image/png"),)),
        ),
    ],
)
async def test_every_state_of_a_prediction(body: dict[str, Any], answer: object) -> None:
    vendor = Vendor([says({"id": "t1", **body})])
    assert await adapter_at(vendor, "replicate").poll("t1") == answer
    assert str(vendor.last.url) == f"{BASE}/predictions/t1"


@pytest.mark.parametrize(
    ("text", "blame"),
    [
        ("NSFW content detected. Try a different prompt.", Blame.CALLER),
        ("The input or output was flagged as sensitive.", Blame.CALLER),
        ("Prediction failed: the model crashed (E1000).", Blame.PROVIDER),
        (None, Blame.PROVIDER),
    ],
)
async def test_a_failed_prediction_is_judged_by_its_sentence(
    text: str | None, blame: Blame
) -> None:
    error = await poll_error("replicate", says({"status": "failed", "error": text}))
    assert (error.blame, error.sent, error.code) == (blame, Sent.REFUSED, "task_failed")


async def test_a_prediction_that_succeeded_without_output_is_a_failure() -> None:
    error = await poll_error("replicate", says({"status": "succeeded", "output": None}))
    assert (error.blame, error.code) == (Blame.PROVIDER, "no_images")


@pytest.mark.parametrize(
    ("status", "blame", "scope"),
    [
        (401, Blame.ACCOUNT, "upstream"),
        (402, Blame.ACCOUNT, "upstream"),
        (404, Blame.ACCOUNT, "model"),
        (422, Blame.CALLER, "upstream"),
        (429, Blame.RATE, "upstream"),
        (500, Blame.PROVIDER, "upstream"),
        (503, Blame.PROVIDER, "upstream"),
    ],
)
async def test_a_refused_submit_has_its_blame(status: int, blame: Blame, scope: str) -> None:
    problem = {"title": "No", "detail": "Not this time.", "status": status, "type": "about:blank"}
    error = await submit_error(job("replicate", T2I), says(problem, status))
    assert (error.blame, error.scope, error.sent) == (blame, scope, Sent.REFUSED)
    assert (error.code, error.message) == (f"http_{status}", "Not this time.")


@pytest.mark.parametrize(
    ("answer", "confirmed"),
    [
        (says({"status": "canceled", "started_at": None}), True),
        (says({"status": "aborted"}), True),
        # Running time is billed.
        (says({"status": "canceled", "started_at": "2026-11-20T09:00:00.000Z"}), False),
        (says({"status": "processing"}), False),
        (says({"detail": "The prediction has ended."}, 422), False),
        (httpx.Response(404), False),
    ],
)
async def test_a_cancel_counts_only_before_the_start(
    answer: httpx.Response, confirmed: bool
) -> None:
    vendor = Vendor([answer])
    assert await adapter_at(vendor, "replicate").cancel("t1") is confirmed
    assert (vendor.last.method, str(vendor.last.url)) == ("POST", f"{BASE}/predictions/t1/cancel")
