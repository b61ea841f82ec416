"""What a simulated vendor really bills: one record per finished job that delivered pictures.

Amounts are integer USD micros (1 USD = 1,000,000). A job whose answer never reached the caller is
billed like any other, which is what makes the gateway's idea of its cost checkable against the
vendor's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

RECORDS_KEPT = 200_000
"""Newest records kept per vendor; the totals stay exact beyond that."""

Price = int | Mapping[str, int]
"""USD micros per picture: one number, or a number by size tier (``1K``, ``2K``, ``4K``)."""


def usd(amount: str) -> int:
    """Turn a decimal USD amount such as ``"0.022"`` into micros; a ValueError if it is finer than a
    micro.
    """
    micros = Decimal(amount) * 1_000_000
    if micros != micros.to_integral_value():
        raise ValueError(f"{amount} USD is finer than one micro")
    return int(micros)


def size_tier(width: int, height: int) -> str:
    """Name the price tier of a picture by its area: up to 1024² is ``1K``, up to 2048² is ``2K``,
    else ``4K``.
    """
    area = width * height
    if area <= 1024 * 1024:
        return "1K"
    return "2K" if area <= 2048 * 2048 else "4K"


def price_of(price: Price, width: int, height: int) -> int:
    """Price of one picture of that size in USD micros; a KeyError names a tier that the table
    leaves out.
    """
    return price if isinstance(price, int) else price[size_tier(width, height)]


@dataclass(frozen=True, slots=True)
class BillRecord:
    """One billed job: the vendor's task id, what was delivered and what it cost in USD micros."""

    task_id: str
    model: str
    images: int
    amount_usd_micros: int
    accepted_ms: int
    billed_ms: int
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class Bill:
    """A vendor's account at one moment: what is billed, and what accepted jobs will add when they
    finish.
    """

    vendor: str
    records: tuple[BillRecord, ...]
    images: int
    amount_usd_micros: int
    pending_images: int
    pending_usd_micros: int


class BillBook:
    """Collects the records of one vendor and keeps exact totals."""

    def __init__(self) -> None:
        self._records: deque[BillRecord] = deque(maxlen=RECORDS_KEPT)
        self._images = 0
        self._amount_usd_micros = 0

    def add(self, record: BillRecord) -> None:
        """Book one record."""
        self._records.append(record)
        self._images += record.images
        self._amount_usd_micros += record.amount_usd_micros

    def bill(self, vendor: str, pending_images: int, pending_usd_micros: int) -> Bill:
        """Give the account as it stands, with the given work still to come."""
        return Bill(
            vendor=vendor,
            records=tuple(self._records),
            images=self._images,
            amount_usd_micros=self._amount_usd_micros,
            pending_images=pending_images,
            pending_usd_micros=pending_usd_micros,
        )
