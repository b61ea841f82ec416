"""`reporting`: views for dashboards and finance that read PostgreSQL directly.

They hold no secret, no prompt and no address; amounts are whole credits and dollars as numerics,
times are timestamps. A role that may read them alone needs nothing else.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NAMED = """
LEFT JOIN teams t ON t.id = u.team_id LEFT JOIN api_keys k ON k.id = u.key_id
"""
_WHO = "coalesce(t.name, u.team_id) AS team, u.team_id, coalesce(k.name, '') AS key, u.key_id"


def _micro(name: str, as_name: str) -> str:
    return f"round({name} / 1000000.0, 6) AS {as_name}"


def _at(name: str, as_name: str) -> str:
    return f"to_timestamp({name} / 1000.0) AS {as_name}"


VIEWS = {
    "usage_daily": f"""
        SELECT (to_timestamp(u.day_ms / 1000) AT TIME ZONE 'UTC')::date AS day, {_WHO}, u.model,
            u.upstream, u.status, sum(u.tasks)::bigint AS tasks, sum(u.images)::bigint AS images,
            {_micro("sum(u.charged)", "credits_charged")}, {_micro("sum(u.cost)", "cost_usd")},
            {_micro("sum(u.exposure)", "exposure_usd")}, {_micro("sum(u.waste)", "waste_usd")}
        FROM usage_days u {_NAMED}
        GROUP BY u.day_ms, u.team_id, t.name, u.key_id, k.name, u.model, u.upstream, u.status
    """,
    "latency_daily": """
        SELECT (to_timestamp(u.day_ms / 1000) AT TIME ZONE 'UTC')::date AS day, u.model,
            u.upstream, round(power(2, (u.latency + 0.5) / 4))::bigint AS latency_ms,
            sum(u.tasks)::bigint AS tasks
        FROM usage_days u WHERE u.status = 'completed' AND u.tasks > 0
        GROUP BY u.day_ms, u.model, u.upstream, u.latency
    """,
    "ended_tasks": f"""
        SELECT u.task_id, {_at("u.created_ms", "created_at")}, {_at("u.finished_ms", "ended_at")},
            {_WHO}, u.model, coalesce(u.upstream, '') AS upstream, u.status, u.images,
            {_micro("u.charged", "credits_charged")}, {_micro("u.cost", "cost_usd")},
            {_micro("u.exposure", "exposure_usd")},
            u.finished_ms - u.created_ms AS latency_ms, u.finished_ms AS ended_ms
        FROM usage u {_NAMED}
    """,
    "attempts": f"""
        SELECT a.id AS attempt_id, a.task_id, {_at("a.started_ms", "started_at")}, a.upstream,
            a.adapter, a.upstream_model, a.outcome, a.blame, a.code, a.delivered,
            {_micro("a.cost", "cost_usd")}, {_micro("a.exposure", "exposure_usd")}, a.resolution
        FROM attempts a
    """,
    "balances": f"""
        SELECT t.name AS team, t.id AS team_id, {_micro("a.balance", "balance")},
            {_micro("a.held", "held")}, {_micro("a.balance - a.held", "available")},
            t.suspended_ms IS NOT NULL AS suspended
        FROM teams t JOIN accounts a ON a.team_id = t.id
    """,
    "credit_movements": f"""
        SELECT m.id AS transfer_id, {_at("m.created_ms", "at")}, t.name AS team, m.team_id,
            CASE WHEN m.kind IN ('credit', 'debit') THEN 'adjustment'
                WHEN m.kind = 'capture' THEN 'charge' ELSE m.kind END AS kind,
            {
        _micro(
            "CASE WHEN m.kind IN ('capture', 'debit') THEN -m.amount ELSE m.amount END", "credits"
        )
    },
            m.task_id, m.reference, m.created_ms AS at_ms
        FROM transfers m JOIN teams t ON t.id = m.team_id
        WHERE m.kind NOT IN ('hold', 'release')
    """,
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("CREATE SCHEMA IF NOT EXISTS reporting")
    for name, statement in VIEWS.items():
        op.execute(f"CREATE VIEW reporting.{name} AS {statement}")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW reporting.{name}")
    op.execute("DROP SCHEMA IF EXISTS reporting")
