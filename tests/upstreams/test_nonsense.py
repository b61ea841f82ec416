"""No answer at all can break an adapter: every vendor speaks nonsense here."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.app.ports import UpstreamAdapter
from gateway.domain.errors import Sent, UpstreamError
from gateway.domain.upstream import Accepted, Cancelled, Delivered, Job, Running
from gateway.upstreams import ADAPTERS
from tests.upstreams.support import Vendor, adapter_at, job, pictures

KEYS = [
    "id", "task_id", "request_id", "status", "task_status", "output", "results", "result",
    "result_data", "choices", "message", "content", "image", "images", "url", "urls", "data",
    "b64_json", "error", "error_message", "error_type", "code", "detail", "type", "msg", "progress",
    "created", "expires_at", "completed_at", "finish_time", "response_url", "status_url",
    "cancel_url", "reset_at", "started_at",
]  # fmt: skip
WORDS = [
    "completed", "SUCCEEDED", "Success", "succeeded", "COMPLETED", "failed", "FAILED", "Failure",
    "UNKNOWN", "cancelled", "CANCELED", "IN_QUEUE", "processing", "https://x/1.png", "t1", "YWJj",
    "data:image/png;base64,YWJj", "https://[x", "code=Throttling, message=slow", "45%",
    "https://queue.fal.run/a/b/requests/1", "InternalError.Timeout",
]  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
    | st.sampled_from(WORDS) | st.text(max_size=20)
)  # fmt: skip
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=25,
)
BODIES = st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=8) | ANYTHING
STATUSES = st.sampled_from(
    [200, 200, 200, 200, 201, 204, 301, 400, 402, 404, 408, 422, 429, 500, 503, 504]
)
JOBS: dict[str, list[Job]] = {
    "dashscope": [
        job("dashscope", "wan2.5-t2i-preview"),
        job("dashscope", "wan2.7-image", protocol="multimodal-generation"),
    ],
    "evolink": [job("evolink", "wan2.5-t2i-preview")],
    "fal": [job("fal", "wan2.5-t2i-preview")],
    "modelverse": [
        job("modelverse", "wan2.7-image"),
        job("modelverse", "wan2.7-image", protocol="images"),
    ],
    "openai": [job("openai", "gpt-image-1.5", images=pictures("https://x/1.png"))],
    "qingbo": [job("qingbo", "wan2.7-image")],
    "replicate": [job("replicate", "wan2.5-t2i-preview")],
}


@pytest.mark.parametrize("name", ADAPTERS)
@settings(max_examples=30, deadline=None)
@given(answers=st.lists(st.tuples(STATUSES, BODIES), min_size=2, max_size=2))
async def test_whatever_a_vendor_says_gives_a_record_or_an_upstream_error(
    name: str, answers: list[tuple[int, Any]]
) -> None:
    def adapter() -> UpstreamAdapter:
        return adapter_at(Vendor([_response(*answer) for answer in answers]), name)

    for sent in JOBS[name]:
        submitted = await _outcome(adapter().submit(sent))
        if isinstance(submitted, UpstreamError):
            assert submitted.sent in (Sent.REFUSED, Sent.UNKNOWN)
            assert len(submitted.message) <= 500
        else:
            assert isinstance(submitted, Accepted | Delivered)
    polled = await _outcome(adapter().poll("/a /b /c" if name == "fal" else "t1"))
    if isinstance(polled, UpstreamError):
        assert polled.sent in (Sent.NO, Sent.REFUSED)
    elif isinstance(polled, Delivered):
        assert polled.images
        assert all(image.url or image.content for image in polled.images)
    else:
        assert isinstance(polled, Running | Cancelled)
    cancelled = await _outcome(adapter().cancel("/a /b /c"))
    assert cancelled in (True, False) or cancelled.sent is Sent.NO


async def _outcome(call: Awaitable[Any]) -> Any:
    """What a call gives, or the UpstreamError it raises; nothing else may be raised."""
    try:
        return await call
    except UpstreamError as error:
        return error


def _response(status: int, body: Any) -> httpx.Response:
    try:
        content = orjson.dumps(body)
    except orjson.JSONEncodeError:
        content = b"{"
    return httpx.Response(status, content=content)
