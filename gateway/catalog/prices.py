"""Amounts per picture as an operator writes them: by tier, by time, in another currency."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal

from gateway.catalog.reading import Table, did_you_mean
from gateway.domain.money import MicroUsd
from gateway.domain.price_table import PriceChange, PriceTable
from gateway.domain.request import TIER_SIDES

Rates = Mapping[str, Decimal]
"""How many units of a currency one US dollar is, by the currency's code."""


def price_table(table: Table, key: str) -> PriceTable | None:
    """Read an amount per picture: one amount, or a table by tier. None when absent or wrong."""
    value = table.values.get(key)
    if not isinstance(value, dict):
        flat = table.micro(key)
        return None if flat is None else PriceTable(flat=flat)
    inner = table.child(key)
    assert inner is not None
    tiers = {}
    for tier in TIER_SIDES:
        amount = inner.micro(tier)
        if amount is not None:
            tiers[tier] = amount
    inner.finish()
    if not value:
        table.note(key, 'needs at least one tier, such as { "2K" = "0.03" }')
    return PriceTable(tiers=tiers) if tiers else None


def read_price(table: Table) -> PriceTable | None:
    """Read what a team pays: ``price_credits``, a surcharge for edits, changes over time.

    None when there is no price.
    """
    price = price_table(table, "price_credits")
    edit = table.micro("edit_surcharge_credits") or 0
    changes = tuple(_changes(table, "changes", lambda one: price_table(one, "price_credits")))
    if price is None:
        for key in ("edit_surcharge_credits", "changes"):
            if key in table:
                table.note(key, "needs price_credits beside it")
        return None
    return replace(price, edit=edit, changes=changes)


COST_KEYS = ("cost", "edit_surcharge")


def read_cost(table: Table, rates: Rates) -> PriceTable | None:
    """Read what a vendor takes: ``cost_usd``, or ``cost`` with ``currency``; None when wrong."""
    rate = _rate(table, rates)
    key, edit_key = ("cost_usd", "edit_surcharge_usd") if rate is None else COST_KEYS
    if key not in table:
        table.note(key, "is missing: what does one picture cost?")
    cost = price_table(table, key)
    edit = table.micro(edit_key) or 0
    changes = tuple(_changes(table, "changes", lambda one: price_table(one, key)))
    if cost is None:
        return None
    whole = replace(cost, edit=edit, changes=changes)
    return whole if rate is None else _in_usd(whole, rate)


def read_rates(top: Table) -> Rates:
    """Read ``[currencies]``: how many units one US dollar is."""
    table = top.child("currencies")
    found = {}
    for code in table.values if table else ():
        assert table is not None
        micro = table.micro(code)
        if not code.isalpha() or not code.isupper() or len(code) != 3 or code == "USD":
            table.note(code, "is no code of another currency, such as CNY")
        elif micro == 0:
            table.note(code, "must be more than 0")
        elif micro:
            found[code] = Decimal(micro).scaleb(-6)
    return found


def every_table(table: PriceTable) -> Iterator[PriceTable]:
    """Give the amounts of every time."""
    yield table
    yield from (change.table for change in table.changes)


def _rate(table: Table, rates: Rates) -> Decimal | None:
    """Give the currency's rate; None for dollars, and for what was noted as wrong."""
    code = table.text("currency")
    if code is None or code == "USD":
        return None
    if code in rates:
        return rates[code]
    hint = did_you_mean(code, rates) or "; [currencies] names none"
    table.note("currency", f"{code!r} has no rate in [currencies]{hint}")
    return Decimal(1)


def _in_usd(table: PriceTable, rate: Decimal) -> PriceTable:
    def usd(amount: int) -> MicroUsd:
        return int((Decimal(amount) / rate).to_integral_value(rounding=ROUND_CEILING))

    return PriceTable(
        flat=None if table.flat is None else usd(table.flat),
        tiers={tier: usd(amount) for tier, amount in table.tiers.items()},
        edit=usd(table.edit),
        changes=tuple(replace(one, table=_in_usd(one.table, rate)) for one in table.changes),
    )


def _changes(
    table: Table, key: str, read: Callable[[Table], PriceTable | None]
) -> Iterator[PriceChange]:
    begun: set[int] = set()
    for one in table.array(key):
        from_ms, until_ms = one.moment("from"), one.moment("until")
        amounts = read(one)
        one.finish()
        if "from" not in one:
            one.note("from", "is missing: when does it begin?")
        if from_ms is None or amounts is None:
            continue
        if until_ms is not None and until_ms <= from_ms:
            one.note("until", "must be later than from")
        elif from_ms in begun:
            one.note("from", "is when another change begins")
        else:
            begun.add(from_ms)
            yield PriceChange(amounts, from_ms, until_ms)
