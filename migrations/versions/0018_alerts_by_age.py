"""Alerts of teams by their age, so that forgetting them reads no callback of a task."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("CREATE INDEX callbacks_alerts ON callbacks (created_ms) WHERE task_id IS NULL")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP INDEX callbacks_alerts")
