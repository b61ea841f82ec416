"""The tables that triggers on the ledger keep: what is counted for keys and teams, and grants.

``metadata`` is that of all tables, these included.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Uuid, text

from gateway.stores.postgres.tables import Word, metadata

__all__ = ("expiring_grants", "key_counts", "metadata", "team_counts")

team_counts = Table(
    "team_counts",
    metadata,
    Column("team_id", Word, ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True),
    Column("month_spent", BigInteger, nullable=False, server_default="0"),
    *(Column(name, Integer, nullable=False, server_default="0") for name in ("month", "alerted")),
    *(Column(name, BigInteger) for name in ("alerted_of", "low_of")),
)

key_counts = Table(
    "key_counts",
    metadata,
    Column("key_id", Word, ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True),
    *(
        Column(name, BigInteger, nullable=False, server_default="0")
        for name in ("running", "held", "spent", "month_spent")
    ),
    Column("month", Integer, nullable=False, server_default="0"),
)

expiring_grants = Table(
    "expiring_grants",
    metadata,
    Column("transfer_id", Uuid, ForeignKey("transfers.id"), primary_key=True),
    Column("team_id", Word, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in ("expires_ms", "remaining")),
    Index("expiring_grants_left", "team_id", postgresql_where=text("remaining > 0")),
)
