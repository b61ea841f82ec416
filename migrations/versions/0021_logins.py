"""Logging in: passwords of operators, sessions of browsers, and which one made a change."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

WORD = 'text COLLATE "C"'


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(f"ALTER TABLE audit ADD COLUMN session {WORD}")
    op.execute(f"""
CREATE TABLE operator_passwords (
    operator_id {WORD} PRIMARY KEY REFERENCES operators (id) ON DELETE CASCADE,
    hash text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    set_ms bigint NOT NULL
)""")
    op.execute(f"""
CREATE TABLE operator_sessions (
    hash bytea PRIMARY KEY,
    id {WORD} NOT NULL,
    operator_id {WORD} REFERENCES operators (id) ON DELETE CASCADE,
    admin_key bytea,
    address bytea NOT NULL,
    method {WORD} NOT NULL,
    created_ms bigint NOT NULL,
    seen_ms bigint NOT NULL,
    ended_ms bigint,
    CONSTRAINT operator_sessions_id_key UNIQUE (id),
    CONSTRAINT operator_sessions_of_one CHECK ((operator_id IS NULL) <> (admin_key IS NULL))
)""")
    op.execute(
        "CREATE INDEX operator_sessions_of_operator ON operator_sessions (operator_id, created_ms)"
    )
    op.execute("CREATE INDEX operator_sessions_by_age ON operator_sessions (created_ms)")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP TABLE operator_sessions")
    op.execute("DROP TABLE operator_passwords")
    op.execute("ALTER TABLE audit DROP COLUMN session")
