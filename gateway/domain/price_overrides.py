"""Prices agreed with one team, or for one key of it, instead of the catalogue's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gateway.domain.access import Principal
from gateway.domain.model import Catalog
from gateway.domain.money import format_micro, parse_micro
from gateway.domain.price_table import ORDER, PriceTable

Amounts = str | Mapping[str, str]
"""Credits per picture as decimal texts: one for all, or by tier."""


@dataclass(frozen=True, slots=True)
class PriceOverride:
    """What one model costs a team, or one key (None: all) of it, from a time until another.

    ``owner`` is what it is looked up by: the team's id, or what the key's limits are counted
    under, so that it holds for what the key is rotated into. Times are UTC ms, None is no bound.
    """

    id: int
    team_id: str
    key_id: str | None
    owner: str
    model: str
    table: PriceTable
    from_ms: int | None
    until_ms: int | None
    created_ms: int

    def covers(self, now_ms: int) -> bool:
        """Whether it is in force at a time."""
        begun = self.from_ms is None or self.from_ms <= now_ms
        return begun and (self.until_ms is None or now_ms < self.until_ms)


@dataclass(frozen=True, slots=True)
class PriceOverrides:
    """All overrides there are, by owner."""

    by_owner: Mapping[str, tuple[PriceOverride, ...]] = field(default_factory=dict)

    @staticmethod
    def of(overrides: Iterable[PriceOverride]) -> PriceOverrides:
        """Give them ready to be looked up."""
        found: dict[str, tuple[PriceOverride, ...]] = {}
        for one in overrides:
            found[one.owner] = (*found.get(one.owner, ()), one)
        return PriceOverrides(found)

    def seen_by(self, principal: Principal, catalog: Catalog, now_ms: int) -> Catalog:
        """Give the catalogue with a caller's own prices: its key's, else its team's."""
        own = {
            one.model: one.table
            for owner in (principal.team_id, principal.counted_as)
            for one in self.by_owner.get(owner, ())
            if one.covers(now_ms)
        }
        return replace(catalog, prices={**catalog.prices, **own}) if own else catalog


def read_amounts(value: object) -> PriceTable:
    """Read credits per picture. Raises ValueError saying what is wrong."""
    if isinstance(value, str):
        return PriceTable(flat=_amount(value))
    if not isinstance(value, Mapping) or not value:
        raise ValueError("is neither an amount nor a table by tier")
    if unknown := [name for name in value if name not in ORDER]:
        raise ValueError(f"has no tier {str(unknown[0])[:20]!r}")
    return PriceTable(tiers={tier: _amount(value[tier]) for tier in ORDER if tier in value})


def written(table: PriceTable) -> Amounts:
    """Give credits per picture as they were written."""
    if table.flat is not None:
        return format_micro(table.flat)
    return {tier: format_micro(amount) for tier, amount in table.tiers.items()}


def _amount(text: object) -> int:
    if not isinstance(text, str):
        raise ValueError("has an amount that is no decimal text")  # noqa: TRY004 - told as a value
    micro = parse_micro(text)
    if micro < 0:
        raise ValueError(f"{text} is below 0")
    return micro
