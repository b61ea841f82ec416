"""`gateway ledger verify`: every rule of the books, checked by SQL in one snapshot."""

from __future__ import annotations

from gateway.domain.ledger import LedgerReport, Violation
from gateway.stores.postgres.database import Database

_ENDED = "t.status IN ('completed', 'failed', 'cancelled')"
_RESOLUTION = "r.kind IN ('capture', 'release')"

# Each statement gives (subject, detail) of what breaks the rule it is named after.
RULES = {
    "entries_sum_to_zero": """
        SELECT transfer_id::text AS subject, 'entries sum to ' || sum(amount) AS detail
        FROM ledger_entries GROUP BY transfer_id HAVING sum(amount) <> 0
    """,
    "account_is_sum_of_transfers": """
        SELECT a.team_id AS subject, format('balance %s, held %s; transfers say %s, %s',
            a.balance, a.held, coalesce(s.balance, 0), coalesce(s.held, 0)) AS detail
        FROM accounts a LEFT JOIN (
            SELECT team_id,
                sum(amount) FILTER (WHERE account IN ('available', 'held')) AS balance,
                sum(amount) FILTER (WHERE account = 'held') AS held
            FROM ledger_entries GROUP BY team_id
        ) s ON s.team_id = a.team_id
        WHERE a.balance <> coalesce(s.balance, 0) OR a.held <> coalesce(s.held, 0)
    """,
    "no_hold_outlives_its_task": f"""
        SELECT coalesce(t.id, h.task_id) AS subject,
            format('hold of %s is open, the task is %s', h.amount,
                coalesce(t.status, 'unknown')) AS detail
        FROM transfers h LEFT JOIN transfers r ON r.hold_id = h.id LEFT JOIN tasks t
            ON t.id = h.task_id
        WHERE h.kind = 'hold' AND r.id IS NULL AND (t.id IS NULL OR {_ENDED})
    """,
    "task_has_its_hold": """
        SELECT t.id AS subject, format('the task holds %s, its transfer %s', t.hold,
            coalesce(h.amount::text, 'is missing')) AS detail
        FROM tasks t LEFT JOIN transfers h ON h.task_id = t.id AND h.kind = 'hold'
        WHERE h.id IS NULL OR h.amount <> t.hold OR h.team_id <> t.team_id
    """,
    "ended_task_has_one_resolution": f"""
        SELECT t.id AS subject, format('%s with %s resolutions', t.status, count(r.id)) AS detail
        FROM tasks t LEFT JOIN transfers r ON r.task_id = t.id AND {_RESOLUTION}
        GROUP BY t.id, t.status
        HAVING count(r.id) <> CASE WHEN {_ENDED} THEN 1 ELSE 0 END
    """,
    "resolution_has_its_hold": f"""
        SELECT r.id::text AS subject, format('%s of task %s', r.kind, r.task_id) AS detail
        FROM transfers r LEFT JOIN transfers h ON h.id = r.hold_id AND h.kind = 'hold'
            AND h.team_id = r.team_id AND h.task_id = r.task_id
        WHERE {_RESOLUTION} AND h.id IS NULL
    """,
    "hold_is_resolved_once": f"""
        SELECT r.hold_id::text AS subject, count(*) || ' resolutions' AS detail
        FROM transfers r WHERE {_RESOLUTION} GROUP BY r.hold_id HAVING count(*) > 1
    """,
    "resolution_adds_up_to_hold": f"""
        SELECT r.id::text AS subject, format('%s of %s returning %s, hold of %s', r.kind, r.amount,
            r.returned, h.amount) AS detail
        FROM transfers r JOIN transfers h ON h.id = r.hold_id
        WHERE {_RESOLUTION} AND r.amount + r.returned <> h.amount
    """,
    "ended_task_has_its_usage": f"""
        SELECT t.id AS subject, format('captured %s, the task says %s, its usage row %s',
            coalesce(r.amount, 0), t.charged,
            CASE WHEN u.task_id IS NULL THEN 'is missing' ELSE 'is there' END) AS detail
        FROM tasks t LEFT JOIN transfers r ON r.task_id = t.id AND r.kind = 'capture'
        LEFT JOIN usage u ON u.task_id = t.id
        WHERE {_ENDED} AND (u.task_id IS NULL OR t.charged <> coalesce(r.amount, 0))
    """,
    "refunds_stay_within_the_charge": """
        SELECT f.task_id AS subject, format('refunded %s of %s', f.amount,
            coalesce(r.amount, 0)) AS detail
        FROM (SELECT task_id, team_id, sum(amount) AS amount FROM transfers
            WHERE kind = 'refund' GROUP BY task_id, team_id) f
        LEFT JOIN transfers r ON r.task_id = f.task_id AND r.team_id = f.team_id
            AND r.kind = 'capture'
        WHERE f.amount > coalesce(r.amount, 0)
    """,
    "usage_is_captured": """
        SELECT u.task_id AS subject, format('usage says %s, captured %s', u.charged,
            coalesce(r.amount, 0)) AS detail
        FROM usage u LEFT JOIN transfers r ON r.task_id = u.task_id AND r.kind = 'capture'
        WHERE u.charged <> coalesce(r.amount, 0)
    """,
    "grants_expire_within_their_amount": """
        SELECT g.id::text AS subject, format('%s of a grant of %s are left, %s have expired',
            x.remaining, g.amount, coalesce(e.amount, 0)) AS detail
        FROM transfers g LEFT JOIN expiring_grants x ON x.transfer_id = g.id
        LEFT JOIN (SELECT reference, sum(amount) AS amount FROM transfers
            WHERE kind = 'expiration' GROUP BY reference) e ON e.reference = 'grant ' || g.id
        WHERE (g.expires_ms IS NOT NULL) <> (x.transfer_id IS NOT NULL)
            OR x.remaining + coalesce(e.amount, 0) > g.amount
    """,
    "expiring_credits_are_there": """
        SELECT a.team_id AS subject, format('%s can expire of a balance of %s', x.amount, a.balance)
            AS detail
        FROM accounts a JOIN (SELECT team_id, sum(remaining) AS amount FROM expiring_grants
            GROUP BY team_id) x ON x.team_id = a.team_id
        WHERE x.amount > a.balance
    """,
    "keys_count_their_tasks": """
        SELECT c.key_id AS subject, format('counts %s running, %s held, %s and %s spent; its '
            'tasks say %s, %s, %s, %s', c.running, c.held, c.spent, c.month_spent,
            coalesce(t.running, 0), coalesce(t.held, 0), coalesce(u.spent, 0),
            coalesce(u.month_spent, 0)) AS detail
        FROM key_counts c
        LEFT JOIN (SELECT k.limits_id, count(*) AS running, sum(t.hold) AS held
            FROM tasks t JOIN api_keys k ON k.id = t.key_id
            WHERE t.status IN ('pending', 'processing') GROUP BY k.limits_id) t
            ON t.limits_id = c.key_id
        LEFT JOIN (SELECT c.key_id, sum(d.charged) AS spent,
                sum(d.charged) FILTER (WHERE month_of(d.day_ms) = c.month) AS month_spent
            FROM usage_days d JOIN api_keys k ON k.id = d.key_id
            JOIN key_counts c ON c.key_id = k.limits_id GROUP BY c.key_id) u
            ON u.key_id = c.key_id
        WHERE (c.running, c.held, c.spent, c.month_spent) IS DISTINCT FROM (coalesce(t.running, 0),
            coalesce(t.held, 0), coalesce(u.spent, 0), coalesce(u.month_spent, 0))
    """,
    "teams_count_their_months": """
        SELECT c.team_id AS subject, format('counts %s this month, its days say %s', c.month_spent,
            coalesce(u.spent, 0)) AS detail
        FROM team_counts c LEFT JOIN (
            SELECT team_id, month_of(day_ms) AS month, sum(charged) AS spent FROM usage_days
            GROUP BY 1, 2
        ) u ON u.team_id = c.team_id AND u.month = c.month
        WHERE c.month_spent <> coalesce(u.spent, 0)
    """,
    "days_are_the_usage": """
        SELECT team_id || ' ' || day_ms AS subject, format('usage says %s in %s tasks, '
            'the day %s in %s', u.charged, u.tasks, d.charged, d.tasks) AS detail
        FROM (SELECT team_id, finished_ms - finished_ms % 86400000 AS day_ms, count(*) AS tasks,
                sum(charged) AS charged FROM usage GROUP BY 1, 2) u
        FULL JOIN (SELECT team_id, day_ms, sum(tasks) AS tasks, sum(charged) AS charged
            FROM usage_days GROUP BY 1, 2) d USING (team_id, day_ms)
        WHERE (u.charged, u.tasks) IS DISTINCT FROM (d.charged, d.tasks)
    """,
}

TIMEOUT_S = 3600

# Says how much there was to look at.
SCOPE = """
SELECT (SELECT count(*) FROM transfers) AS transfers, (SELECT count(*) FROM teams) AS teams,
    (SELECT count(*) FROM tasks) AS tasks
"""


async def verify(database: Database) -> LedgerReport:
    """Check every rule in one REPEATABLE READ snapshot; violations by rule, then by subject.

    Raises StoreUnavailable.
    """
    async with database.transaction(isolation="repeatable_read", readonly=True) as connection:
        await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on")
        scope = await connection.fetchrow(SCOPE, timeout=TIMEOUT_S)
        violations = [
            Violation(rule, row["subject"], row["detail"])
            for rule, statement in RULES.items()
            for row in sorted(await connection.fetch(statement, timeout=TIMEOUT_S))
        ]
    return LedgerReport(scope["transfers"], scope["teams"], scope["tasks"], tuple(violations))
