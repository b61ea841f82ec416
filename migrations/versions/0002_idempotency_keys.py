"""Idempotency keys: which task the first call under a key made."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WORD = 'text COLLATE "C"'


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(f"""
CREATE TABLE idempotency_keys (
    team_id {WORD} NOT NULL,
    scope {WORD} NOT NULL,
    key {WORD} NOT NULL,
    fingerprint bytea NOT NULL,
    task_id {WORD} NOT NULL,
    created_ms bigint NOT NULL,
    PRIMARY KEY (team_id, scope, key)
)""")
    op.execute("CREATE INDEX idempotency_keys_age ON idempotency_keys (created_ms)")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP TABLE idempotency_keys")
