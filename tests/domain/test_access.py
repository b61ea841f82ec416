"""What a key may do."""

from __future__ import annotations

import pytest

from gateway.domain.access import ANYTHING, LIST_MAX, KeyRules, Team
from gateway.domain.administration import Permission, Role


def test_no_rule_allows_everything():
    assert ANYTHING.admits_scope("generate")
    assert ANYTHING.admits_address(None)
    assert list(ANYTHING.problems()) == []


@pytest.mark.parametrize(
    ("network", "address", "admitted"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "2001:db8::1", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("10.0.0.0/8", None, False),
        ("10.0.0.0/8", "nowhere", False),
        ("0.0.0.0/0", "", False),
    ],
)
def test_a_network_admits_callers_at_its_addresses(network, address, admitted):
    assert KeyRules(networks=(network,)).admits_address(address) is admitted


def test_good_rules_have_no_problems():
    rules = KeyRules(scopes=("read",), models=("wan",), networks=("10.0.0.0/8", "::1/128"))
    assert list(rules.problems()) == []
    assert KeyRules().admits_address("10.1.2.3")


def test_a_scope_that_is_not_listed_is_not_admitted():
    rules = KeyRules(scopes=("read",))
    assert [rules.admits_scope(scope) for scope in ("read", "generate", "usage")] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("rules", "field", "legal"),
    [
        (KeyRules(scopes=("write",)), "scopes", "generate, read, usage"),
        (KeyRules(networks=("10.0.0.0/99",)), "networks", "CIDR"),
        (KeyRules(networks=("10.0.0.1/8",)), "networks", "CIDR"),
        (KeyRules(models=()), "models", "null for no rule"),
        (KeyRules(concurrent_tasks=0), "concurrent_tasks", "1 to 1000000"),
        (KeyRules(credit_cap=0), "credit_cap", "more than 0 credits"),
        (KeyRules(monthly_credit_cap=2**63), "monthly_credit_cap", "more than 0 credits"),
        (KeyRules(upstreams=("x",) * (LIST_MAX + 1)), "upstreams", "null for no rule"),
    ],
)
def test_a_rule_that_says_nothing_is_named_with_what_is_legal(rules, field, legal):
    (problem,) = rules.problems()
    assert problem.field == field
    assert legal in problem.legal


def test_what_is_held_is_not_available():
    team = Team("t", "studio", balance=10, held=4, webhook_secret="", created_ms=0)
    assert team.available == 6


def test_only_an_admin_manages_operators():
    assert [role for role in Role if role.may(Permission.OPERATORS)] == [Role.ADMIN]
