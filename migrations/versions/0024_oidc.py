"""Logging in at an issuer: operators without a token, who they are there, used states."""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

WORD = 'text COLLATE "C"'


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("ALTER TABLE operators ALTER COLUMN hash DROP NOT NULL")
    op.execute(f"""
CREATE TABLE operator_subjects (
    issuer {WORD} NOT NULL,
    subject {WORD} NOT NULL,
    operator_id {WORD} NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
    PRIMARY KEY (issuer, subject),
    CONSTRAINT operator_subjects_operator_id_key UNIQUE (operator_id)
)""")
    op.execute("CREATE TABLE oidc_states (hash bytea PRIMARY KEY, at_ms bigint NOT NULL)")
    op.execute("CREATE INDEX oidc_states_by_age ON oidc_states (at_ms)")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP TABLE oidc_states")
    op.execute("DROP TABLE operator_subjects")
    op.execute("DELETE FROM operators WHERE hash IS NULL")
    op.execute("ALTER TABLE operators ALTER COLUMN hash SET NOT NULL")
