"""By what the offers of a model are ranked, as the operator or the caller wants it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum


class Strategy(StrEnum):
    """What comes first among the offers that could serve a request."""

    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    EFFECTIVE = "effective"
    WEIGHTED = "weighted"


SORTS: Mapping[str, Strategy] = {
    "price": Strategy.CHEAPEST,
    "latency": Strategy.FASTEST,
    "effective": Strategy.EFFECTIVE,
}
"""What a caller may write as ``provider.sort``. Weights are the operator's alone."""


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """The operator's wishes: a strategy for every model, others for some.

    Costs that lie within ``near_tie_percent`` of the lowest count as equal: the faster and less
    loaded upstream is taken. 0 leaves only true ties. With ``top_up`` what a partial delivery
    lacks is made elsewhere; ``top_ups`` says otherwise for some models.
    """

    strategy: Strategy = Strategy.CHEAPEST
    near_tie_percent: Decimal = Decimal(0)
    models: Mapping[str, Strategy] = field(default_factory=dict)
    top_up: bool = False
    top_ups: Mapping[str, bool] = field(default_factory=dict)

    def for_model(self, model: str) -> Strategy:
        """Give the strategy of a model."""
        return self.models.get(model, self.strategy)

    def tops_up(self, model: str) -> bool:
        """Whether partial deliveries of a model are completed elsewhere."""
        return self.top_ups.get(model, self.top_up)
