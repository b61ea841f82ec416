"""Adjustments and refunds in the ledger, and an index for statements."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_ENTRIES = """
CREATE OR REPLACE VIEW ledger_entries AS
SELECT t.id AS transfer_id, t.kind, t.team_id, t.task_id, t.created_ms, line.account, line.amount
FROM transfers t
LEFT JOIN transfers h ON h.id = t.hold_id
CROSS JOIN LATERAL (VALUES
    ('external', {external}),
    ('available', {available}),
    ('held', CASE t.kind WHEN 'hold' THEN t.amount
        WHEN 'capture' THEN -coalesce(h.amount, 0) WHEN 'release' THEN -coalesce(h.amount, 0)
        ELSE 0 END),
    ('revenue', {revenue})
) AS line (account, amount)
WHERE line.amount <> 0
"""
_NEW = {
    "external": """CASE WHEN t.kind IN ('grant', 'credit') THEN -t.amount
        WHEN t.kind = 'debit' THEN t.amount ELSE 0 END""",
    "available": """CASE t.kind WHEN 'capture' THEN t.returned WHEN 'hold' THEN -t.amount
        WHEN 'debit' THEN -t.amount ELSE t.amount END""",
    "revenue": "CASE t.kind WHEN 'capture' THEN t.amount WHEN 'refund' THEN -t.amount ELSE 0 END",
}
_OLD = {
    "external": "CASE t.kind WHEN 'grant' THEN -t.amount ELSE 0 END",
    "available": """CASE t.kind WHEN 'grant' THEN t.amount WHEN 'hold' THEN -t.amount
        WHEN 'capture' THEN t.returned WHEN 'release' THEN t.amount END""",
    "revenue": "CASE t.kind WHEN 'capture' THEN t.amount ELSE 0 END",
}
_KINDS = "('grant', 'hold', 'capture', 'release'{more})"
_LONE = "((kind {lone}) = (task_id IS NULL))"


def _replace_checks(more: str, lone: str) -> None:
    op.execute("ALTER TABLE transfers DROP CONSTRAINT transfers_kind")
    op.execute("ALTER TABLE transfers DROP CONSTRAINT transfers_task")
    kinds = _KINDS.format(more=more)
    op.execute(f"ALTER TABLE transfers ADD CONSTRAINT transfers_kind CHECK (kind IN {kinds})")
    check = _LONE.format(lone=lone)
    op.execute(f"ALTER TABLE transfers ADD CONSTRAINT transfers_task CHECK {check}")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    _replace_checks(", 'credit', 'debit', 'refund'", "IN ('grant', 'credit', 'debit')")
    op.execute(_ENTRIES.format(**_NEW))
    op.execute("""
CREATE INDEX transfers_moving ON transfers (team_id, created_ms) INCLUDE (kind, amount)
    WHERE kind NOT IN ('hold', 'release')
""")
    op.execute("CREATE INDEX transfers_refunds ON transfers (task_id) WHERE kind = 'refund'")
    op.execute("DROP INDEX transfers_grants")
    op.execute("""
CREATE INDEX transfers_credits ON transfers (team_id, created_ms DESC, id DESC)
    WHERE kind IN ('grant', 'credit', 'debit', 'refund')
""")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP INDEX transfers_credits")
    op.execute("DROP INDEX transfers_refunds")
    op.execute("DROP INDEX transfers_moving")
    op.execute("""
CREATE INDEX transfers_grants ON transfers (team_id, created_ms) WHERE kind = 'grant'
""")
    op.execute(_ENTRIES.format(**_OLD))
    _replace_checks("", "= 'grant'")
