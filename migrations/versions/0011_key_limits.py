"""Keys: how many requests and pictures a minute."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COLUMNS = ("requests_per_minute", "images_per_minute")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for column in COLUMNS:
        op.execute(f"ALTER TABLE api_keys ADD COLUMN {column} integer")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for column in COLUMNS:
        op.execute(f"ALTER TABLE api_keys DROP COLUMN {column}")
