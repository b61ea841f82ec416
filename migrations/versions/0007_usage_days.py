"""Usage by day, kept by the transaction that settles: reports stay quick at any number of tasks.

A trigger does it, so that processes of the version before count too while an upgrade goes on. It
runs when the settling statement has its teams' accounts locked: rows of one team are never wanted
by two transactions at once, and no order of theirs can deadlock.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

WORD = 'text COLLATE "C"'
KEY = "day_ms, team_id, key_id, model, upstream, status, latency"
SUMS = ("tasks", "images", "charged", "cost", "exposure", "waste")

_COUNT = f"""
INSERT INTO usage_days AS d ({KEY}, {", ".join(SUMS)})
SELECT ended_ms - ended_ms % 86400000, team_id, key_id, model, upstream, status, latency,
    {", ".join(f"sum({name})" for name in SUMS)}
FROM usage_lines
"""
_GROUPED = "GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7"

UPGRADE = (
    "LOCK TABLE usage IN SHARE ROW EXCLUSIVE MODE",
    # Four classes of latency to an octave: bounds 19 % apart. Only completed tasks have one.
    """
CREATE FUNCTION latency_class(status text, created_ms bigint, ended_ms bigint) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN status = 'completed' THEN
        floor(4 * ln(greatest(ended_ms - created_ms, 1)::float8) / ln(2::float8)) ELSE 0
    END::smallint
$$
""",
    # One line for what a task delivered and was charged, under the upstream that delivered ('' for
    # none), and one for what each of its attempts cost, under the upstream that was tried.
    """
CREATE VIEW usage_lines AS
SELECT u.task_id, u.finished_ms AS ended_ms, u.team_id, u.key_id, u.model,
    coalesce(u.upstream, '' COLLATE "C") AS upstream, u.status,
    latency_class(u.status, u.created_ms, u.finished_ms) AS latency,
    1 AS tasks, u.images, u.charged, 0::bigint AS cost, 0::bigint AS exposure, 0::bigint AS waste
FROM usage u
UNION ALL
SELECT u.task_id, u.finished_ms, u.team_id, u.key_id, u.model, a.upstream, u.status,
    latency_class(u.status, u.created_ms, u.finished_ms),
    0, 0, 0, a.cost, a.exposure, CASE WHEN a.delivered = 0 THEN a.cost ELSE 0 END
FROM usage u JOIN attempts a ON a.task_id = u.task_id
""",
    f"""
CREATE TABLE usage_days (
    day_ms bigint NOT NULL,
    team_id {WORD} NOT NULL,
    key_id {WORD} NOT NULL,
    model {WORD} NOT NULL,
    upstream {WORD} NOT NULL,
    status {WORD} NOT NULL,
    latency smallint NOT NULL,
    {", ".join(f"{name} bigint NOT NULL" for name in SUMS)},
    PRIMARY KEY ({KEY})
) WITH (fillfactor = 70)
""",
    f"{_COUNT} {_GROUPED}",
    f"""
CREATE FUNCTION count_usage() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    fresh_ids text[];
BEGIN
    SELECT array_agg(task_id) INTO fresh_ids FROM fresh;
    {_COUNT} WHERE task_id = ANY(fresh_ids) {_GROUPED}
    ON CONFLICT ({KEY}) DO UPDATE
    SET {", ".join(f"{name} = d.{name} + excluded.{name}" for name in SUMS)};
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER usage_counted AFTER INSERT ON usage REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION count_usage()
""",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP TRIGGER usage_counted ON usage")
    op.execute("DROP FUNCTION count_usage()")
    op.execute("DROP TABLE usage_days")
    op.execute("DROP VIEW usage_lines")
    op.execute("DROP FUNCTION latency_class(text, bigint, bigint)")
