"""OpenAI: JSON generations, multipart edits, inline pictures (providers/openai.md)."""

from __future__ import annotations

import base64
import json
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import httpx
import pytest

from gateway.domain.errors import Blame, Sent
from gateway.domain.request import InputImage
from gateway.domain.upstream import Delivered, Job, UpstreamImage
from tests.upstreams.support import (
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

BASE = "https://api.openai.com/v1"
GPT = "gpt-image-1.5"
PNG = b"\x89PNG\r\n\x1a\n and the rest"
JPEG = b"\xff\xd8\xff and the rest"
WEBP = b"RIFF\x00\x00\x00\x00WEBP and the rest"
ANSWER = {"created": 1, "data": [{"b64_json": base64.b64encode(PNG).decode()}]}


def inline(content: bytes, media_type: str = "image/png") -> InputImage:
    return InputImage(f"data:{media_type};base64,{base64.b64encode(content).decode()}")


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (
            job("openai", GPT),
            {"model": GPT, "prompt": "Paper lanterns", "n": 1, "size": "auto"},
        ),
        (
            job(
                "openai",
                GPT,
                n=10,
                size=size("1536x1024"),
                options={"quality": "high", "background": "transparent", "output_compression": 80},
            ),
            {
                "model": GPT,
                "prompt": "Paper lanterns",
                "n": 10,
                "size": "1536x1024",
                "quality": "high",
                "background": "transparent",
                "output_compression": 80,
            },
        ),
        (
            job("openai", "gpt-image-2", size=size("3840x2160")),
            {"model": "gpt-image-2", "prompt": "Paper lanterns", "n": 1, "size": "3840x2160"},
        ),
        (
            # What the model does not know is not sent, least of all response_format.
            job(
                "openai", GPT, watermark=False, options={"response_format": "url", "style": "vivid"}
            ),
            {"model": GPT, "prompt": "Paper lanterns", "n": 1, "size": "auto"},
        ),
        (
            job("openai", "dall-e-3", size=size("1792x1024"), options={"style": "natural"}),
            {
                "model": "dall-e-3",
                "prompt": "Paper lanterns",
                "n": 1,
                "size": "1792x1024",
                "style": "natural",
            },
        ),
    ],
)
async def test_a_generation_becomes_exactly_this_json(sent: Job, body: Any) -> None:
    request = await wire(sent, ANSWER)
    assert str(request.url) == f"{BASE}/images/generations"
    assert json.loads(request.content) == body


def parts_of(request: httpx.Request) -> list[tuple[str, str | None, str, bytes]]:
    """The parts of a multipart body: name, file name, media type, content."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    parsed: Message = BytesParser(policy=HTTP).parsebytes(head + request.content)
    found = []
    for part in parsed.walk():
        if part.is_multipart():
            continue
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        kind = part.get_content_type() if part.get_filename() else ""
        found.append((str(name), part.get_filename(), kind, content))
    return found


async def test_an_edit_of_one_picture_is_multipart_text_first() -> None:
    sent = job("openai", GPT, images=(inline(PNG),), n=2, options={"input_fidelity": "high"})
    request = await wire(sent, ANSWER)
    assert str(request.url) == f"{BASE}/images/edits"
    assert parts_of(request) == [
        ("model", None, "", GPT.encode()),
        ("prompt", None, "", b"Paper lanterns"),
        ("n", None, "", b"2"),
        ("size", None, "", b"auto"),
        ("input_fidelity", None, "", b"high"),
        ("image", "image-1.png", "image/png", PNG),
    ]


async def test_an_edit_of_several_pictures_keeps_their_order_and_the_mask_last() -> None:
    images = (inline(JPEG, "image/png"), inline(WEBP, "image/webp"), inline(PNG))
    sent = job("openai", GPT, images=images, mask=inline(PNG), size=size("1024x1024"))
    request = await wire(sent, ANSWER)
    assert parts_of(request)[4:] == [
        # The type is what the bytes are, not what the caller called them.
        ("image[]", "image-1.jpg", "image/jpeg", JPEG),
        ("image[]", "image-2.webp", "image/webp", WEBP),
        ("image[]", "image-3.png", "image/png", PNG),
        ("mask", "mask.png", "image/png", PNG),
    ]


async def test_an_edit_of_links_goes_as_json_since_adapters_fetch_nothing() -> None:
    sent = job("openai", GPT, images=(*pictures(KITE), inline(PNG)), mask=inline(PNG))
    request = await wire(sent, ANSWER)
    assert str(request.url) == f"{BASE}/images/edits"
    assert json.loads(request.content) == {
        "model": GPT,
        "prompt": "Paper lanterns",
        "n": 1,
        "size": "auto",
        "images": [{"image_url": KITE}, {"image_url": inline(PNG).url}],
        "mask": {"image_url": inline(PNG).url},
    }


async def test_a_picture_that_is_no_base64_sends_nothing() -> None:
    error = await submit_error(
        job("openai", GPT, images=pictures("data:image/png;base64,@@@")), says(ANSWER)
    )
    assert (error.sent, error.code) == (Sent.NO, "cannot_ask")


async def test_organization_and_project_are_sent_as_headers() -> None:
    sent = job("openai", GPT, upstream_options={"organization": "org-1", "project": "proj-2"})
    headers = (await wire(sent, ANSWER)).headers
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-1", "proj-2")


@pytest.mark.parametrize(
    ("entry", "image"),
    [
        (
            {"b64_json": base64.b64encode(PNG).decode()},
            UpstreamImage(content=PNG, media_type="image/png"),
        ),
        (
            {"b64_json": "data:image/webp;base64," + base64.b64encode(WEBP).decode()},
            UpstreamImage(content=WEBP, media_type="image/webp"),
        ),
        (
            {"b64_json": base64.b64encode(JPEG).decode(), "revised_prompt": "Red lanterns"},
            UpstreamImage(content=JPEG, media_type="image/jpeg", revised_prompt="Red lanterns"),
        ),
        (
            {"url": "https://x/1.png", "revised_prompt": "Red lanterns"},
            UpstreamImage("https://x/1.png", None, NOW_S + 3600, "Red lanterns"),
        ),
        (
            {"url": "https://x/1.png", "b64_json": base64.b64encode(PNG).decode()},
            UpstreamImage("https://x/1.png", PNG, NOW_S + 3600, media_type="image/png"),
        ),
        (
            # Some third parties put the picture itself where the link belongs.
            {"url": "data:image/png;base64," + base64.b64encode(PNG).decode()},
            UpstreamImage(content=PNG, media_type="image/png"),
        ),
    ],
)
async def test_every_form_of_a_picture(entry: dict[str, Any], image: UpstreamImage) -> None:
    vendor = Vendor([says({"created": 1, "data": [entry], "usage": {"input_tokens_details": {}}})])
    answer = await adapter_at(vendor, "openai").submit(job("openai", GPT))
    assert answer == Delivered((image,))


@pytest.mark.parametrize(
    ("body", "blame", "sent"),
    [
        ({"created": 1, "data": []}, Blame.PROVIDER, Sent.REFUSED),
        ({"created": 1, "data": None}, Blame.PROVIDER, Sent.UNKNOWN),
        # EvoLink behind an OpenAI base URL: a task was accepted and cannot be followed.
        ({"id": "task-unified-1", "status": "pending"}, Blame.PROVIDER, Sent.UNKNOWN),
        ({"data": [{"b64_json": ""}]}, Blame.PROVIDER, Sent.UNKNOWN),
        ({"data": [{"url": "ftp://x/1.png"}]}, Blame.PROVIDER, Sent.UNKNOWN),
        (
            {"error": {"code": "moderation_blocked", "message": "Blocked."}, "data": []},
            Blame.CALLER,
            Sent.REFUSED,
        ),
        ({"error": "quota", "code": "insufficient_quota"}, Blame.ACCOUNT, Sent.REFUSED),
    ],
)
async def test_a_good_status_is_not_a_picture(body: Any, blame: Blame, sent: Sent) -> None:
    error = await submit_error(job("openai", GPT), says(body))
    assert (error.blame, error.sent) == (blame, sent)


INVALID = "invalid_request_error"


@pytest.mark.parametrize(
    ("status", "code", "kind", "blame", "scope", "sent"),
    [
        (400, "invalid_value", INVALID, Blame.CALLER, "upstream", Sent.REFUSED),
        (400, "invalid_size", INVALID, Blame.CALLER, "upstream", Sent.REFUSED),
        (400, "unknown_parameter", INVALID, Blame.CALLER, "upstream", Sent.REFUSED),
        (400, "invalid_image_format", INVALID, Blame.CALLER, "upstream", Sent.REFUSED),
        (400, None, INVALID, Blame.CALLER, "upstream", Sent.REFUSED),
        (400, "content_policy_violation", INVALID, Blame.CALLER, "upstream", Sent.REFUSED),
        (
            400,
            "moderation_blocked",
            "image_generation_user_error",
            Blame.CALLER,
            "upstream",
            Sent.REFUSED,
        ),
        # An unpaid bill in disguise, under either type.
        (400, "billing_hard_limit_reached", INVALID, Blame.ACCOUNT, "upstream", Sent.REFUSED),
        (400, None, "billing_limit_user_error", Blame.ACCOUNT, "upstream", Sent.REFUSED),
        (401, "invalid_api_key", INVALID, Blame.ACCOUNT, "upstream", Sent.REFUSED),
        (401, "account_deactivated", INVALID, Blame.ACCOUNT, "upstream", Sent.REFUSED),
        (
            403,
            "unsupported_country_region_territory",
            "request_forbidden",
            Blame.ACCOUNT,
            "upstream",
            Sent.REFUSED,
        ),
        (404, "model_not_found", INVALID, Blame.ACCOUNT, "model", Sent.REFUSED),
        (413, None, INVALID, Blame.CALLER, "upstream", Sent.REFUSED),
        (429, "rate_limit_exceeded", "requests", Blame.RATE, "upstream", Sent.REFUSED),
        # Not a rate limit.
        (429, "insufficient_quota", "insufficient_quota", Blame.ACCOUNT, "upstream", Sent.REFUSED),
        (500, "server_error", "server_error", Blame.PROVIDER, "upstream", Sent.REFUSED),
        (502, "server_error", "server_error", Blame.PROVIDER, "upstream", Sent.UNKNOWN),
        (503, "overloaded", "server_error", Blame.PROVIDER, "upstream", Sent.REFUSED),
        (503, "engine_overloaded", "server_error", Blame.PROVIDER, "upstream", Sent.REFUSED),
        (504, None, "server_error", Blame.PROVIDER, "upstream", Sent.UNKNOWN),
    ],
)
async def test_a_refused_call_has_its_blame(
    status: int, code: str | None, kind: str, blame: Blame, scope: str, sent: Sent
) -> None:
    body = {"error": {"message": "No.", "type": kind, "param": None, "code": code}}
    error = await submit_error(job("openai", GPT), says(body, status, x_request_id="req_1"))
    assert (error.blame, error.scope, error.sent) == (blame, scope, sent)
    assert (error.code, error.upstream_request_id) == (code or kind, "req_1")


async def test_an_unverified_organisation_benches_the_model_only() -> None:
    text = "Your organization must be verified to use the model."
    body = {"error": {"message": text, "type": INVALID, "code": None}}
    error = await submit_error(job("openai", GPT), says(body, 403))
    assert (error.blame, error.scope) == (Blame.ACCOUNT, "model")


async def test_there_are_no_tasks_to_poll_or_cancel() -> None:
    error = await poll_error("openai")
    assert (error.sent, error.code) == (Sent.NO, "task_unknown")
    assert await adapter_at(Vendor(), "openai").cancel("t1") is False
