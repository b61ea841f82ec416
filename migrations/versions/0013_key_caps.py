"""Keys: caps on tasks at once and on credits, and the counts they are judged by.

A trigger on the ledger counts, so that processes of the version before count too while an upgrade
goes on. It runs while the statement that writes the transfers has its teams' accounts locked: rows
of one team's keys are never wanted by two transactions at once, and no order of theirs can
deadlock. A rotated key shares its successor's row, named by ``limits_id``.
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

WORD = 'text COLLATE "C"'
CAPS = {"concurrent_tasks": "integer", "credit_cap": "bigint", "monthly_credit_cap": "bigint"}

# Sums what transfers mean for their keys. Of what was charged in several months, the latest counts.
_SUMS = """
SELECT limits_id, max(month) AS month,
    sum(CASE WHEN kind = 'hold' THEN 1 ELSE -1 END)::bigint AS running,
    sum(CASE WHEN kind = 'hold' THEN amount ELSE -amount - returned END)::bigint AS held,
    coalesce(sum(amount) FILTER (WHERE kind = 'capture'), 0)::bigint AS spent,
    coalesce(sum(amount) FILTER (WHERE kind = 'capture' AND month = latest), 0)::bigint
        AS month_spent
FROM (
    SELECT k.limits_id, f.kind, f.amount, f.returned, month_of(f.created_ms) AS month,
        max(month_of(f.created_ms)) OVER (PARTITION BY k.limits_id) AS latest
    FROM fresh f
    CROSS JOIN LATERAL (SELECT key_id FROM tasks WHERE id = f.task_id LIMIT 1) t
    CROSS JOIN LATERAL (SELECT limits_id FROM api_keys WHERE id = t.key_id LIMIT 1) k
    WHERE f.kind IN ('hold', 'capture', 'release')
) lines
GROUP BY limits_id
"""

# What there is already: open holds by their tasks, charges by the day.
_BEGIN = """
INSERT INTO key_counts (key_id, running, held, spent, month, month_spent)
SELECT k.id, coalesce(t.running, 0), coalesce(t.held, 0), coalesce(u.spent, 0), this.month,
    coalesce(u.month_spent, 0)
FROM (SELECT month_of((extract(epoch FROM now()) * 1000)::bigint) AS month) this
CROSS JOIN api_keys k
LEFT JOIN (
    SELECT key_id, count(*) AS running, sum(hold)::bigint AS held FROM tasks
    WHERE status IN ('pending', 'processing') GROUP BY key_id
) t ON t.key_id = k.id
LEFT JOIN (
    SELECT key_id, sum(charged)::bigint AS spent, sum(charged) FILTER (
        WHERE month_of(day_ms) = month_of((extract(epoch FROM now()) * 1000)::bigint)
    )::bigint AS month_spent
    FROM usage_days GROUP BY key_id
) u ON u.key_id = k.id
"""

UPGRADE = (
    "LOCK TABLE transfers, api_keys IN SHARE ROW EXCLUSIVE MODE",
    """
CREATE FUNCTION month_of(ms bigint) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (extract(year FROM at) * 12 + extract(month FROM at))::integer
    FROM (SELECT timestamp '1970-01-01' + ms * interval '1 millisecond' AS at) t
$$
""",
    *(f"ALTER TABLE api_keys ADD COLUMN {name} {kind}" for name, kind in CAPS.items()),
    f"ALTER TABLE api_keys ADD COLUMN limits_id {WORD}",
    "UPDATE api_keys SET limits_id = id",
    "ALTER TABLE api_keys ALTER COLUMN limits_id SET NOT NULL",
    # Few and hot, like accounts.
    f"""
CREATE TABLE key_counts (
    key_id {WORD} PRIMARY KEY REFERENCES api_keys (id) ON DELETE CASCADE,
    running bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0,
    spent bigint NOT NULL DEFAULT 0,
    month integer NOT NULL DEFAULT 0,
    month_spent bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10)
""",
    _BEGIN,
    """
CREATE FUNCTION share_limits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.limits_id := coalesce(NEW.limits_id, NEW.id);
    RETURN NEW;
END $$
""",
    """
CREATE TRIGGER api_keys_share_limits BEFORE INSERT ON api_keys
    FOR EACH ROW EXECUTE FUNCTION share_limits()
""",
    """
CREATE FUNCTION begin_counts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO key_counts (key_id) VALUES (NEW.limits_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER api_keys_counted AFTER INSERT ON api_keys
    FOR EACH ROW EXECUTE FUNCTION begin_counts()
""",
    f"""
CREATE FUNCTION count_for_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE key_counts c SET running = c.running + s.running, held = c.held + s.held,
        spent = c.spent + s.spent, month = greatest(c.month, s.month),
        month_spent = CASE WHEN s.month > c.month THEN s.month_spent
            WHEN s.month = c.month THEN c.month_spent + s.month_spent ELSE c.month_spent END
    FROM ({_SUMS}) s WHERE c.key_id = s.limits_id;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER transfers_counted AFTER INSERT ON transfers REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION count_for_keys()
""",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP TRIGGER transfers_counted ON transfers")
    op.execute("DROP TRIGGER api_keys_counted ON api_keys")
    op.execute("DROP TRIGGER api_keys_share_limits ON api_keys")
    op.execute("DROP TABLE key_counts")
    op.execute("DROP FUNCTION count_for_keys(), begin_counts(), share_limits()")
    for column in ("limits_id", *CAPS):
        op.execute(f"ALTER TABLE api_keys DROP COLUMN {column}")
    op.execute("DROP FUNCTION month_of(bigint)")
