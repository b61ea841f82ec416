"""Nothing secret reaches a log line, whichever way it comes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO

import pytest
import structlog

from gateway.logs import GatewayHandler, configure_logging, redact

KEY = "sk-igw-8QmXyZ0123456789abcdefABCDEF"


@contextmanager
def logged(log_format="json") -> Iterator[list[str]]:
    """Configure logging for a while; the list holds the lines written, once the block has ended."""
    lines: list[str] = []
    with redirect_stderr(StringIO()) as stream:
        configure_logging(log_format)
        yield lines
    lines.extend(stream.getvalue().splitlines())
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, GatewayHandler)]:
        root.removeHandler(handler)
    root.setLevel(logging.WARNING)
    structlog.reset_defaults()


def only(lines: list[str]) -> dict:
    (line,) = lines
    return json.loads(line)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"unknown key {KEY} here", "unknown key sk-igw-[redacted] here"),
        ("a token op-igw-8QmXyZ0123456789 here", "a token op-igw-[redacted] here"),
        ("Authorization: Bearer abc.def-123", "Authorization: [redacted]"),
        ("{'authorization': 'Key 1234:abcd', 'a': 1}", "{'authorization': '[redacted]', 'a': 1}"),
        ("sent Bearer abcdef123456 on", "sent Bearer [redacted] on"),
        ("sk-0123456789abcdef0123456789abcdef refused", "sk-[redacted] refused"),
        ("r8_0123456789abcdefABCDEF0123456789", "r8_[redacted]"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw!", "whsec_[redacted]!"),
        ("postgresql://app:hunter2@db:5432/x", "postgresql://[redacted]@db:5432/x"),
        (
            "GET https://b.oss-cn.example.com/a.png?Expires=1&Signature=hunter2 404",
            "GET https://b.oss-cn.example.com/a.png?[redacted] 404",
        ),
        ("data:image/png;base64,iVBORw0KGgo= end", "data:image/png;base64,[redacted] end"),
        (
            "data:image/svg+xml;charset=utf-8,%3Csvg%3E",
            "data:image/svg+xml;charset=utf-8,[redacted]",
        ),
        ("b64 " + "A" * 300, "b64 [redacted]"),
    ],
)
def test_a_secret_in_a_text_is_hidden(text, expected):
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "task 0197-aa submitted to dashscope-beijing, 2 images",
        "unknown key upstreams.fal-primary-account.cost",
        "GET /v1/tasks?limit=5 200",
        "https://api.evolink.ai/v1/images/generations",
        "basic configuration done",
    ],
)
def test_an_ordinary_text_is_left_alone(text):
    assert redact(text) == text


@pytest.mark.parametrize(
    "field",
    ["authorization", "Authorization", "api_key", "apikey", "admin_key", "token", "access_token",
     "webhook_secret", "password", "cookie", "b64_json", "x-api-key"],
)  # fmt: skip
def test_a_secret_by_name_is_hidden_at_any_depth(field):
    with logged() as lines:
        structlog.get_logger("t").info("sent", request={"headers": [{field: "hunter2"}]})

    assert only(lines)["request"] == {"headers": [{field: "[redacted]"}]}


def test_facts_that_only_look_like_secrets_stay():
    facts = {"key_id": "key_1", "idempotency_key": "a1", "max_tokens": 5, "ok": True}

    with logged() as lines:
        structlog.get_logger("t").info("k", **facts)

    assert only(lines).items() >= facts.items()


def test_a_secret_in_a_traceback_is_hidden():
    with logged() as lines:
        try:
            raise RuntimeError(f"refused {KEY}")
        except RuntimeError:
            structlog.get_logger("t").exception("failed")

    assert "RuntimeError: refused sk-igw-[redacted]" in only(lines)["exception"]


def test_other_libraries_loggers_are_hidden_and_formatted_too():
    with logged() as lines:
        logging.getLogger("uvicorn.error").warning("bad header Bearer %s", "abcdef123456")

    line = only(lines)
    assert line["event"] == "bad header Bearer [redacted]"
    assert line["level"] == "warning"
    assert line["logger"] == "uvicorn.error"
    assert line["timestamp"].endswith("Z")


def test_context_bound_once_is_on_every_line():
    with logged() as lines, structlog.contextvars.bound_contextvars(request_id="req_1"):
        structlog.get_logger("t").info("one")

    assert only(lines)["request_id"] == "req_1"


def test_objects_and_bytes_do_not_break_a_line():
    with logged() as lines:
        structlog.get_logger("t").info("odd", body=b"\xff\x00", thing=object, map={1: {KEY: b"x"}})

    line = only(lines)
    assert line["body"] == "<2 bytes>"
    assert line["map"] == {"1": {"sk-igw-[redacted]": "<1 bytes>"}}


def test_the_console_format_hides_the_same():
    with logged("console") as lines:
        structlog.get_logger("t").info("key", text=KEY)

    (line,) = lines
    assert "sk-igw-[redacted]" in line
    assert KEY not in line
