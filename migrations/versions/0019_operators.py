"""Operators: people and scripts with a token of their own and a role, beside the admin key."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

WORD = 'text COLLATE "C"'


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(f"""
CREATE TABLE operators (
    id {WORD} PRIMARY KEY,
    name text NOT NULL,
    role {WORD} NOT NULL,
    hash bytea NOT NULL,
    last4 text NOT NULL,
    created_ms bigint NOT NULL,
    revoked_ms bigint,
    version integer NOT NULL DEFAULT 1,
    CONSTRAINT operators_name_key UNIQUE (name),
    CONSTRAINT operators_hash_key UNIQUE (hash)
)""")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP TABLE operators")
