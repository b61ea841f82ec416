"""How things stand with the upstreams now, gathered from those who know."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gateway.app.ports import Budgets, Drains, HealthBoard, Spending, Tracks
from gateway.domain.conditions import Conditions, Scope
from gateway.domain.health import Circuit


@dataclass(frozen=True, slots=True)
class Outlook:
    """Looks at health, budgets, records and drains; each keeps what it knows for a moment."""

    health: HealthBoard
    budgets: Budgets
    drains: Drains
    tracks: Tracks
    spending: Spending

    async def out_of_service(self) -> tuple[Mapping[Scope, Circuit], Collection[str]]:
        """Give the circuits that are not plainly closed, and what is drained. Never raises."""
        return await self.health.circuits(), await self.drains.drained()

    async def look(self) -> Conditions:
        """Give what is known of all upstreams. Never raises: a store that is away is old news."""
        return Conditions(
            circuits=await self.health.circuits(),
            tracks=await self.tracks.tracks(),
            in_flight=await self.budgets.in_flight(),
            spent=await self.spending.spent(),
            drained=await self.drains.drained(),
        )
