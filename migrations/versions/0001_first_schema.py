"""The first schema: teams, keys, ledger, tasks, attempts, usage, callbacks, assets.

Written in SQL, since what matters most here is what Alembic cannot say: CHECKs, triggers and a
view. Times are UTC milliseconds, money is integer micro.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WORD = 'text COLLATE "C"'

PEOPLE = f"""
CREATE TABLE teams (
    id {WORD} PRIMARY KEY,
    name text NOT NULL CONSTRAINT teams_name_key UNIQUE,
    user_group text NOT NULL DEFAULT 'default',
    created_ms bigint NOT NULL
);
-- The projection of the ledger, moved by the statement that writes the transfer. Rows are few and
-- hot: a nearly empty page lets every update stay on it.
CREATE TABLE accounts (
    team_id {WORD} PRIMARY KEY REFERENCES teams (id),
    balance bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0,
    CONSTRAINT accounts_held_not_negative CHECK (held >= 0),
    CONSTRAINT accounts_never_overdrawn CHECK (balance - held >= 0)
) WITH (fillfactor = 10);
CREATE TABLE webhook_secrets (
    id {WORD} PRIMARY KEY,
    team_id {WORD} NOT NULL REFERENCES teams (id),
    sealed bytea NOT NULL,
    created_ms bigint NOT NULL,
    valid_until_ms bigint
);
CREATE INDEX webhook_secrets_team ON webhook_secrets (team_id, created_ms DESC);
CREATE TABLE api_keys (
    id {WORD} PRIMARY KEY,
    team_id {WORD} NOT NULL REFERENCES teams (id),
    name text NOT NULL DEFAULT '',
    hash bytea NOT NULL CONSTRAINT api_keys_hash_key UNIQUE,
    last4 text NOT NULL,
    default_mode {WORD} NOT NULL DEFAULT 'auto'
        CONSTRAINT api_keys_default_mode CHECK (default_mode IN ('auto', 'sync', 'async')),
    scopes jsonb,
    created_ms bigint NOT NULL,
    expires_ms bigint,
    revoked_ms bigint
);
CREATE INDEX api_keys_team ON api_keys (team_id, created_ms);
CREATE TABLE meta (key {WORD} PRIMARY KEY, value text NOT NULL);
"""

LEDGER = f"""
CREATE TABLE transfers (
    id uuid PRIMARY KEY,
    kind {WORD} NOT NULL
        CONSTRAINT transfers_kind CHECK (kind IN ('grant', 'hold', 'capture', 'release')),
    team_id {WORD} NOT NULL REFERENCES teams (id),
    amount bigint NOT NULL CONSTRAINT transfers_amount CHECK (amount >= 0),
    returned bigint NOT NULL DEFAULT 0
        CONSTRAINT transfers_returned CHECK (returned = 0 OR (returned > 0 AND kind = 'capture')),
    hold_id uuid REFERENCES transfers (id),
    task_id {WORD},
    reference text,
    created_ms bigint NOT NULL,
    CONSTRAINT transfers_resolution_names_hold
        CHECK ((kind IN ('capture', 'release')) = (hold_id IS NOT NULL)),
    CONSTRAINT transfers_task CHECK ((kind = 'grant') = (task_id IS NULL))
);
CREATE UNIQUE INDEX transfers_one_resolution_per_hold ON transfers (hold_id)
    WHERE kind IN ('capture', 'release');
CREATE INDEX transfers_grants ON transfers (team_id, created_ms) WHERE kind = 'grant';
"""

LEDGER_RULES = (
    """
CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'transfers are immutable: % refused', TG_OP
        USING ERRCODE = 'restrict_violation';
END $$
""",
    """
CREATE TRIGGER transfers_immutable BEFORE UPDATE OR DELETE ON transfers
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()
""",
    """
CREATE TRIGGER transfers_not_truncated BEFORE TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()
""",
    """
CREATE FUNCTION check_resolution() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    hold transfers;
BEGIN
    SELECT * INTO hold FROM transfers WHERE id = NEW.hold_id;
    IF hold.kind IS DISTINCT FROM 'hold' OR hold.team_id <> NEW.team_id
        OR hold.task_id <> NEW.task_id OR hold.amount <> NEW.amount + NEW.returned
    THEN
        RAISE EXCEPTION '% % does not resolve its hold exactly', NEW.kind, NEW.id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
""",
    """
CREATE TRIGGER transfers_resolve_exactly BEFORE INSERT ON transfers
    FOR EACH ROW WHEN (NEW.kind IN ('capture', 'release')) EXECUTE FUNCTION check_resolution()
""",
    # A resolution's held line takes the amount of the hold it names, never its own: only so can
    # a sum differ from zero.
    """
CREATE VIEW ledger_entries AS
SELECT t.id AS transfer_id, t.kind, t.team_id, t.task_id, t.created_ms, line.account, line.amount
FROM transfers t
LEFT JOIN transfers h ON h.id = t.hold_id
CROSS JOIN LATERAL (VALUES
    ('external', CASE t.kind WHEN 'grant' THEN -t.amount ELSE 0 END),
    ('available', CASE t.kind WHEN 'grant' THEN t.amount WHEN 'hold' THEN -t.amount
        WHEN 'capture' THEN t.returned WHEN 'release' THEN t.amount END),
    ('held', CASE t.kind WHEN 'grant' THEN 0 WHEN 'hold' THEN t.amount
        ELSE -coalesce(h.amount, 0) END),
    ('revenue', CASE t.kind WHEN 'capture' THEN t.amount ELSE 0 END)
) AS line (account, amount)
WHERE line.amount <> 0
""",
)

WORK = f"""
CREATE TABLE tasks (
    id {WORD} PRIMARY KEY,
    team_id {WORD} NOT NULL,
    key_id {WORD} NOT NULL,
    dialect {WORD} NOT NULL,
    model {WORD} NOT NULL,
    status {WORD} NOT NULL CONSTRAINT tasks_status
        CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'cancelled')),
    fence integer NOT NULL CONSTRAINT tasks_fence CHECK (fence >= 0),
    created_ms bigint NOT NULL,
    deadline_ms bigint NOT NULL,
    finished_ms bigint,
    hold bigint NOT NULL CONSTRAINT tasks_hold CHECK (hold >= 0),
    charged bigint NOT NULL DEFAULT 0
        CONSTRAINT tasks_charged CHECK (charged >= 0 AND charged <= hold),
    callback_url text,
    callback_events text[],
    doc bytea NOT NULL,
    request bytea NOT NULL,
    CONSTRAINT tasks_finished_when_terminal
        CHECK ((status IN ('pending', 'processing')) = (finished_ms IS NULL))
) WITH (fillfactor = 60);
CREATE INDEX tasks_unfinished ON tasks (id) WHERE status IN ('pending', 'processing');
-- Without the id: an index that holds it would tempt the planner, on empty tables, to look tasks
-- up by id in here.
CREATE INDEX tasks_by_team ON tasks (team_id, created_ms DESC);
CREATE INDEX tasks_finished ON tasks (finished_ms) WHERE finished_ms IS NOT NULL;
-- Kept when its task is forgotten: what was paid to whom stays.
CREATE TABLE attempts (
    id {WORD} PRIMARY KEY,
    task_id {WORD} NOT NULL,
    no integer NOT NULL,
    upstream {WORD} NOT NULL,
    adapter {WORD} NOT NULL,
    upstream_model text NOT NULL,
    started_ms bigint NOT NULL,
    finished_ms bigint,
    outcome {WORD} NOT NULL,
    upstream_task_id text,
    code text,
    reason text,
    blame {WORD},
    planned_cost bigint NOT NULL,
    cost bigint NOT NULL,
    exposure bigint NOT NULL,
    polls integer NOT NULL,
    misses integer NOT NULL,
    retry_after_ms bigint NOT NULL,
    idempotent boolean NOT NULL,
    on_ambiguous {WORD} NOT NULL,
    delivered integer NOT NULL
);
CREATE INDEX attempts_of_task ON attempts (task_id, no);
CREATE TABLE usage (
    task_id {WORD} PRIMARY KEY,
    team_id {WORD} NOT NULL,
    key_id {WORD} NOT NULL,
    model {WORD} NOT NULL,
    upstream {WORD},
    status {WORD} NOT NULL,
    images integer NOT NULL,
    charged bigint NOT NULL CONSTRAINT usage_charged CHECK (charged >= 0),
    cost bigint NOT NULL,
    exposure bigint NOT NULL,
    created_ms bigint NOT NULL,
    finished_ms bigint NOT NULL
);
CREATE INDEX usage_by_team ON usage (team_id, finished_ms);
CREATE INDEX usage_by_time ON usage (finished_ms);
"""

DELIVERY = f"""
CREATE TABLE callbacks (
    id {WORD} PRIMARY KEY CONSTRAINT callbacks_id_without_dot CHECK (position('.' in id) = 0),
    task_id {WORD} NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    team_id {WORD} NOT NULL,
    url text NOT NULL,
    event {WORD} NOT NULL,
    state {WORD} NOT NULL DEFAULT 'pending'
        CONSTRAINT callbacks_state CHECK (state IN ('pending', 'delivered', 'dead')),
    tries integer NOT NULL DEFAULT 0,
    next_at_ms bigint NOT NULL,
    lease_until_ms bigint NOT NULL DEFAULT 0,
    created_ms bigint NOT NULL
);
CREATE INDEX callbacks_of_task ON callbacks (task_id);
CREATE INDEX callbacks_due ON callbacks (next_at_ms) WHERE state = 'pending';
CREATE TABLE callback_tries (
    id bigserial PRIMARY KEY,
    callback_id {WORD} NOT NULL REFERENCES callbacks (id) ON DELETE CASCADE,
    status integer,
    error text,
    started_ms bigint NOT NULL,
    duration_ms bigint NOT NULL
);
CREATE INDEX callback_tries_of_callback ON callback_tries (callback_id, id);
CREATE TABLE assets (
    id {WORD} PRIMARY KEY,
    media_type {WORD} NOT NULL,
    content bytea NOT NULL,
    created_ms bigint NOT NULL,
    expires_ms bigint NOT NULL
);
-- Pictures are compressed already.
ALTER TABLE assets ALTER COLUMN content SET STORAGE EXTERNAL;
CREATE INDEX assets_expiry ON assets (expires_ms);
"""

TABLES = (
    "assets", "callback_tries", "callbacks", "usage", "attempts", "tasks", "transfers", "meta",
    "api_keys", "webhook_secrets", "accounts", "teams",
)  # fmt: skip


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for part in (PEOPLE, LEDGER, WORK, DELIVERY):
        for statement in part.split(";\n"):
            if statement.strip():
                op.execute(statement)
    for statement in LEDGER_RULES:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP VIEW ledger_entries")
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION refuse_ledger_change(), check_resolution()")
