"""Members: operators who may read one team, and nothing else."""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

WORD = 'text COLLATE "C"'


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(f"""
ALTER TABLE operators
    ADD COLUMN team_id {WORD} REFERENCES teams (id) ON DELETE CASCADE,
    ADD CONSTRAINT operators_members_team CHECK ((role = 'member') = (team_id IS NOT NULL))
""")
    op.execute("CREATE INDEX operators_of_team ON operators (team_id) WHERE team_id IS NOT NULL")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DELETE FROM operators WHERE role = 'member'")
    op.execute("ALTER TABLE operators DROP COLUMN team_id")
