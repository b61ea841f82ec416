"""What a team pays: a unit price per picture, frozen at accept, held for each one asked for."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.model import Catalog
from gateway.domain.money import MicroCredits
from gateway.domain.request import GenerationRequest
from gateway.domain.sizes import resolve


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one request in micro-credits: ``hold`` is ``unit`` × ``n``.

    ``tier`` is the size tier it was priced at. What is charged in the end is ``unit`` times the
    delivered pictures, never more than ``hold``.
    """

    unit: MicroCredits
    n: int
    tier: str

    @property
    def hold(self) -> MicroCredits:
        """What is held at accept."""
        return self.unit * self.n


def price_of(request: GenerationRequest, catalog: Catalog) -> Price:
    """Price a checked request for a model that is sold, by its size under the model's own rule."""
    resolved = resolve(request, catalog.models[request.model].limits.size)
    unit = catalog.price(request.model, resolved.tier, edits=bool(request.images))
    return Price(unit, request.n, resolved.tier)
