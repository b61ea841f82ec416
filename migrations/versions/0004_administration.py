"""Administration: versions of teams and keys, rules of keys, the audit log, repeated creates."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WORD = 'text COLLATE "C"'

UPGRADE = (
    """
ALTER TABLE teams ADD COLUMN version integer NOT NULL DEFAULT 1, ADD COLUMN suspended_ms bigint
""",
    """
ALTER TABLE api_keys ADD COLUMN version integer NOT NULL DEFAULT 1,
    ADD COLUMN models text[], ADD COLUMN upstreams text[], ADD COLUMN networks text[]
""",
    # The column was never written; a list is what it always meant.
    "ALTER TABLE api_keys DROP COLUMN scopes, ADD COLUMN scopes text[]",
    "CREATE INDEX teams_newest ON teams (created_ms DESC, id DESC)",
    "CREATE INDEX api_keys_newest ON api_keys (created_ms DESC, id DESC)",
    f"""
CREATE TABLE audit (
    id bigserial PRIMARY KEY,
    at_ms bigint NOT NULL,
    actor_id {WORD} NOT NULL,
    actor_name text NOT NULL,
    action {WORD} NOT NULL,
    subject {WORD} NOT NULL,
    request_id text NOT NULL,
    before jsonb,
    after jsonb
)""",
    "CREATE INDEX audit_of_subject ON audit (subject, id DESC)",
    f"""
CREATE TABLE admin_repeats (
    actor_id {WORD} NOT NULL,
    scope {WORD} NOT NULL,
    key {WORD} NOT NULL,
    fingerprint bytea NOT NULL,
    subject {WORD},
    sealed bytea,
    created_ms bigint NOT NULL,
    PRIMARY KEY (actor_id, scope, key)
)""",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP TABLE admin_repeats")
    op.execute("DROP TABLE audit")
    op.execute("DROP INDEX teams_newest")
    op.execute("DROP INDEX api_keys_newest")
    op.execute("""
ALTER TABLE api_keys DROP COLUMN version, DROP COLUMN models, DROP COLUMN upstreams,
    DROP COLUMN networks, DROP COLUMN scopes, ADD COLUMN scopes jsonb
""")
    op.execute("ALTER TABLE teams DROP COLUMN version, DROP COLUMN suspended_ms")
