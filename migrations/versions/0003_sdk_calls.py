"""Calls of SDKs that count their retries: which task an earlier try of the same call made."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WORD = 'text COLLATE "C"'


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(f"""
CREATE TABLE sdk_calls (
    task_id {WORD} PRIMARY KEY,
    key_id {WORD} NOT NULL,
    fingerprint bytea NOT NULL,
    retries integer NOT NULL CONSTRAINT sdk_calls_retries CHECK (retries >= 0),
    created_ms bigint NOT NULL
)""")
    op.execute("CREATE INDEX sdk_calls_newest ON sdk_calls (key_id, fingerprint, created_ms DESC)")
    op.execute("CREATE INDEX sdk_calls_age ON sdk_calls (created_ms)")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP TABLE sdk_calls")
