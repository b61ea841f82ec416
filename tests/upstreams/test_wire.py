"""The small readers below the adapters."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.upstream import UpstreamImage
from gateway.upstreams._results import decoded, link_expiry, picture
from gateway.upstreams._wire import percent, task_id_of, texts, unix_s

INF = float("inf")


@pytest.mark.parametrize(
    ("value", "progress"),
    [
        (0, 0),
        (45, 45),
        (45.9, 45),
        (-3, 0),
        (250, 100),
        (INF, 100),
        ("45%", 45),
        (" 45 ", 45),
        ("", None),
        ("soon", None),
        ("９%", None),
        (None, None),
        (True, None),
        ([45], None),
    ],
)
def test_progress_is_read_in_every_form(value: Any, progress: int | None) -> None:
    assert percent(value) == progress


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1_795_170_000, 1_795_170_000),
        (1_795_170_000.9, 1_795_170_000),
        (1_795_170_000_412, 1_795_170_000),
        ("1795170000", 1_795_170_000),
        ("1795170000412", 1_795_170_000),
        (99_999_999_999, 99_999_999_999),
        (100_000_000_000, 100_000_000),
        (0, None),
        (-1, None),
        (INF, None),
        (10**30, None),
        ("9" * 5000, None),
        ("2026-11-20 17:05:01", None),
        (None, None),
        (True, None),
    ],
    ids=repr,
)
def test_a_time_is_milliseconds_from_eleven_zeros_on(value: Any, seconds: int | None) -> None:
    assert unix_s(value) == seconds


@pytest.mark.parametrize(
    ("value", "task_id"),
    [
        ("task-unified-1795170001-q7m2kd0a", "task-unified-1795170001-q7m2kd0a"),
        ("a/b?c", "a/b?c"),
        ("", None),
        ("a b", None),
        ("a\n", None),
        ("..", None),
        ("x" * 201, None),
        (7, None),
        (None, None),
    ],
)
def test_a_task_id_is_text_that_can_be_sent_back(value: Any, task_id: str | None) -> None:
    assert task_id_of(value) == task_id


@pytest.mark.parametrize(
    ("link", "expires_at"),
    [
        ("https://x/1.png?Expires=1795256719&Signature=a", 1_795_256_719),
        ("https://x/1.png?Expires=soon", None),
        ("https://x/1.png?expires=1795256719", None),
        ("https://x/1.png", None),
        ("https://[x/1.png", None),
    ],
)
def test_a_signed_link_says_when_it_dies(link: str, expires_at: int | None) -> None:
    assert link_expiry(link) == expires_at


def test_a_link_is_believed_before_the_vendors_general_promise() -> None:
    assert picture("https://x/1.png?Expires=5", 9) == UpstreamImage(
        "https://x/1.png?Expires=5", None, 5
    )
    assert picture("https://x/1.png", 9) == UpstreamImage("https://x/1.png", None, 9)


@pytest.mark.parametrize(
    "link", ["", "ftp://x/1.png", "//x/1.png", "javascript:1", "data:,", "data:x"]
)
def test_what_is_no_picture_is_none(link: str) -> None:
    assert picture(link, None) is None


def test_texts_flatten_lists_in_lists() -> None:
    assert texts([["a"], "b", [["c", 7, ""]], None]) == ["a", "b", "c"]
    assert texts("a") == ["a"]
    assert texts({"a": 1}) == []


@pytest.mark.parametrize(
    ("encoded", "found"),
    [
        ("R0lGODlh", (b"GIF89a", "image/gif")),
        ("R0lG\nODlh", (b"GIF89a", "image/gif")),
        ("data:image/x;base64,YWJj", (b"abc", "image/x")),
        ("YWJj", (b"abc", None)),
    ],
)
def test_base64_is_decoded_with_or_without_its_prefix(encoded: str, found: object) -> None:
    assert decoded(encoded) == found
