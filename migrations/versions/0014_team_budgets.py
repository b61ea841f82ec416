"""Teams: monthly budgets, and who is told when one fills up or a balance runs low.

Like the counts of keys, those of teams are kept by a trigger on the ledger, while the account is
locked by the statement that writes the transfers. The same trigger writes what is to be told into
the outbox: a charge and its alert are durable together.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

WORD = 'text COLLATE "C"'
COLUMNS = {
    "monthly_budget": "bigint",
    "budget_mode": f"{WORD} NOT NULL DEFAULT 'refuse'",
    "budget_alerts": "integer[] NOT NULL DEFAULT '{80,100}'",
    "low_balance": "bigint",
    "alert_url": "text",
}

_BEGIN = """
INSERT INTO team_counts (team_id, month, month_spent)
SELECT t.id, this.month, coalesce(u.spent, 0)
FROM (SELECT month_of((extract(epoch FROM now()) * 1000)::bigint) AS month) this
CROSS JOIN teams t
LEFT JOIN (
    SELECT team_id, sum(charged)::bigint AS spent FROM usage_days
    WHERE month_of(day_ms) = month_of((extract(epoch FROM now()) * 1000)::bigint) GROUP BY team_id
) u ON u.team_id = t.id
"""

# Of what was charged in several months, the latest counts.
_COUNT = """
UPDATE team_counts c SET month = greatest(c.month, s.month),
    month_spent = CASE WHEN s.month > c.month THEN s.spent
        WHEN s.month = c.month THEN c.month_spent + s.spent ELSE c.month_spent END,
    alerted = CASE WHEN s.month > c.month THEN 0 ELSE c.alerted END
FROM (
    SELECT team_id, max(month) AS month, sum(amount) FILTER (WHERE month = latest)::bigint AS spent
    FROM (
        SELECT team_id, amount, month_of(created_ms) AS month,
            max(month_of(created_ms)) OVER (PARTITION BY team_id) AS latest
        FROM fresh WHERE kind = 'capture'
    ) lines
    GROUP BY team_id
) s WHERE c.team_id = s.team_id
"""

# What an alert's row in the outbox has beside its event and its facts.
_OUTBOX = "id, team_id, url, event, body, next_at_ms, created_ms"


def _row(event: str, facts: str) -> str:
    body = f"""json_build_object('type', 'team.{event}', 'timestamp', to_char(timestamp '1970-01-01'
            + at_ms * interval '1 millisecond', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'data', json_build_object('team_id', team_id, 'team', name, {facts}))::text"""
    word = "'msg_' || replace(gen_random_uuid()::text, '-', '')"
    return f"{word}, team_id, alert_url, '{event}', {body}, at_ms, at_ms"


# The highest percent that was reached and not told of this budget in this month.
_BUDGET = f"""
WITH reached AS (
    UPDATE team_counts c SET alerted = p.percent, alerted_of = p.monthly_budget
    FROM (
        SELECT t.id, t.name, t.alert_url, t.monthly_budget, f.at_ms, max(a.percent) AS percent
        FROM (
            SELECT team_id, max(created_ms) AS at_ms FROM fresh WHERE kind = 'capture'
            GROUP BY team_id
        ) f
        JOIN teams t ON t.id = f.team_id AND t.monthly_budget IS NOT NULL
            AND t.alert_url IS NOT NULL
        JOIN team_counts n ON n.team_id = t.id
        CROSS JOIN LATERAL unnest(t.budget_alerts) AS a(percent)
        WHERE n.month_spent::numeric * 100 >= t.monthly_budget::numeric * a.percent
            AND a.percent > CASE WHEN n.alerted_of = t.monthly_budget THEN n.alerted ELSE 0 END
        GROUP BY t.id, f.at_ms
    ) p
    WHERE c.team_id = p.id
    RETURNING c.team_id, c.month, c.month_spent, p.name, p.alert_url, p.monthly_budget, p.percent,
        p.at_ms
)
INSERT INTO callbacks ({_OUTBOX})
SELECT {
    _row(
        "budget",
        '''
        'month', to_char(make_date((month - 1) / 12, (month - 1) % 12 + 1, 1), 'YYYY-MM'),
        'percent', percent, 'spent', credits_text(month_spent),
        'monthly_budget', credits_text(monthly_budget)
    ''',
    )
} FROM reached
"""

# A balance is told low once; below another mark, or after it was no longer low, it is told again.
_LOW = f"""
WITH turned AS (
    UPDATE team_counts c SET low_of = l.low_of
    FROM (
        SELECT t.id, t.name, t.alert_url, a.balance, f.at_ms,
            CASE WHEN a.balance < t.low_balance THEN t.low_balance END AS low_of
        FROM (
            SELECT team_id, max(created_ms) AS at_ms FROM fresh
            WHERE kind NOT IN ('hold', 'release') GROUP BY team_id
        ) f
        JOIN teams t ON t.id = f.team_id AND t.low_balance IS NOT NULL AND t.alert_url IS NOT NULL
        JOIN accounts a ON a.team_id = t.id
    ) l
    WHERE c.team_id = l.id AND c.low_of IS DISTINCT FROM l.low_of
    RETURNING c.team_id, c.low_of, l.name, l.alert_url, l.balance, l.at_ms
)
INSERT INTO callbacks ({_OUTBOX})
SELECT {
    _row(
        "low_balance",
        '''
        'balance', credits_text(balance), 'low_balance', credits_text(low_of)
    ''',
    )
} FROM turned WHERE low_of IS NOT NULL
"""

UPGRADE = (
    "LOCK TABLE transfers, teams IN SHARE ROW EXCLUSIVE MODE",
    """
CREATE FUNCTION credits_text(micro bigint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT trim_scale(micro / 1000000::numeric)::text $$
""",
    *(f"ALTER TABLE teams ADD COLUMN {name} {kind}" for name, kind in COLUMNS.items()),
    "ALTER TABLE callbacks ALTER COLUMN task_id DROP NOT NULL, ADD COLUMN body text",
    # Few and hot, like accounts.
    f"""
CREATE TABLE team_counts (
    team_id {WORD} PRIMARY KEY REFERENCES teams (id) ON DELETE CASCADE,
    month integer NOT NULL DEFAULT 0,
    month_spent bigint NOT NULL DEFAULT 0,
    alerted integer NOT NULL DEFAULT 0,
    alerted_of bigint,
    low_of bigint
) WITH (fillfactor = 10)
""",
    _BEGIN,
    """
CREATE FUNCTION begin_team_counts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO team_counts (team_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER teams_counted AFTER INSERT ON teams
    FOR EACH ROW EXECUTE FUNCTION begin_team_counts()
""",
    f"""
CREATE FUNCTION count_for_teams() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- The hot case: holds move no balance.
    IF EXISTS (SELECT FROM fresh WHERE kind = 'capture') THEN
        {_COUNT};
        {_BUDGET};
    END IF;
    IF EXISTS (SELECT FROM fresh WHERE kind NOT IN ('hold', 'release')) THEN
        {_LOW};
    END IF;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER transfers_counted_for_teams AFTER INSERT ON transfers
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION count_for_teams()
""",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP TRIGGER transfers_counted_for_teams ON transfers")
    op.execute("DROP TRIGGER teams_counted ON teams")
    op.execute("DROP TABLE team_counts")
    op.execute("DROP FUNCTION count_for_teams(), begin_team_counts()")
    op.execute("DELETE FROM callbacks WHERE task_id IS NULL")
    op.execute("ALTER TABLE callbacks ALTER COLUMN task_id SET NOT NULL, DROP COLUMN body")
    for column in COLUMNS:
        op.execute(f"ALTER TABLE teams DROP COLUMN {column}")
    op.execute("DROP FUNCTION credits_text(bigint)")
