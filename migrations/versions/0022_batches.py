"""Batches: files of create calls, and which worker feeds those of a team.

Lines change state two or three times each; every change empties what it does not need any more.
"""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

WORD = 'text COLLATE "C"'

UPGRADE = (
    f"""
CREATE TABLE batches (
    id {WORD} PRIMARY KEY,
    team_id {WORD} NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    key_id {WORD} NOT NULL,
    name text NOT NULL,
    status {WORD} NOT NULL,
    concurrency integer NOT NULL CHECK (concurrency > 0),
    total integer NOT NULL CHECK (total > 0),
    running integer NOT NULL DEFAULT 0 CHECK (running >= 0),
    completed integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    cancelled integer NOT NULL DEFAULT 0,
    images integer NOT NULL DEFAULT 0,
    charged bigint NOT NULL DEFAULT 0,
    reason_code {WORD},
    reason text,
    callback_url text,
    created_ms bigint NOT NULL,
    ended_ms bigint,
    CHECK (running + completed + failed + cancelled <= total)
)""",
    "CREATE INDEX batches_newest ON batches (created_ms DESC, id DESC)",
    "CREATE INDEX batches_of_team ON batches (team_id, created_ms DESC, id DESC)",
    """
CREATE INDEX batches_active ON batches (team_id)
WHERE status IN ('running', 'cancelling') OR running > 0
""",
    "CREATE INDEX batches_ended ON batches (ended_ms) WHERE ended_ms IS NOT NULL",
    f"""
CREATE TABLE batch_lines (
    batch_id {WORD} NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    no integer NOT NULL,
    custom_id text,
    state {WORD} NOT NULL DEFAULT 'waiting',
    draft bytea NOT NULL,
    callback_url text,
    callback_events text,
    code {WORD},
    message text,
    images integer NOT NULL DEFAULT 0,
    charged bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (batch_id, no)
)""",
    """
CREATE INDEX batch_lines_open ON batch_lines (batch_id, state, no)
WHERE state IN ('waiting', 'running')
""",
    f"""
CREATE TABLE batch_leases (
    team_id {WORD} PRIMARY KEY REFERENCES teams (id) ON DELETE CASCADE,
    runner {WORD} NOT NULL DEFAULT '',
    lease_until_ms bigint NOT NULL DEFAULT 0
)""",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP TABLE batch_leases, batch_lines, batches")
