"""Upstreams that an operator took out of service, while their configuration stays."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("""
CREATE TABLE drained_upstreams (
    name text COLLATE "C" PRIMARY KEY,
    at_ms bigint NOT NULL
)""")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP TABLE drained_upstreams")
