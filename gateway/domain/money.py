"""Money as integers: micro-credits for what a team pays, micro-USD for what a vendor costs.

One credit (or dollar) is 1,000,000 micro. Nothing here or elsewhere is ever a float.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import TypeAlias

MicroCredits: TypeAlias = int
MicroUsd: TypeAlias = int

MICRO = 1_000_000
# PostgreSQL's BIGINT; an amount beyond it could not be stored.
MICRO_MAX = 2**63 - 1


def parse_micro(amount: str | int | Decimal) -> int:
    """Give the micro amount of a decimal text such as ``"1.5"`` (credits or USD).

    Raises ValueError when it is no plain decimal number, has more than six decimals,
    or does not fit 64 bits.
    """
    try:
        value = Decimal(amount)
    except InvalidOperation:
        raise ValueError(f"{amount!r} is not a decimal number") from None
    if not value.is_finite():
        raise ValueError(f"{amount!r} is not a finite number")
    if abs(value) > MICRO_MAX // MICRO:
        raise ValueError(f"{amount} is too large")
    micro = value.scaleb(6)
    if micro != micro.to_integral_value():
        raise ValueError(f"{amount} has more than six decimals")
    return int(micro)


def format_micro(micro: int) -> str:
    """Give the shortest exact decimal text of a micro amount: 1500000 is ``"1.5"``."""
    sign = "-" if micro < 0 else ""
    whole, fraction = divmod(abs(micro), MICRO)
    if not fraction:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:06d}".rstrip("0")


def credits_for_usd(cost: MicroUsd, credits_per_usd: Decimal) -> MicroCredits:
    """Give the credits that cover a USD cost, rounded up to a whole micro-credit."""
    return int((Decimal(cost) * credits_per_usd).to_integral_value(rounding=ROUND_CEILING))
