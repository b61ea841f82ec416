"""Callbacks: slow retries that a team opts into, receivers that are gone, lists for operators."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

WORD = 'text COLLATE "C"'

UPGRADE = (
    f"ALTER TABLE teams ADD COLUMN callback_retries {WORD} NOT NULL DEFAULT 'quick'",
    f"""
CREATE TABLE gone_receivers (
    team_id {WORD} NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    url_hash bytea NOT NULL,
    at_ms bigint NOT NULL,
    PRIMARY KEY (team_id, url_hash)
)""",
    "CREATE INDEX callbacks_newest ON callbacks (created_ms DESC, id DESC)",
    """
CREATE INDEX callbacks_dead ON callbacks (created_ms DESC, id DESC) WHERE state = 'dead'
""",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP INDEX callbacks_dead")
    op.execute("DROP INDEX callbacks_newest")
    op.execute("DROP TABLE gone_receivers")
    op.execute("ALTER TABLE teams DROP COLUMN callback_retries")
