"""Logging in: what a password may be, who is counted together, whose requests are our own."""

from __future__ import annotations

import pytest

from gateway.domain.errors import InvalidRequest
from gateway.domain.login import (
    PASSWORD_BYTES_MAX,
    SessionRules,
    check_password,
    is_loopback,
    is_own,
    origin_of,
    sender_of,
)


@pytest.mark.parametrize(
    "password", ["twelve chars", "é" * 512, "p" * PASSWORD_BYTES_MAX, "ada lovelace 2"]
)
def test_a_password_may_be_anything_that_is_long_enough(password):
    check_password(password, "ada lovelace")


@pytest.mark.parametrize(
    "password",
    ["", "eleven char", "é" * 513, "p" * (PASSWORD_BYTES_MAX + 1), "ada lovelace", " Ada Lovelace"],
)
def test_a_password_that_is_short_long_or_the_name_is_refused(password):
    with pytest.raises(InvalidRequest) as caught:
        check_password(password, "ada lovelace")
    assert caught.value.param == "password"
    assert not password or password not in str(caught.value)


def test_a_session_ends_by_idling_or_by_age_whichever_is_sooner():
    rules = SessionRules(idle_ms=10, max_ms=25)
    assert [rules.ends_ms(100, seen) for seen in (100, 110, 120)] == [110, 120, 125]


@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        (None, "unknown"),
        ("nowhere", "unknown"),
    ],
)
def test_addresses_of_one_customer_are_counted_together(address, sender):
    assert sender_of(address) == sender


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Images.Example.com", "https://images.example.com"),
        ("https://images.example.com:443/console", "https://images.example.com"),
        ("http://images.example.com:80", "http://images.example.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://images.example.com:80", "https://images.example.com:80"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://host:many", ""),
        ("null", "://"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(url, origin):
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1:8080", True),
        ("127.9.9.9", True),
        ("localhost:8080", True),
        ("gateway.localhost", True),
        ("[::1]:8080", True),
        ("[::1]", True),
        ("10.0.0.1:8080", False),
        ("[2001:db8::1]:8080", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("127.0.0.1@example.com", False),
        ("", False),
    ],
)
def test_a_loopback_host_is_told_by_its_name(host, loopback):
    assert is_loopback(host) is loopback


OWN = {"https://images.example.com"}


@pytest.mark.parametrize(
    ("site", "origin", "own"),
    [
        ("", "", True),
        ("same-origin", "https://images.example.com", True),
        ("none", "", True),
        ("", "https://images.example.com:443", True),
        ("same-site", "https://images.example.com", False),
        ("cross-site", "", False),
        ("", "https://evil.example", False),
        ("", "http://images.example.com", False),
        ("", "null", False),
        ("same-origin", "https://evil.example", False),
    ],
)
def test_a_request_is_our_own_when_a_browser_says_nothing_else(site, origin, own):
    assert is_own(site, origin, OWN) is own
