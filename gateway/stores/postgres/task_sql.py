"""The hot statements of tasks and their money: each is one round trip for a whole batch.

Every statement locks rows in id order (tasks: the order of its items, which callers sort; then
accounts, then what is counted for their keys) before it writes them, so that batches of several
processes queue up instead of deadlocking; what it read before it waited for a lock is checked again
by PostgreSQL on the newest version of the row (READ COMMITTED). LATERAL makes each look-up an index
look-up: a plan made while the tables were empty is kept, and must not scan them when they are full.
"""

from __future__ import annotations

# Written out, as `tables.py` has them: to load that for its names would take a process 20 MiB.
ATTEMPT_COLUMNS = {
    "id": "text",
    "task_id": "text",
    "no": "integer",
    "upstream": "text",
    "adapter": "text",
    "upstream_model": "text",
    "started_ms": "bigint",
    "finished_ms": "bigint",
    "outcome": "text",
    "upstream_task_id": "text",
    "code": "text",
    "reason": "text",
    "blame": "text",
    "planned_cost": "bigint",
    "cost": "bigint",
    "exposure": "bigint",
    "polls": "integer",
    "misses": "integer",
    "retry_after_ms": "bigint",
    "idempotent": "boolean",
    "on_ambiguous": "text",
    "delivered": "integer",
    "resolution": "text",
}
_NAMES = ", ".join(ATTEMPT_COLUMNS)
_RECORD = ", ".join(f"{name} {kind}" for name, kind in ATTEMPT_COLUMNS.items())
_REPLACED = ", ".join(
    f"{name} = excluded.{name}" for name in ATTEMPT_COLUMNS if name not in ("id", "task_id", "no")
)


def _write_attempts(parameter: str, winners: str) -> str:
    """Give the statement that upserts a JSON array of attempts whose task is in ``winners``."""
    return f"""
    INSERT INTO attempts ({_NAMES})
    SELECT {", ".join(f"a.{name}" for name in ATTEMPT_COLUMNS)}
    FROM jsonb_to_recordset({parameter}::jsonb) AS a({_RECORD})
    JOIN {winners} ON {winners}.id = a.task_id
    ON CONFLICT (id) DO UPDATE SET {_REPLACED}
    """


def _expired(team: str, at: str) -> str:
    """Give what of a team's grants has expired; a look for any spares nearly all the call."""
    return f"""CASE WHEN EXISTS (
            SELECT FROM expiring_grants
            WHERE team_id = {team} AND remaining > 0 AND expires_ms <= {at}
        ) THEN coalesce((SELECT sum(amount) FROM expired_grants({team}, {at})), 0)::bigint
        ELSE 0 END"""


_CAPS = "concurrent_tasks, credit_cap, monthly_credit_cap"

# Holds credits and inserts tasks for all teams whose whole sum fits, within their budgets too, and
# with it those of each of their keys with caps (unless $18 says that this was judged). Says for
# each item that was not held why: what its team had available and had used of its budget, what its
# key had running and spent, whether its id was taken (by the same task, or not), and the earlier
# call under its Idempotency-Key. A key that another statement stores meanwhile is a unique
# violation, and nothing of this one is kept. A trigger on transfers counts what was held.
ACCEPT = f"""
WITH item AS MATERIALIZED (
    SELECT i.*, y.*, t.id IS NOT NULL AS taken,
        coalesce(t.created_ms = i.created_ms AND t.team_id = i.team_id, false) AS same,
        k.task_id AS first_id, k.fingerprint AS first_fingerprint
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[],
        $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::bytea[], $12::bytea[],
        $13::uuid[], $14::text[], $15::text[], $16::bytea[],
        $17::integer[])
        AS i(id, team_id, key_id, dialect, model, created_ms, deadline_ms, hold, callback_url,
            callback_events, doc, request, hold_id, scope, key, fingerprint, retries)
    LEFT JOIN LATERAL (
        SELECT id, created_ms, team_id FROM tasks WHERE id = i.id LIMIT 1
    ) t ON true
    LEFT JOIN LATERAL (
        SELECT task_id, fingerprint FROM idempotency_keys
        WHERE team_id = i.team_id AND scope = i.scope AND key = i.key LIMIT 1
    ) k ON true
    LEFT JOIN LATERAL (
        SELECT limits_id, {_CAPS} FROM api_keys WHERE id = i.key_id LIMIT 1
    ) y ON true
), fresh AS MATERIALIZED (
    SELECT * FROM item WHERE NOT taken AND first_id IS NULL
), need AS MATERIALIZED (
    SELECT team_id, sum(hold) AS amount, month_of(max(created_ms)) AS month,
        max(created_ms) AS at_ms FROM fresh GROUP BY team_id
), locked AS MATERIALIZED (
    SELECT a.team_id, a.held, n.amount, n.month,
        a.available - {_expired("a.team_id", "n.at_ms")} AS available
    FROM (SELECT * FROM need ORDER BY team_id) n CROSS JOIN LATERAL (
        SELECT team_id, balance - held AS available, held FROM accounts
        WHERE team_id = n.team_id FOR UPDATE
    ) a
), budgeted AS MATERIALIZED (
    SELECT l.team_id, l.amount, t.monthly_budget, l.held + c.month_spent AS used FROM locked l
    CROSS JOIN LATERAL (
        SELECT monthly_budget FROM teams
        WHERE id = l.team_id AND monthly_budget IS NOT NULL AND budget_mode = 'refuse' LIMIT 1
    ) t
    CROSS JOIN LATERAL (
        SELECT CASE WHEN month >= l.month THEN month_spent ELSE 0 END AS month_spent
        FROM team_counts WHERE team_id = l.team_id FOR UPDATE
    ) c
), capped AS MATERIALIZED (
    SELECT f.team_id, f.limits_id, count(*) AS tasks, sum(f.hold) AS amount,
        min(f.concurrent_tasks) AS concurrent_tasks, min(f.credit_cap) AS credit_cap,
        min(f.monthly_credit_cap) AS monthly_credit_cap, month_of(max(f.created_ms)) AS month
    FROM fresh f JOIN locked ON locked.team_id = f.team_id
    WHERE f.concurrent_tasks IS NOT NULL OR f.credit_cap IS NOT NULL
        OR f.monthly_credit_cap IS NOT NULL
    GROUP BY f.team_id, f.limits_id
), metered AS MATERIALIZED (
    SELECT n.*, c.* FROM (SELECT * FROM capped ORDER BY limits_id) n
    CROSS JOIN LATERAL (
        SELECT running, held, spent,
            CASE WHEN month >= n.month THEN month_spent ELSE 0 END AS month_spent
        FROM key_counts WHERE key_id = n.limits_id FOR UPDATE
    ) c
), able AS MATERIALIZED (
    SELECT team_id FROM locked WHERE available >= amount AND ($18::boolean OR NOT EXISTS (
        SELECT FROM metered m WHERE m.team_id = locked.team_id AND (
            m.running + m.tasks > m.concurrent_tasks
            OR m.spent + m.held + m.amount > m.credit_cap
            OR m.month_spent + m.held + m.amount > m.monthly_credit_cap
        )
    ) AND NOT EXISTS (
        SELECT FROM budgeted b
        WHERE b.team_id = locked.team_id AND b.used + b.amount > b.monthly_budget
    ))
), moved AS (
    UPDATE accounts a SET held = a.held + need.amount::bigint
    FROM need JOIN able ON able.team_id = need.team_id
    WHERE a.team_id = need.team_id
    RETURNING a.team_id
), fitting AS MATERIALIZED (
    SELECT fresh.* FROM fresh JOIN moved ON moved.team_id = fresh.team_id
), task AS (
    INSERT INTO tasks (id, team_id, key_id, dialect, model, status, fence, created_ms,
        deadline_ms, hold, callback_url, callback_events, doc, request)
    SELECT id, team_id, key_id, dialect, model, 'pending', 0, created_ms,
        deadline_ms, hold, callback_url, string_to_array(callback_events, ','), doc, request
    FROM fitting
), held AS (
    INSERT INTO transfers (id, kind, team_id, amount, task_id, created_ms)
    SELECT hold_id, 'hold', team_id, hold, id, created_ms FROM fitting
), keyed AS (
    INSERT INTO idempotency_keys (team_id, scope, key, fingerprint, task_id, created_ms)
    SELECT team_id, scope, key, fingerprint, id, created_ms FROM fitting WHERE key IS NOT NULL
), counted AS (
    INSERT INTO sdk_calls (task_id, key_id, fingerprint, retries, created_ms)
    SELECT id, key_id, fingerprint, retries, created_ms FROM fitting WHERE retries IS NOT NULL
)
SELECT item.id, item.taken, item.same, item.first_id, item.first_fingerprint,
    coalesce(locked.available, 0) AS available,
    b.monthly_budget AS team_budget, coalesce(b.used, 0) AS team_used,
    item.concurrent_tasks, item.credit_cap, item.monthly_credit_cap,
    coalesce(m.running, 0) AS key_running, coalesce(m.held, 0) AS key_held,
    coalesce(m.spent, 0) AS key_spent, coalesce(m.month_spent, 0) AS key_month_spent
FROM item
LEFT JOIN fitting ON fitting.id = item.id
LEFT JOIN locked ON locked.team_id = item.team_id
LEFT JOIN budgeted b ON b.team_id = item.team_id
LEFT JOIN metered m ON m.limits_id = item.limits_id
WHERE fitting.id IS NULL
"""

# Gives what teams have available and keeps their accounts from moving until the commit.
LOCK_AVAILABLE = f"""
SELECT a.team_id, a.available - {_expired("a.team_id", "$2")} AS available
FROM (
    SELECT team_id, balance - held AS available FROM accounts
    WHERE team_id = ANY($1::text[]) ORDER BY team_id FOR UPDATE
) a
"""

# Gives the budgets of such teams that have one, and what is used of them in the month of a time.
BUDGETS = """
SELECT t.id AS team_id, t.monthly_budget AS team_budget, a.held
    + CASE WHEN c.month >= month_of($2) THEN c.month_spent ELSE 0 END AS team_used
FROM teams t JOIN accounts a ON a.team_id = t.id JOIN team_counts c ON c.team_id = t.id
WHERE t.id = ANY($1::text[]) AND t.monthly_budget IS NOT NULL AND t.budget_mode = 'refuse'
"""

# Gives caps and counts of keys in the month of a time, and keeps the counts from moving.
LOCK_COUNTS = f"""
SELECT k.id, k.limits_id, {_CAPS}, c.running AS key_running, c.held AS key_held,
    c.spent AS key_spent, CASE WHEN c.month >= month_of($2) THEN c.month_spent ELSE 0 END
        AS key_month_spent
FROM api_keys k JOIN key_counts c ON c.key_id = k.limits_id
WHERE k.id = ANY($1::text[]) ORDER BY c.key_id, k.id FOR UPDATE OF c
"""

# Writes tasks (and the attempts that changed) whose fence is still the expected one.
SAVE = f"""
WITH item AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::bytea[])
        AS i(id, fence, status, doc)
), mine AS MATERIALIZED (
    SELECT t.id, item.status, item.doc FROM item CROSS JOIN LATERAL (
        SELECT id FROM tasks
        WHERE id = item.id AND fence = item.fence AND status IN ('pending', 'processing')
        FOR UPDATE
    ) t
), moved AS (
    UPDATE tasks t SET fence = t.fence + 1, status = mine.status, doc = mine.doc
    FROM mine WHERE t.id = mine.id
), tried AS ({_write_attempts("$5", "mine")})
SELECT id FROM mine
"""

# Ends tasks whose fence is still the expected one: status and doc, attempts, the resolution of the
# hold (which a trigger counts for their keys), the account, the usage row, and the callback if the
# team asked for this ending.
SETTLE = f"""
WITH item AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::bytea[], $5::uuid[],
        $6::uuid[], $7::bigint[], $8::bigint[], $9::text[], $10::integer[], $11::bigint[],
        $12::bigint[], $13::text[])
        AS i(id, fence, status, doc, hold_id, resolution_id, charged, at_ms, upstream, images,
            cost, exposure, callback_id)
), mine AS MATERIALIZED (
    SELECT t.*, item.status, item.doc, item.hold_id, item.resolution_id, item.charged,
        item.at_ms, item.upstream, item.images, item.cost, item.exposure, item.callback_id
    FROM item CROSS JOIN LATERAL (
        SELECT id, team_id, key_id, model, hold, created_ms, callback_url, callback_events
        FROM tasks
        WHERE id = item.id AND fence = item.fence AND status IN ('pending', 'processing')
        FOR UPDATE
    ) t
), ended AS (
    UPDATE tasks t SET fence = t.fence + 1, status = mine.status, doc = mine.doc,
        charged = mine.charged, finished_ms = mine.at_ms, callback_url = NULL
    FROM mine WHERE t.id = mine.id
), tried AS ({_write_attempts("$14", "mine")}
), locked AS MATERIALIZED (
    SELECT a.team_id FROM (SELECT DISTINCT team_id FROM mine ORDER BY team_id) m
    CROSS JOIN LATERAL (
        SELECT team_id FROM accounts WHERE team_id = m.team_id FOR UPDATE
    ) a
), paid AS (
    UPDATE accounts a SET balance = a.balance - due.charged, held = a.held - due.hold
    FROM (
        SELECT team_id, sum(charged)::bigint AS charged, sum(hold)::bigint AS hold
        FROM mine GROUP BY team_id
    ) due JOIN locked ON locked.team_id = due.team_id
    WHERE a.team_id = due.team_id
), resolved AS (
    INSERT INTO transfers (id, kind, team_id, amount, returned, hold_id, task_id, created_ms)
    SELECT resolution_id, CASE WHEN charged > 0 THEN 'capture' ELSE 'release' END, team_id,
        CASE WHEN charged > 0 THEN charged ELSE hold END,
        CASE WHEN charged > 0 THEN hold - charged ELSE 0 END, hold_id, id, at_ms
    FROM mine
), used AS (
    INSERT INTO usage (task_id, team_id, key_id, model, upstream, status, images, charged, cost,
        exposure, created_ms, finished_ms)
    SELECT id, team_id, key_id, model, upstream, status, images, charged, cost, exposure,
        created_ms, at_ms
    FROM mine
), told AS (
    INSERT INTO callbacks (id, task_id, team_id, url, event, next_at_ms, created_ms)
    SELECT callback_id, id, team_id, callback_url, status, at_ms, at_ms
    FROM mine WHERE callback_url IS NOT NULL AND status = ANY(callback_events)
)
SELECT id FROM mine
"""

# Gives fence and doc of tasks, to recognise a write of ours whose answer was lost.
STORED = "SELECT id, fence, doc FROM tasks WHERE id = ANY($1::text[])"

# Gives the durable state of one task.
GET = "SELECT id, doc FROM tasks WHERE id = ANY($1::text[])"

# Gives the canonical requests of tasks.
REQUESTS = "SELECT id, request FROM tasks WHERE id = ANY($1::text[])"

_FILTER = """
team_id = $1 AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR model = $3)
    AND created_ms >= $4 AND created_ms <= $5 AND ($6::text IS NULL OR id = $6)
"""

# Gives a page of a team's tasks, newest first, after a (created_ms, id) or an offset.
PAGE = f"""
SELECT id, created_ms, doc FROM tasks WHERE {_FILTER} AND (created_ms, id) < ($7, $8)
ORDER BY created_ms DESC, id DESC OFFSET $9 LIMIT $10
"""

# Counts the tasks a filter selects.
COUNT = f"SELECT count(*) FROM tasks WHERE {_FILTER}"

# Gives ids of unfinished tasks in order, for the sweeper.
UNFINISHED = """
SELECT id FROM tasks WHERE id > $1 AND status IN ('pending', 'processing')
ORDER BY id LIMIT $2
"""

# Forgets tasks that ended long ago, with their callbacks, and alerts as old that wait for nothing;
# ledger, usage and attempts stay. The
# choice is made once: a plan that chose anew for each row would pass over the rows it deleted.
FORGET = """
WITH ended AS MATERIALIZED (
    SELECT id FROM tasks WHERE finished_ms < $1 ORDER BY finished_ms LIMIT $2
    FOR UPDATE SKIP LOCKED
), told AS MATERIALIZED (
    SELECT id FROM callbacks WHERE created_ms < $1 AND task_id IS NULL AND state <> 'pending'
    ORDER BY created_ms LIMIT $2 FOR UPDATE SKIP LOCKED
), untold AS (
    DELETE FROM callbacks c USING told WHERE c.id = told.id
)
DELETE FROM tasks t USING ended WHERE t.id = ended.id RETURNING t.id
"""

# Empties the requests of tasks that ended long ago; what became of them stays.
STRIP = """
UPDATE tasks SET request = '' WHERE id IN (
    SELECT id FROM tasks WHERE finished_ms < $1 AND octet_length(request) > 0
    ORDER BY finished_ms LIMIT $2 FOR UPDATE SKIP LOCKED
) RETURNING id
"""
