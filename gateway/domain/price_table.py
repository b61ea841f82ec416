"""An amount per picture, by size tier and over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

ORDER = ("1K", "2K", "4K")


@dataclass(frozen=True, slots=True)
class PriceTable:
    """An amount per picture: one ``flat`` amount, or one per tier (1K, 2K, 4K), in micro.

    ``edit`` comes on top for each picture that is made from pictures. ``changes`` replace the
    amounts for a time.
    """

    flat: int | None = None
    tiers: Mapping[str, int] = field(default_factory=dict)
    edit: int = 0
    changes: tuple[PriceChange, ...] = ()

    def per_image(self, tier: str, *, edits: bool = False) -> int:
        """Give the micro amount for one picture of a tier.

        A tier missing from the table costs what the next larger listed tier costs, else the
        largest: never less than the vendor could ask.
        """
        return self._amount(tier) + (self.edit if edits else 0)

    def _amount(self, tier: str) -> int:
        if self.flat is not None:
            return self.flat
        for name in ORDER[ORDER.index(tier) :]:
            if name in self.tiers:
                return self.tiers[name]
        return max(self.tiers.values())

    def at(self, now_ms: int) -> PriceTable:
        """Give the amounts in force at a time (UTC ms); of several changes, the latest begun."""
        running = [change for change in self.changes if change.covers(now_ms)]
        if not running:
            return PriceTable(self.flat, self.tiers, self.edit)
        latest = max(running, key=lambda change: change.from_ms).table
        return PriceTable(latest.flat, latest.tiers, self.edit)

    def moments(self) -> Iterator[int]:
        """Give every time at which the amounts change (UTC ms)."""
        for change in self.changes:
            yield change.from_ms
            if change.until_ms is not None:
                yield change.until_ms


@dataclass(frozen=True, slots=True)
class PriceChange:
    """Other amounts from a time on (UTC ms), and until another unless it is None."""

    table: PriceTable
    from_ms: int
    until_ms: int | None = None

    def covers(self, now_ms: int) -> bool:
        """Whether it is in force."""
        return self.from_ms <= now_ms and (self.until_ms is None or now_ms < self.until_ms)
