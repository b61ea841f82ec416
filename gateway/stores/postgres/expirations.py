"""Taking away what is left of grants that have expired, as entries of the ledger."""

from __future__ import annotations

from typing import Any

from gateway.stores.postgres.database import Database

# Gives the teams of which something may be taken away now.
TEAMS = """
SELECT DISTINCT team_id FROM expiring_grants WHERE remaining > 0 AND expires_ms <= $1
ORDER BY team_id
"""

# Keeps a team's account from moving until the commit.
LOCK_ACCOUNT = "SELECT team_id FROM accounts WHERE team_id = $1 FOR UPDATE"

# Takes away what has expired of a team whose account is locked; gives how much of how many grants.
EXPIRE = """
WITH gone AS MATERIALIZED (
    SELECT grant_id, amount FROM expired_grants($1, $2)
), taken AS (
    UPDATE expiring_grants g SET remaining = g.remaining - gone.amount
    FROM gone WHERE g.transfer_id = gone.grant_id
), moved AS (
    UPDATE accounts SET balance = balance - (SELECT sum(amount) FROM gone)::bigint
    WHERE team_id = $1 AND EXISTS (SELECT FROM gone)
)
INSERT INTO transfers (id, kind, team_id, amount, reference, created_ms)
SELECT gen_random_uuid(), 'expiration', $1, amount, 'grant ' || grant_id, $2 FROM gone
RETURNING amount
"""


async def expire_team(connection: Any, team_id: str, now_ms: int) -> int:
    """Take away what has expired of a team, within a transaction; gives of how many grants."""
    await connection.execute(LOCK_ACCOUNT, team_id)
    return len(await connection.fetch(EXPIRE, team_id, now_ms))


async def expire_all(database: Database, now_ms: int) -> int:
    """Take away what has expired of all teams; gives of how many grants.

    Any number of processes may do so at once: what one has taken another does not find.
    """
    count = 0
    for row in await database.read(TEAMS, now_ms):
        async with database.transaction() as connection:
            count += await expire_team(connection, row["team_id"], now_ms)
    return count
