"""Blame tables: how words are compared, which rule wins, and what a bare status means."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.errors import Blame, Sent
from gateway.upstreams._errors import (
    ErrorTable,
    Fault,
    account,
    by_status,
    caller,
    has_fault,
    provider,
    rate,
    read_fault,
)


@pytest.mark.parametrize(
    ("pattern", "word", "same"),
    [
        ("InvalidApiKey", "InvalidApiKey", True),
        ("InvalidApiKey", "invalid_api_key", True),
        ("invalid_api_key", "InvalidApiKey", True),
        ("model_not_supported", "model-not-supported", True),
        ("Throttling.*", "Throttling", True),
        ("Throttling.*", "Throttling.RateQuota", True),
        ("Throttling.*", "throttling.rate_quota", True),
        ("Throttling.*", "ThrottlingElsewhere", False),
        ("Throttling", "Throttling.RateQuota", False),
        ("InvalidApiKey", "", False),
    ],
)
def test_words_are_compared_in_either_spelling(pattern: str, word: str, same: bool) -> None:
    table = ErrorTable(rate(pattern))
    assert (table.judge(Fault(400, code=word)).blame is Blame.RATE) is same
    assert (table.judge(Fault(400, type=word)).blame is Blame.RATE) is same


def test_the_first_rule_that_matches_in_all_its_parts_wins() -> None:
    table = ErrorTable(
        provider("denied", status=(403,), message=r"synchronous"),
        account("denied", scope="model"),
        caller(status=(400,)),
    )
    assert table.judge(Fault(403, "denied", message="Not SYNCHRONOUS.")).blame is Blame.PROVIDER
    assert table.judge(Fault(400, "denied", message="synchronous")).blame is Blame.ACCOUNT
    assert table.judge(Fault(400, "other")).blame is Blame.CALLER
    assert table.judge(Fault(500, "other")).blame is Blame.PROVIDER


@pytest.mark.parametrize(
    ("status", "blame", "scope", "sent"),
    [
        (200, Blame.PROVIDER, "upstream", Sent.REFUSED),
        (302, Blame.PROVIDER, "upstream", Sent.REFUSED),
        (400, Blame.CALLER, "upstream", Sent.REFUSED),
        (401, Blame.ACCOUNT, "upstream", Sent.REFUSED),
        (402, Blame.ACCOUNT, "upstream", Sent.REFUSED),
        (403, Blame.ACCOUNT, "upstream", Sent.REFUSED),
        (404, Blame.ACCOUNT, "model", Sent.REFUSED),
        (405, Blame.PROVIDER, "upstream", Sent.REFUSED),
        (408, Blame.PROVIDER, "upstream", Sent.UNKNOWN),
        (409, Blame.PROVIDER, "upstream", Sent.UNKNOWN),
        (410, Blame.ACCOUNT, "model", Sent.REFUSED),
        (413, Blame.CALLER, "upstream", Sent.REFUSED),
        (415, Blame.CALLER, "upstream", Sent.REFUSED),
        (422, Blame.CALLER, "upstream", Sent.REFUSED),
        (429, Blame.RATE, "upstream", Sent.REFUSED),
        (499, Blame.PROVIDER, "upstream", Sent.REFUSED),
        (500, Blame.PROVIDER, "upstream", Sent.REFUSED),
        (502, Blame.PROVIDER, "upstream", Sent.UNKNOWN),
        (503, Blame.PROVIDER, "upstream", Sent.REFUSED),
        (504, Blame.PROVIDER, "upstream", Sent.UNKNOWN),
        (520, Blame.PROVIDER, "upstream", Sent.UNKNOWN),
        (521, Blame.PROVIDER, "upstream", Sent.REFUSED),
        (524, Blame.PROVIDER, "upstream", Sent.UNKNOWN),
    ],
)
def test_a_status_alone_has_a_meaning(status: int, blame: Blame, scope: str, sent: Sent) -> None:
    verdict = by_status(status)
    assert (verdict.blame, verdict.scope, verdict.sent) == (blame, scope, sent)


def test_a_callers_fault_was_never_accepted_whatever_the_status() -> None:
    verdict = ErrorTable(caller("moderation_blocked")).judge(Fault(502, "moderation_blocked"))
    assert (verdict.blame, verdict.sent) == (Blame.CALLER, Sent.REFUSED)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (
            {"error": {"code": "c", "type": "t", "message": "m", "param": "p"}},
            Fault(400, "c", "t", "m", "p"),
        ),
        (
            {"error": {"code": "c", "message": "m", "request_id": "r"}},
            Fault(400, "c", "", "m", request_id="r"),
        ),
        ({"error": {"code": 402, "message": "m", "type": "t"}}, Fault(400, "", "t", "m")),
        ({"error": "m", "error_type": "t"}, Fault(400, "", "t", "m")),
        ({"error": "m", "code": "c"}, Fault(400, "c", "", "m")),
        (
            {"code": "C", "message": "m", "request_id": "r"},
            Fault(400, "C", "", "m", request_id="r"),
        ),
        ({"detail": "m"}, Fault(400, message="m")),
        ({"detail": "m", "error_type": "t"}, Fault(400, type="t", message="m")),
        (
            {"detail": [{"msg": "a", "type": "t"}, {"msg": "b"}, "?"]},
            Fault(400, type="t", message="a; b"),
        ),
        ({"title": "T", "detail": "m", "type": "about:blank"}, Fault(400, message="m")),
        ({"title": "T"}, Fault(400, message="T")),
        (
            {"error": {"code": "c", "reset_at": 1_795_170_060}},
            Fault(400, "c", reset_at_s=1_795_170_060),
        ),
        ({"error": None}, Fault(400)),
        ({"error": ["?"]}, Fault(400)),
        ({"error": {"code": True, "message": ["?"]}}, Fault(400)),
        ({"error": {"code": "c" * 300}}, Fault(400, "c" * 100)),
        ({}, Fault(400)),
        (None, Fault(400)),
        ([], Fault(400)),
    ],
)
def test_every_shape_of_an_error_body_is_read(body: Any, fault: Fault) -> None:
    assert read_fault(body, 400) == fault


@pytest.mark.parametrize(("code", "status"), [(402, 402), (599, 599), (600, 200), (7, 200)])
def test_a_number_as_code_stands_for_the_status_of_a_200(code: int, status: int) -> None:
    assert read_fault({"error": {"code": code}}, 200).status == status
    assert read_fault({"error": {"code": code}}, 503).status == 503


@pytest.mark.parametrize(
    ("body", "faulty"),
    [
        ({"error": {"message": "m"}}, True),
        ({"error": "m"}, True),
        ({"code": "Arrearage"}, True),
        ({"code": 500}, True),
        ({"error": None}, False),
        ({"error": {}}, False),
        ({"code": ""}, False),
        ({"code": "200"}, False),
        ({"code": 0}, False),
        ({"code": "Success"}, False),
        ({"code": True}, False),
        ({"code": None}, False),
        ({}, False),
    ],
)
def test_a_good_status_may_hide_an_error(body: dict[str, Any], faulty: bool) -> None:
    assert has_fault(body) is faulty
