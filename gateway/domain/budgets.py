"""What a team may spend in a month, and when it wants to be told about its credits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from gateway.domain.callback import URL_MAX
from gateway.domain.errors import InsufficientCredits, Problem
from gateway.domain.money import MICRO_MAX, MicroCredits, format_micro

MODES = ("refuse", "alert")
ALERTS_MAX = 10
PERCENT_MAX = 1_000
ALERTS = (80, 100)


class BudgetReached(InsufficientCredits):
    """The team has spent what it may this month."""

    code = "team_budget"


@dataclass(frozen=True, slots=True)
class Budget:
    """A team's monthly budget and alerts. Credits are micro-credits, months those of UTC.

    ``budget_mode`` ``refuse`` takes no task that could pass the budget, ``alert`` only tells.
    ``budget_alerts`` are percents of the budget: charges that reach one are told, once a month
    and budget. A balance (before holds) that falls below ``low_balance`` is told once, until it
    was no longer below. ``alert_url`` is where both are told; None tells nobody.
    """

    monthly_budget: MicroCredits | None = None
    budget_mode: str = "refuse"
    budget_alerts: tuple[int, ...] = ALERTS
    low_balance: MicroCredits | None = None
    alert_url: str | None = None

    def problems(self) -> Iterator[Problem]:
        """Give everything that is wrong, by field; whether the URL is public is asked elsewhere."""
        for name in ("monthly_budget", "low_balance"):
            amount = getattr(self, name)
            if amount is not None and not 0 < amount <= MICRO_MAX:
                yield Problem(name, f"{name} is not valid.", legal="more than 0 credits, or null")
        if self.budget_mode not in MODES:
            yield Problem("budget_mode", "This is no mode.", legal=", ".join(MODES))
        alerts = self.budget_alerts
        if len(alerts) > ALERTS_MAX or not all(1 <= percent <= PERCENT_MAX for percent in alerts):
            legal = f"at most {ALERTS_MAX} percents, each 1 to {PERCENT_MAX}"
            yield Problem("budget_alerts", "budget_alerts is not valid.", legal=legal)
        if self.alert_url is not None and not 0 < len(self.alert_url) <= URL_MAX:
            legal = f"an https URL of at most {URL_MAX} characters, or null"
            yield Problem("alert_url", "alert_url is not valid.", legal=legal)


NO_BUDGET = Budget()
FIELDS = tuple(field.name for field in fields(Budget))


def over_budget(
    budget: MicroCredits | None, used: MicroCredits, hold: MicroCredits
) -> BudgetReached | None:
    """Give why a task with such a hold may not begin, None when it may.

    ``budget`` None refuses nothing; ``used`` is what was charged this month, and what running
    tasks may be.
    """
    if budget is None or used + hold <= budget:
        return None
    return BudgetReached(
        f"This request needs {format_micro(hold)} credits; of the team's budget of "
        f"{format_micro(budget)} a month {format_micro(max(budget - used, 0))} are left."
    )
