"""Monthly budgets of teams: what they admit, and what cannot be one."""

from __future__ import annotations

import pytest

from gateway.domain.budgets import Budget, BudgetReached, over_budget

CREDIT = 1_000_000


def test_a_team_without_a_budget_spends_what_it_has():
    assert over_budget(None, 2**62, CREDIT) is None
    assert list(Budget().problems()) == []


def test_a_budget_is_used_to_the_last_micro_credit():
    assert over_budget(10 * CREDIT, 7 * CREDIT, 3 * CREDIT) is None
    error = over_budget(10 * CREDIT, 7 * CREDIT, 3 * CREDIT + 1)
    assert isinstance(error, BudgetReached)
    assert (error.status, error.code) == (402, "team_budget")
    assert "needs 3.000001 credits; of the team's budget of 10 a month 3 are left" in error.message


def test_a_budget_that_was_lowered_below_what_is_spent_leaves_nothing():
    assert "a month 0 are left" in str(over_budget(CREDIT, 5 * CREDIT, 1))


@pytest.mark.parametrize(
    ("budget", "field", "legal"),
    [
        (Budget(monthly_budget=0), "monthly_budget", "more than 0 credits"),
        (Budget(low_balance=2**63), "low_balance", "more than 0 credits"),
        (Budget(budget_mode="shout"), "budget_mode", "refuse, alert"),
        (Budget(budget_alerts=(0,)), "budget_alerts", "1 to 1000"),
        (Budget(budget_alerts=(5,) * 11), "budget_alerts", "at most 10 percents"),
        (Budget(alert_url=""), "alert_url", "an https URL"),
        (Budget(alert_url="https://" + "x" * 2048), "alert_url", "2048 characters"),
    ],
)
def test_what_cannot_be_is_named_with_what_is_legal(budget, field, legal):
    (problem,) = budget.problems()
    assert problem.field == field
    assert legal in problem.legal
