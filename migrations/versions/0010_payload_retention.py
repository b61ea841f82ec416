"""An index of ended tasks whose request is still kept, for the workers that strip old ones."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("""
CREATE INDEX tasks_with_payload ON tasks (finished_ms)
    WHERE finished_ms IS NOT NULL AND octet_length(request) > 0
""")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP INDEX tasks_with_payload")
