"""The tables of batches. ``metadata`` is that of all tables, these included."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)

from gateway.stores.postgres.batch_books import ACTIVE
from gateway.stores.postgres.login_tables import metadata
from gateway.stores.postgres.tables import Word

__all__ = ("batch_leases", "batch_lines", "batches", "metadata")

batches = Table(
    "batches",
    metadata,
    Column("id", Word, primary_key=True),
    Column("team_id", Word, ForeignKey("teams.id", ondelete="CASCADE"), nullable=False),
    Column("key_id", Word, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Word, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    *(
        Column(name, Integer, nullable=False, server_default="0")
        for name in ("running", "completed", "failed", "cancelled", "images")
    ),
    Column("charged", BigInteger, nullable=False, server_default="0"),
    Column("reason_code", Word),
    Column("reason", Text),
    Column("callback_url", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Index("batches_newest", text("created_ms DESC"), text("id DESC")),
    Index("batches_of_team", "team_id", text("created_ms DESC"), text("id DESC")),
    Index("batches_active", "team_id", postgresql_where=text(ACTIVE)),
    Index("batches_ended", "ended_ms", postgresql_where=text("ended_ms IS NOT NULL")),
)

batch_lines = Table(
    "batch_lines",
    metadata,
    Column("batch_id", Word, ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("no", Integer, primary_key=True),
    Column("custom_id", Text),
    Column("state", Word, nullable=False, server_default="waiting"),
    Column("draft", LargeBinary, nullable=False),
    Column("callback_url", Text),
    Column("callback_events", Text),
    Column("code", Word),
    Column("message", Text),
    Column("images", Integer, nullable=False, server_default="0"),
    Column("charged", BigInteger, nullable=False, server_default="0"),
    Index(
        "batch_lines_open",
        "batch_id",
        "state",
        "no",
        postgresql_where=text("state IN ('waiting', 'running')"),
    ),
)

batch_leases = Table(
    "batch_leases",
    metadata,
    Column("team_id", Word, ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True),
    Column("runner", Word, nullable=False, server_default=""),
    Column("lease_until_ms", BigInteger, nullable=False, server_default="0"),
)
