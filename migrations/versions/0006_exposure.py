"""Exposure: what became of attempts that may have been billed; what is still open, by time."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UPGRADE = (
    'ALTER TABLE attempts ADD COLUMN resolution text COLLATE "C"',
    "CREATE INDEX attempts_exposed ON attempts (started_ms DESC, id DESC) WHERE exposure > 0",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP INDEX attempts_exposed")
    op.execute("ALTER TABLE attempts DROP COLUMN resolution")
