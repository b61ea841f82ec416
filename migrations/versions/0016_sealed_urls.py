"""Indexes of what versions before kept in plain text, and of repeated changes by their age.

Addresses of callbacks are sealed by the gateway, which has the key: the workers find those that
are not sealed yet, and those that ended tasks still have, by indexes that are empty afterwards.
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

INDEXES = {
    "callbacks_plain": "callbacks (id) WHERE url NOT LIKE 'sealed:%'",
    "tasks_told": "tasks (id) WHERE callback_url IS NOT NULL AND finished_ms IS NOT NULL",
    "admin_repeats_age": "admin_repeats (created_ms)",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for name, rows in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON {rows}")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
