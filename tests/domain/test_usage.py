"""What a group of tasks left over: the charge at a rate, less the cost."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.domain.usage import UsageSum

CREDIT = 1_000_000


@pytest.mark.parametrize(
    ("charged", "cost", "margin"),
    [
        (15 * CREDIT // 10, 22_000, 0),
        (3 * CREDIT, 22_000, 22_000),
        (0, 22_000, -22_000),
        (0, 0, 0),
        (100 * CREDIT, 0, 1_466_667),
    ],
)
def test_margin_is_the_charge_in_dollars_less_the_cost(
    charged: int, cost: int, margin: int
) -> None:
    row = UsageSum({"team": "studio"}, charged=charged, cost=cost)
    assert row.margin(Decimal("68.1818")) == margin
