"""The tables of logging in: passwords, sessions, issuers. ``metadata`` is that of all tables."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.stores.postgres.counting_tables import metadata
from gateway.stores.postgres.tables import Word

__all__ = (
    "metadata",
    "oidc_states",
    "operator_passwords",
    "operator_sessions",
    "operator_subjects",
)

operator_passwords = Table(
    "operator_passwords",
    metadata,
    Column("operator_id", Word, ForeignKey("operators.id", ondelete="CASCADE"), primary_key=True),
    Column("hash", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("set_ms", BigInteger, nullable=False),
)

operator_sessions = Table(
    "operator_sessions",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("id", Word, nullable=False),
    Column("operator_id", Word, ForeignKey("operators.id", ondelete="CASCADE")),
    Column("admin_key", LargeBinary),
    Column("address", LargeBinary, nullable=False),
    Column("method", Word, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in ("created_ms", "seen_ms")),
    Column("ended_ms", BigInteger),
    UniqueConstraint("id", name="operator_sessions_id_key"),
    CheckConstraint(
        "(operator_id IS NULL) <> (admin_key IS NULL)", name="operator_sessions_of_one"
    ),
    Index("operator_sessions_of_operator", "operator_id", "created_ms"),
    Index("operator_sessions_by_age", "created_ms"),
)

operator_subjects = Table(
    "operator_subjects",
    metadata,
    Column("issuer", Word, primary_key=True),
    Column("subject", Word, primary_key=True),
    Column("operator_id", Word, ForeignKey("operators.id", ondelete="CASCADE"), nullable=False),
    UniqueConstraint("operator_id", name="operator_subjects_operator_id_key"),
)

oidc_states = Table(
    "oidc_states",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Index("oidc_states_by_age", "at_ms"),
)
