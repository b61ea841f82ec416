"""Logging in at an issuer: whom claims are about, which role groups give, where one is sent."""

from __future__ import annotations

import pytest

from gateway.domain.administration import Role
from gateway.domain.oidc import (
    Granted,
    TokenRefused,
    error_word,
    granted_to,
    is_reachable,
    is_safe_path,
    name_of,
    read_roles,
    subject_of,
)


def test_a_map_of_roles_is_read_in_its_order():
    assert read_roles(" a = viewer ,, b=member:the studio") == (
        Granted("a", Role.VIEWER),
        Granted("b", Role.MEMBER, "the studio"),
    )
    assert read_roles("cn=ops=operator") == (Granted("cn=ops", Role.OPERATOR),)
    assert read_roles("") == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("platform", "platform"),
        ("platform=king", "king"),
        ("=admin", "=admin"),
        ("artists=member", "has a team"),
        ("artists=member:", "has a team"),
        ("platform=admin:studio", "has a team"),
    ],
)
def test_a_bad_map_of_roles_is_named(text, named):
    with pytest.raises(ValueError, match=named):
        read_roles(text)


MAP = read_roles("platform=admin,artists=member:studio")


@pytest.mark.parametrize(
    ("claims", "claim", "group"),
    [
        ({"groups": ["artists", "platform"]}, "groups", "platform"),
        ({"groups": ["artists"]}, "groups", "artists"),
        ({"groups": "platform"}, "groups", "platform"),
        ({"groups": [1, None, "artists"]}, "groups", "artists"),
        ({"realm_access": {"roles": ["platform"]}}, "realm_access.roles", "platform"),
        ({"https://x.example/roles": ["platform"]}, "https://x.example/roles", "platform"),
        ({"realm_access": ["roles"]}, "realm_access.roles", None),
        ({"groups": {"platform": True}}, "groups", None),
        ({"groups": ["Platform"]}, "groups", None),
        ({"groups": []}, "groups", None),
        ({}, "groups", None),
        ({}, "realm_access.roles", None),
    ],
)
def test_the_first_role_that_somebodys_groups_have_is_theirs(claims, claim, group):
    granted = granted_to(claims, claim, MAP)
    assert (granted and granted.group) == group


GOOD = {"nonce": "n", "aud": "us", "sub": "u-1"}


@pytest.mark.parametrize(
    "changes", [{}, {"aud": ["us"]}, {"aud": ["us", "others"], "azp": "us"}, {"azp": "us"}]
)
def test_claims_that_answer_us_say_who_it_is(changes):
    assert subject_of({**GOOD, **changes}, "us", "n") == "u-1"


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "other"},
        {"nonce": None},
        {"aud": ["us", "others"]},
        {"aud": ["us", "others"], "azp": "others"},
        {"azp": "others"},
        {"sub": ""},
        {"sub": None},
        {"sub": 7},
        {"sub": "s" * 256},
        {"sub": "a\x00b"},
    ],
)
def test_claims_that_answer_somebody_else_are_refused(changes):
    with pytest.raises(TokenRefused):
        subject_of({**GOOD, **changes}, "us", "n")


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"name": "Ada L", "email": "ada@x.example", "preferred_username": "ada"}, "ada"),
        ({"name": "Ada L", "email": "ada@x.example"}, "ada@x.example"),
        ({"name": " Ada\nL\u202e ", "email": ""}, "AdaL"),
        ({"name": 7}, "u-1"),
        ({"name": "n" * 99}, "n" * 80),
    ],
)
def test_somebody_is_shown_by_a_name_that_can_be(claims, name):
    assert name_of(claims, "u-1") == name


def test_somebody_without_any_name_is_shown_all_the_same():
    assert name_of({}, "\n") == "operator"


def test_only_plain_words_of_an_issuer_are_repeated():
    assert error_word("access_denied") == "access_denied"
    for text in ("<b>", "", "a" * 41, "access_denied\n"):
        assert error_word(text) == "error"


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("/", True),
        ("/console?tab=1#x", True),
        ("//evil.example", False),
        ("/\\evil.example", False),
        ("/\tevil", False),
        ("/\nevil", False),
        ("https://evil.example", False),
        ("console", False),
        ("", False),
        ("/é", False),
        ("/" + "a" * 500, False),
    ],
)
def test_a_way_back_stays_with_us(path, safe):
    assert is_safe_path(path) is safe


@pytest.mark.parametrize(
    ("url", "allow_http", "reachable"),
    [
        ("https://id.example/token", False, True),
        ("http://id.example/token", True, False),
        ("http://127.0.0.1:9/token", True, True),
        ("http://127.0.0.1:9/token", False, False),
        ("https://u@id.example", False, False),
        ("https://id.example/#x", False, False),
        ("https://[bad", False, False),
        ("https:///token", False, False),
        ("ftp://id.example", False, False),
        (None, False, False),
    ],
)
def test_an_issuer_is_reached_by_https_or_on_this_machine_if_allowed(url, allow_http, reachable):
    assert is_reachable(url, allow_http=allow_http) is reachable
