"""Grants that expire: what is left of each, and the transfer that takes it away.

A task is paid from grants that were valid when it was accepted, the soonest to expire first, then
from credits that do not expire. A trigger on the ledger books that, while the account is locked by
the statement that writes the transfers. What is left of a grant when it expires stays for as long
as tasks accepted before may be charged it.
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

WORD = 'text COLLATE "C"'

_ENTRIES = """
CREATE OR REPLACE VIEW ledger_entries AS
SELECT t.id AS transfer_id, t.kind, t.team_id, t.task_id, t.created_ms, line.account, line.amount
FROM transfers t
LEFT JOIN transfers h ON h.id = t.hold_id
CROSS JOIN LATERAL (VALUES
    ('external', CASE WHEN t.kind IN ('grant', 'credit') THEN -t.amount
        WHEN t.kind IN ({takes}) THEN t.amount ELSE 0 END),
    ('available', CASE WHEN t.kind = 'capture' THEN t.returned
        WHEN t.kind IN ('hold', {takes}) THEN -t.amount ELSE t.amount END),
    ('held', CASE t.kind WHEN 'hold' THEN t.amount
        WHEN 'capture' THEN -coalesce(h.amount, 0) WHEN 'release' THEN -coalesce(h.amount, 0)
        ELSE 0 END),
    ('revenue', CASE t.kind WHEN 'capture' THEN t.amount WHEN 'refund' THEN -t.amount ELSE 0 END)
) AS line (account, amount)
WHERE line.amount <> 0
"""

_MOVEMENTS = """
CREATE OR REPLACE VIEW reporting.credit_movements AS
SELECT m.id AS transfer_id, to_timestamp(m.created_ms / 1000.0) AS at, t.name AS team, m.team_id,
    CASE WHEN m.kind IN ('credit', 'debit') THEN 'adjustment'
        WHEN m.kind = 'capture' THEN 'charge' ELSE m.kind END AS kind,
    round(CASE WHEN m.kind IN ('capture', {takes}) THEN -m.amount ELSE m.amount END / 1000000.0, 6)
        AS credits,
    m.task_id, m.reference, m.created_ms AS at_ms
FROM transfers m JOIN teams t ON t.id = m.team_id
WHERE m.kind NOT IN ('hold', 'release')
"""

_CREDITS = """
CREATE INDEX transfers_credits ON transfers (team_id, created_ms DESC, id DESC)
    WHERE kind IN ('grant', 'credit', 'debit', 'refund'{more})
"""

# Takes what was charged, and what was debited, from the grants that were valid then. Debits come
# after what has expired was taken away, so a debit finds only valid ones.
_USE = """
DECLARE
    charge record;
    one record;
    due bigint;
    part bigint;
BEGIN
    INSERT INTO expiring_grants (transfer_id, team_id, expires_ms, remaining)
    SELECT id, team_id, expires_ms, amount FROM fresh WHERE expires_ms IS NOT NULL;
    IF NOT EXISTS (
        SELECT FROM fresh f JOIN expiring_grants g ON g.team_id = f.team_id AND g.remaining > 0
        WHERE f.kind IN ('capture', 'debit')
    ) THEN
        RETURN NULL;
    END IF;
    FOR charge IN
        SELECT f.team_id, f.amount, coalesce(t.created_ms, f.created_ms) AS at_ms
        FROM fresh f LEFT JOIN LATERAL (
            SELECT created_ms FROM tasks WHERE id = f.task_id LIMIT 1
        ) t ON true
        WHERE f.kind IN ('capture', 'debit') ORDER BY f.team_id, at_ms, f.id
    LOOP
        due := charge.amount;
        FOR one IN
            SELECT transfer_id, remaining FROM expiring_grants
            WHERE team_id = charge.team_id AND remaining > 0 AND expires_ms > charge.at_ms
            ORDER BY expires_ms, transfer_id
        LOOP
            EXIT WHEN due = 0;
            part := least(due, one.remaining);
            UPDATE expiring_grants SET remaining = remaining - part
            WHERE transfer_id = one.transfer_id;
            due := due - part;
        END LOOP;
    END LOOP;
    RETURN NULL;
END
"""

# What of which grants of a team is to be taken away at a time. Tasks accepted before a grant
# expired may still be charged it; of several grants they take the soonest to expire.
_EXPIRED = """
DECLARE
    one record;
    held bigint;
    reserved bigint := 0;
    kept bigint;
BEGIN
    FOR one IN
        SELECT g.transfer_id, g.expires_ms, g.remaining FROM expiring_grants g
        WHERE g.team_id = of_team AND g.remaining > 0 AND g.expires_ms <= at_ms
        ORDER BY g.expires_ms, g.transfer_id
    LOOP
        -- The inner query is kept apart: unfinished tasks are few, a team's tasks are not.
        SELECT coalesce(sum(t.hold), 0) INTO held FROM (
            SELECT team_id, created_ms, hold FROM tasks
            WHERE status IN ('pending', 'processing') OFFSET 0
        ) t WHERE t.team_id = of_team AND t.created_ms < one.expires_ms;
        kept := least(one.remaining, greatest(held - reserved, 0));
        reserved := reserved + kept;
        IF one.remaining > kept THEN
            grant_id := one.transfer_id;
            amount := one.remaining - kept;
            RETURN NEXT;
        END IF;
    END LOOP;
END
"""

UPGRADE = (
    "LOCK TABLE transfers IN SHARE ROW EXCLUSIVE MODE",
    "ALTER TABLE transfers ADD COLUMN expires_ms bigint",
    # Few rows that change often while they last.
    f"""
CREATE TABLE expiring_grants (
    transfer_id uuid PRIMARY KEY REFERENCES transfers (id),
    team_id {WORD} NOT NULL,
    expires_ms bigint NOT NULL,
    remaining bigint NOT NULL
        CONSTRAINT expiring_grants_remaining CHECK (remaining >= 0)
) WITH (fillfactor = 50)
""",
    """
CREATE INDEX expiring_grants_left ON expiring_grants (team_id) WHERE remaining > 0
""",
    f"CREATE FUNCTION use_grants() RETURNS trigger LANGUAGE plpgsql AS $${_USE}$$",
    """
CREATE TRIGGER transfers_use_grants AFTER INSERT ON transfers REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION use_grants()
""",
    f"""
CREATE FUNCTION expired_grants(of_team text, at_ms bigint)
RETURNS TABLE (grant_id uuid, amount bigint) LANGUAGE plpgsql AS $${_EXPIRED}$$
""",
)


def _replace(kinds: str, lone: str, takes: str, listed: str) -> None:
    """Say which kinds of transfers there are, which have no task, which take, which are listed."""
    every = f"('grant', 'hold', 'capture', 'release', 'credit', 'debit', 'refund'{kinds})"
    for name, check in {
        "transfers_kind": f"kind IN {every}",
        "transfers_task": f"(kind IN ('grant', 'credit', 'debit'{lone})) = (task_id IS NULL)",
    }.items():
        op.execute(f"ALTER TABLE transfers DROP CONSTRAINT {name}")
        op.execute(f"ALTER TABLE transfers ADD CONSTRAINT {name} CHECK ({check})")
    op.execute(_ENTRIES.format(takes=takes))
    op.execute(_MOVEMENTS.format(takes=takes))
    op.execute("DROP INDEX transfers_credits")
    op.execute(_CREDITS.format(more=listed))


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statement in UPGRADE:
        op.execute(statement)
    more = ", 'expiration'"
    _replace(more, more, f"'debit'{more}", more)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP TRIGGER transfers_use_grants ON transfers")
    op.execute("DROP FUNCTION use_grants(), expired_grants(text, bigint)")
    op.execute("DROP TABLE expiring_grants")
    _replace("", "", "'debit'", "")
    op.execute("ALTER TABLE transfers DROP COLUMN expires_ms")
